package outbox_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/test"
)

// controlOptions are those of one use of the function.
func controlOptions(log *test.LogBuffer) outbox.Options {
	return outbox.Options{
		Task: "cpu alert", Node: "bigpanda3", URL: "http://127.0.0.1/",
		Fingerprint: func(key []byte) []byte { return append(slices.Clone(key), "keyed"...) },
		Log:         slog.New(slog.NewTextHandler(log, nil)),
	}
}

// openControlled opens an outbox and returns it with its control.
func openControlled(t *testing.T, dir string) (*outbox.Disk, *outbox.Control) {
	t.Helper()
	d, err := outbox.OpenUndisturbed(dir, controlOptions(new(test.LogBuffer)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	folders, err := outbox.Folders(dir)
	if err != nil || len(folders) == 0 {
		t.Fatalf("the folders are %q, %v", folders, err)
	}
	return d, outbox.NewControl(folders[0], nil)
}

func payload(i int) []byte { return fmt.Appendf(nil, `{"n":%d}`, i) }

// fill appends changes 0 to 5 of alerts a, b, a, b, …, in app keys x and y by
// turns of three, of which the first two become dead letters and the third is
// in flight.
func fill(t *testing.T, d *outbox.Disk) {
	t.Helper()
	for i := range 6 {
		appKey := string("xy"[i/3])
		d.Append([]outbox.Change{{
			Alert: appKey + "/" + string("ab"[i%2]), AppKey: appKey, Time: int64(1000 + i), Level: "CRITICAL", Payload: payload(i),
		}}, []outbox.Level{{Key: appKey, Time: 5, Value: []byte("v")}})
	}
	for i := range 2 {
		taken := take(t, d, 1)
		if err := d.Dead(taken[0], 400+i, fmt.Sprint("no to ", i)); err != nil {
			t.Fatal(err)
		}
	}
	take(t, d, 1)
}

func take(t *testing.T, d *outbox.Disk, max int) []outbox.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	taken, err := d.Next(ctx, max, nil)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func payloadTexts(page outbox.Page) string {
	var all []string
	for _, e := range page.Entries {
		all = append(all, string(e.Payload))
	}
	return strings.Join(all, " ")
}

func idsOf(page outbox.Page) (ids []uint64) {
	for _, e := range page.Entries {
		ids = append(ids, e.ID)
	}
	return ids
}

// listed reads both lists whole.
func listed(t *testing.T, c *outbox.Control) (queued, dead outbox.Page) {
	t.Helper()
	queued, err := c.Queued(t.Context(), 0, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	dead, err = c.DeadLetters(t.Context(), 0, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	return queued, dead
}

func statusOf(t *testing.T, c *outbox.Control) outbox.Status {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// copyOf copies a folder as "cp -a" does.
func copyOf(t *testing.T, folder string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", folder, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

// controlStates are what an outbox may be in when it is asked. prepare turns
// the filled, live outbox into that.
var controlStates = []struct {
	name    string
	live    bool
	prepare func(t *testing.T, d *outbox.Disk, c *outbox.Control) *outbox.Control
}{
	{"its process lives", true, func(_ *testing.T, _ *outbox.Disk, c *outbox.Control) *outbox.Control { return c }},
	{"its process is gone", false, func(t *testing.T, d *outbox.Disk, c *outbox.Control) *outbox.Control {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return c
	}},
	{"a copy beside the live one", false, func(t *testing.T, _ *outbox.Disk, c *outbox.Control) *outbox.Control {
		return outbox.NewControl(copyOf(t, c.Folder()), nil)
	}},
	{"a copy of the database alone", false, func(t *testing.T, d *outbox.Disk, c *outbox.Control) *outbox.Control {
		to := copyOf(t, c.Folder())
		for _, name := range []string{"lock", "control.sock"} {
			if err := os.Remove(filepath.Join(to, name)); err != nil {
				t.Fatal(err)
			}
		}
		return outbox.NewControl(to, nil)
	}},
}

func TestControlReads(t *testing.T) {
	t.Parallel()
	for _, tt := range controlStates {
		t.Run(tt.name, func(t *testing.T) {
			d, c := openControlled(t, t.TempDir())
			fill(t, d)
			c = tt.prepare(t, d, c)
			before := treeOf(t, c.Folder())

			s := statusOf(t, c)
			if s.Folder != c.Folder() || s.Task != "cpu alert" || s.Node != "bigpanda3" || s.URL != "http://127.0.0.1/" || s.Format != 2 ||
				s.Queued != 4 || s.Dead != 2 || s.Bytes != int64(4*len(payload(0))) || time.Since(s.Oldest) > time.Minute || s.Oldest.IsZero() {
				t.Errorf("the status is %+v", s)
			}
			if live := s.Process == os.Getpid() && s.InFlight == 1; live != tt.live {
				t.Errorf("the status is %+v, that its process lives should be %t", s, tt.live)
			}
			queued, dead := listed(t, c)
			if got, want := payloadTexts(queued), `{"n":2} {"n":3} {"n":4} {"n":5}`; got != want || queued.More {
				t.Errorf("queued: got %s, want %s", got, want)
			}
			if e := queued.Entries[0]; e.AppKey != "x" || e.Alert != "x/a" || e.Level != "CRITICAL" || e.Time != 1002 ||
				e.Size != 7 || !e.Queued.Equal(s.Oldest) || e.InFlight != tt.live {
				t.Errorf("the first queued one is %+v", e)
			}
			if got, want := payloadTexts(dead), `{"n":0} {"n":1}`; got != want {
				t.Errorf("dead: got %s, want %s", got, want)
			}
			if e := dead.Entries[1]; e.Status != 401 || e.Answer != "no to 1" || time.Since(e.Died) > time.Minute {
				t.Errorf("the second dead one is %+v", e)
			}
			first, err := c.Queued(t.Context(), queued.Entries[0].ID, 2, false)
			if err != nil || !slices.Equal(idsOf(first), idsOf(queued)[1:3]) || !first.More || payloadTexts(first) != " " {
				t.Errorf("two behind the first, with no payload: %+v, %v", first, err)
			}
			if after := treeOf(t, c.Folder()); before != after {
				t.Errorf("reading has changed the folder from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// treeOf describes all files in a folder, with when they were changed.
func treeOf(t *testing.T, folder string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestControlChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range controlStates {
		t.Run(tt.name, func(t *testing.T) {
			d, c := openControlled(t, t.TempDir())
			fill(t, d)
			c = tt.prepare(t, d, c)
			queued, dead := listed(t, c)

			o, err := c.Retry(t.Context(), outbox.Selection{IDs: []uint64{dead.Entries[1].ID, 7, dead.Entries[1].ID}})
			if err != nil || o.Done != 1 || !slices.Equal(o.Missing, []uint64{7}) {
				t.Errorf("retry: %+v, %v", o, err)
			}
			again, left := listed(t, c)
			if got, want := payloadTexts(again), `{"n":2} {"n":3} {"n":4} {"n":5} {"n":1}`; got != want {
				t.Errorf("queued after retry: got %s, want %s", got, want)
			}
			if got := payloadTexts(left); got != `{"n":0}` {
				t.Errorf("dead after retry: %s", got)
			}
			if s := statusOf(t, c); s.Queued != 5 || s.Dead != 1 || s.Bytes != 5*7 {
				t.Errorf("after retry: %+v", s)
			}

			o, err = c.Drop(t.Context(), outbox.KindDead, outbox.Selection{IDs: idsOf(queued)})
			if err != nil || o.Done != 0 || len(o.Missing) != 4 {
				t.Errorf("queued changes were dropped as dead letters: %+v, %v", o, err)
			}
			o, err = c.Drop(t.Context(), outbox.KindDead, outbox.Selection{All: true})
			if err != nil || o.Done != 1 {
				t.Errorf("drop all dead letters: %+v, %v", o, err)
			}
			o, err = c.Drop(t.Context(), outbox.KindQueued, outbox.Selection{IDs: idsOf(queued)[:2]})
			wantDone := 2
			if tt.live {
				wantDone = 1
				if !slices.Equal(o.InFlight, idsOf(queued)[:1]) {
					t.Errorf("what is in flight was dropped: %+v", o)
				}
			}
			if err != nil || o.Done != wantDone {
				t.Errorf("drop two queued: %+v, %v, want %d", o, err, wantDone)
			}
			if s := statusOf(t, c); s.Queued != 5-wantDone || s.Dead != 0 || s.Bytes != int64(7*(5-wantDone)) || s.GivenUp != 0 {
				t.Errorf("after drop: %+v", s)
			}
			if !tt.live {
				return
			}
			// What is left is delivered in its order, appKey by appKey (P5).
			var got []string
			for _, change := range append(take(t, d, 10), take(t, d, 10)...) {
				got = append(got, string(change.Payload))
			}
			if want := []string{`{"n":4}`, `{"n":5}`, `{"n":1}`}; !slices.Equal(got, want) {
				t.Errorf("delivered are %s, want %s", got, want)
			}
		})
	}
}

// What a stopped outbox was told is there for the next process, with all that
// was left (P5).
func TestControlThenOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, c := openControlled(t, dir)
	fill(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if o, err := c.Retry(t.Context(), outbox.Selection{All: true}); err != nil || o.Done != 2 {
		t.Fatalf("retry: %+v, %v", o, err)
	}
	want, _ := listed(t, c)
	d, c = openControlled(t, dir)
	if got, _ := listed(t, c); payloadTexts(got) != payloadTexts(want) || !slices.Equal(idsOf(got), idsOf(want)) {
		t.Errorf("got %s, want %s", payloadTexts(got), payloadTexts(want))
	}
	d.Append([]outbox.Change{{Alert: "x/c", AppKey: "x", Payload: payload(9)}}, nil)
	if got, _ := listed(t, c); !slices.IsSorted(idsOf(got)) || len(got.Entries) != 7 {
		t.Errorf("after another change: %v", idsOf(got))
	}
	if stats := d.Stats(); stats.Queued != 7 || stats.Dead != 0 {
		t.Errorf("the stats are %+v", stats)
	}
}

func TestControlPieces(t *testing.T) {
	t.Parallel()
	for _, tt := range controlStates[:2] {
		t.Run(tt.name, func(t *testing.T) {
			d, c := openControlled(t, t.TempDir())
			const many = 2500
			changes := make([]outbox.Change, many)
			for i := range changes {
				changes[i] = outbox.Change{Alert: fmt.Sprint(i), AppKey: "x", Payload: payload(i)}
			}
			d.Append(changes, nil)
			big := []byte(`"` + strings.Repeat("b", 700<<10) + `"`)
			d.Append([]outbox.Change{{Alert: "big", AppKey: "y", Payload: big}, {Alert: "bigger", AppKey: "y", Payload: big}}, nil)
			c = tt.prepare(t, d, c)
			var got []uint64
			pages := 0
			for after, more := uint64(0), true; more; pages++ {
				page, err := c.Queued(t.Context(), after, 1_000_000, true)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, idsOf(page)...)
				after, more = got[len(got)-1], page.More
			}
			if len(got) != many+2 || !slices.IsSorted(got) || pages != 4 {
				t.Errorf("%d changes in %d pages, want %d in 4", len(got), pages, many+2)
			}
			o, err := c.Drop(t.Context(), outbox.KindQueued, outbox.Selection{All: true})
			if err != nil || o.Done != many+2 {
				t.Errorf("drop all: %+v, %v", o, err)
			}
			if s := statusOf(t, c); s.Queued != 0 || s.Bytes != 0 || !s.Oldest.IsZero() {
				t.Errorf("after that: %+v", s)
			}
		})
	}
}
