package powerloss

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/outbox"
)

// writerVariable makes the test binary, run again under strace, the writer.
const writerVariable = "POWERLOSS_WRITER"

const (
	// boxes is where the writer keeps its outboxes, below its working folder:
	// some levels deep, since each folder that is made must be made durable.
	boxes = "var/lib/boxes"
	// promisesName is the file that the writer says in what it was promised.
	promisesName = "promises"
)

// A clock is two seconds later each time it is looked at: no commit has so many
// changes that their IDs, which are nanoseconds, run ahead of it, and there is
// always a pause in which an outbox may compact.
type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1_700_000_000, c.Add(int64(2*time.Second))) }

// options are those of all outboxes here. Those that work beside each other
// have one clock: it is what their changes are put in order by.
func options(c *clock, handler slog.Handler) outbox.Options {
	return outbox.Options{
		Task: "cpu alert", Node: "bigpanda3", URL: "http://127.0.0.1/",
		Fingerprint: func(key []byte) []byte { return key },
		Log:         slog.New(handler),
		Now:         c.now,
	}
}

// Each change has a number, and all that is in it follows from that number and
// its size: a kept trace can be checked for as long as these stay the same.

func alertOf(n int) string { return fmt.Sprint("alert ", n%7) }

// An alert is of one app key.
func appKeyOf(n int) string { return fmt.Sprint("lane ", n%7%2) }

func payloadOf(n, size int) []byte {
	word := fmt.Sprint(n, " ")
	return []byte(strings.Repeat(word, size/len(word)+1)[:size])
}

func changeOf(n, size int) outbox.Change {
	return outbox.Change{Alert: alertOf(n), AppKey: appKeyOf(n), Time: int64(n), Level: "CRITICAL", Payload: payloadOf(n, size)}
}

// numberOf is the number of a change that was given back; 0 for none of these.
func numberOf(c outbox.Change) int {
	word, _, _ := strings.Cut(string(c.Payload[:min(len(c.Payload), 20)]), " ")
	n, _ := strconv.Atoi(word)
	return n
}

// besideSize is the size of changes that are appended beside another outbox.
const besideSize = 300

// levelsOf are the levels that are appended with changes from, from+1, … to:
// that of each series, which every fifth change ends, and the commit's own.
//
// Beside another outbox no series ends: that one was handed the levels, and
// what only one of two has forgotten is there again when they are merged.
func levelsOf(box, from, to, size int) (levels []outbox.Level) {
	for n := from; n <= to; n++ {
		l := outbox.Level{Key: fmt.Sprintf("series %d of box %d", n%7, box), Time: int64(n)}
		if n%5 != 0 || size == besideSize {
			l.Value = []byte(fmt.Sprint("told ", n))
		}
		levels = append(levels, l)
	}
	return append(levels, outbox.Level{Key: "commit", Time: int64(to), Value: []byte(fmt.Sprint(to))})
}

// TestWriter is the process whose file operations are recorded. It does
// everything that an outbox writes for, and says before and after each piece
// of work what it is:
//
//	begin append BOX FROM TO SIZE    changes FROM to TO, of SIZE bytes each
//	begin ack NUMBER …
//	begin dead NUMBER
//	done
func TestWriter(t *testing.T) {
	if os.Getenv(writerVariable) == "" {
		t.Skip("is run by the recording")
	}
	promises, err := os.Create(promisesName)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, promises: promises}
	w.open(1)

	for range 6 { // a quiet day
		w.append(1, 1+w.last%4, 200+100*w.last)
		w.append(1, 2, 600)
		w.ack(1, 3)
		w.dead(1)
	}
	for range 4 { // pages split
		w.append(1, 40, 500)
	}
	w.ack(1, 30)
	w.reopen(1)
	for range 3 { // a storm, of which little is left below
		w.append(1, 10, 64<<10)
	}
	full := w.file()
	for w.boxes[1].Stats().Queued > 0 {
		w.ack(1, 1000)
	}
	for range 10 {
		w.append(1, 1, 200)
		w.ack(1, 1000)
	}
	if os.SameFile(full, w.file()) {
		t.Fatal("nothing was compacted: the recording would show less than it should")
	}
	for range 5 {
		w.append(1, 3, 400)
		w.ack(1, 2)
	}
	w.reopen(1)

	w.open(2) // beside the first, on a numbered folder of its own
	for range 4 {
		w.append(1, 2, besideSize)
		w.append(2, 3, besideSize)
	}
	w.ack(2, 2)
	w.close(2)
	w.reopen(1) // takes over what the second had
	w.append(1, 2, besideSize)
	for w.boxes[1].Stats().Queued > 0 {
		w.ack(1, 4)
	}
	w.append(1, 2, besideSize)
	w.close(1)
}

// A writer works on outboxes.
type writer struct {
	t        *testing.T
	promises *os.File
	boxes    [3]*outbox.Disk // by number, from 1
	clock    clock
	last     int // the number of the last change
}

func (w *writer) open(box int) {
	w.t.Helper()
	d, err := outbox.Open(boxes, options(&w.clock, slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.boxes[box] = d
}

func (w *writer) close(box int) {
	w.t.Helper()
	if err := w.boxes[box].Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) reopen(box int) {
	w.t.Helper()
	w.close(box)
	w.open(box)
}

// say writes a line in one write, which the trace has in its place.
func (w *writer) say(format string, args ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.promises, format+"\n", args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) append(box, count, size int) {
	w.t.Helper()
	var changes []outbox.Change
	from := w.last + 1
	for range count {
		w.last++
		changes = append(changes, changeOf(w.last, size))
	}
	w.say("begin append %d %d %d %d", box, from, w.last, size)
	w.boxes[box].Append(changes, levelsOf(box, from, w.last, size))
	w.say("done")
}

func (w *writer) ack(box, max int) {
	w.t.Helper()
	changes, numbers := w.next(box, max)
	var ids []uint64
	for _, c := range changes {
		ids = append(ids, c.ID)
	}
	w.say("begin ack%s", numbers)
	if err := w.boxes[box].Ack(ids...); err != nil {
		w.t.Fatal(err)
	}
	w.say("done")
}

func (w *writer) dead(box int) {
	w.t.Helper()
	changes, numbers := w.next(box, 1)
	w.say("begin dead%s", numbers)
	if err := w.boxes[box].Dead(changes[0], 400, "no"); err != nil {
		w.t.Fatal(err)
	}
	w.say("done")
}

func (w *writer) next(box, max int) (changes []outbox.Change, numbers string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	changes, err := w.boxes[box].Next(ctx, max, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range changes {
		numbers += fmt.Sprint(" ", numberOf(c))
	}
	return changes, numbers
}

// file is the database of the first box, to be compared with os.SameFile.
func (w *writer) file() os.FileInfo {
	w.t.Helper()
	entries, err := os.ReadDir(boxes)
	var files []string
	for _, e := range entries {
		file := filepath.Join(boxes, e.Name(), "outbox.db")
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	if err != nil || len(files) != 1 {
		w.t.Fatalf("databases: %v, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}
