package outbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/test"

	bolt "go.etcd.io/bbolt"
)

// A folder for outboxes that a group may write is refused, and t.TempDir makes such
// ones where the umask is 002.
func init() {
	syscall.Umask(0o022)
	patience, controlTimeout = 2*time.Minute, 2*time.Minute
	maxRequest, maxAnswer = MaxRequest, 8<<20
}

// MaxRequest is maxRequest in tests, to be quick.
const MaxRequest = 8 << 20

const testToken = "s3cret-t0ken-of-a-test"

// testOptions are those of node "bigpanda2" of the task "cpu".
func testOptions(log *slog.Logger) Options {
	return Options{Task: "cpu", Node: "bigpanda2", URL: "https://api.bigpanda.io/data/v2/alerts", Fingerprint: fingerprint(testToken), Log: log}
}

func fingerprint(token string) func(key []byte) []byte {
	return func(key []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(token))
		return h.Sum(nil)
	}
}

var full = flag.Bool("outbox.full", false, "all rounds of the tests that go by chance, and a million queued changes")

// rounds is how long a test goes on: at length if it was asked for.
func rounds(long, short int) int {
	if *full && !test.Race {
		return long
	}
	return short
}

// Rounds is rounds for the tests of package outbox_test.
func Rounds(long, short int) int { return rounds(long, short) }

// logged is a log that can be searched.
type logged struct{ test.LogBuffer }

func (l *logged) count(text string) int { return strings.Count(l.String(), text) }

func (l *logged) has(t *testing.T, times int, text string) {
	t.Helper()
	if n := l.count(text); n != times {
		t.Errorf("the log says %q %d times, want %d:\n%s", text, n, times, l)
	}
}

// WithoutControl is for tests with a fake clock, which whoever waits for the network
// keeps still.
func WithoutControl(o *Options) { o.noControl = true }

// Folder returns the folder that a control is of, for the tests of package
// outbox_test, too.
func (c *Control) Folder() string { return c.folder }

// A rig is an outbox under test.
type rig struct {
	*Disk
	t      *testing.T
	log    *logged
	folder string // at first
}

// look is one look of the worker's for orphans, in place of its own.
func (r *rig) look(ctx context.Context) {
	r.stop()
	r.workers.Wait()
	r.worker.look(ctx)
}

// readAll collects what Levels gives.
func readAll(o interface {
	Levels(func(Level) bool) (bool, error)
}) (levels []Level, isNew bool, err error) {
	isNew, err = o.Levels(func(l Level) bool {
		l.Value = bytes.Clone(l.Value)
		levels = append(levels, l)
		return true
	})
	return levels, isNew, err
}

func openIn(t *testing.T, dir string, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, log: new(logged)}
	o := testOptions(slog.New(slog.NewTextHandler(r.log, nil)))
	o.Times = Times{Settle: 20 * time.Millisecond, Meet: 10 * time.Second, Look: time.Hour, Rest: time.Millisecond, Retry: 100 * time.Millisecond}
	for _, f := range change {
		f(&o)
	}
	d, err := OpenUndisturbed(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	r.Disk, r.folder = d, d.store.folder
	t.Cleanup(func() { d.Close() })
	return r
}

// Drain waits until nothing is queued or in flight, nor being taken over from
// processes of the use that are gone when it was opened. It returns ctx's error
// when that is over first.
func (d *Disk) Drain(ctx context.Context) error {
	return d.await(ctx, &d.mu, func() (bool, error) {
		return d.queued == 0 && !d.looking, nil
	})
}

// OpenUndisturbed is Open while no other test starts a process: that has all open files
// for a moment, and with them the lock of an outbox that was closed.
func OpenUndisturbed(dir string, o Options) (*Disk, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return Open(dir, o)
}

func node(task, node string) func(*Options) {
	return func(o *Options) { o.Task, o.Node = task, node }
}

func limit(bytes int64) func(*Options) { return func(o *Options) { o.MaxSize = bytes } }

// small gives an outbox a small window, before anything was read.
func (r *rig) small(size, maxPerAlert int) *rig {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.size, r.maxPerAlert = size, maxPerAlert
	return r
}

// put queues a change for each word, "appKey/alert" or "alert", with the payload
// "alert#n", n being the time.
func (r *rig) put(n int, words ...string) []Change {
	var changes []Change
	for _, w := range words {
		changes = append(changes, aChange(n, w))
	}
	r.Append(changes, nil)
	return changes
}

func aChange(n int, word string) Change {
	appKey, _, found := strings.Cut(word, "/")
	if !found {
		appKey = "k"
	}
	return Change{AppKey: appKey, Alert: word, Time: int64(n), Level: "CRITICAL", Payload: fmt.Appendf(nil, "%s#%d", word, n)}
}

// next takes what is ready, and fails when nothing becomes so.
func (r *rig) next(max int, skip ...string) []Change {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	got, err := r.Next(ctx, max, func(appKey string) bool { return strings.Contains(strings.Join(skip, " "), appKey) })
	if err != nil {
		r.t.Fatalf("Next: %v, %+v", err, r.Stats())
	}
	return got
}

// want takes what is ready, acknowledges it and compares its payloads.
func (r *rig) want(payloads string) {
	r.t.Helper()
	got := r.next(1000)
	if have := payloadsOf(got); have != payloads {
		r.t.Errorf("got %s, want %s", have, payloads)
	}
	r.ack(got)
}

func (r *rig) ack(changes []Change) {
	r.t.Helper()
	if err := r.Ack(idsOf(changes)...); err != nil {
		r.t.Error(err)
	}
}

// drain delivers all that is queued, and returns it.
func (r *rig) drain() (all []Change) {
	r.t.Helper()
	for r.Stats().Queued > 0 {
		ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
		go func() {
			r.Drain(ctx) // which also ends when what is counted is not there
			cancel()
		}()
		got, err := r.Next(ctx, 1000, nil)
		cancel()
		if err != nil && r.Stats().Queued > 0 {
			r.t.Fatalf("nothing leaves: %v, %+v", err, r.Stats())
		}
		r.ack(got)
		all = append(all, got...)
	}
	return all
}

// adopted waits until the outbox has taken over what others left behind.
func (r *rig) adopted() *rig {
	r.t.Helper()
	until(r.t, "the first look for orphans is over", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return !r.looking
	})
	return r
}

// copyTo writes the database anew, to another file.
func (r *rig) copyTo(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.store.writeAnew(); err != nil {
		return err
	}
	return os.Rename(r.store.path()+compacting, path)
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

func idsOf(changes []Change) (ids []uint64) {
	for _, c := range changes {
		ids = append(ids, c.ID)
	}
	return ids
}

func payloadsOf(changes []Change) string {
	var all []string
	for _, c := range changes {
		all = append(all, string(c.Payload))
	}
	return strings.Join(all, " ")
}

// inOrder checks that the changes of each alert, whose payloads are
// "alert#n", ascend.
func inOrder(t *testing.T, changes []Change) {
	t.Helper()
	last := make(map[string]int64)
	for _, c := range changes {
		if c.Time <= last[c.Alert] {
			t.Fatalf("alert %s: change %d left after %d", c.Alert, c.Time, last[c.Alert])
		}
		last[c.Alert] = c.Time
	}
}

// files are the paths below dir whose names match.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// inspect reads or changes the database of an outbox that is closed.
func inspect(t *testing.T, path string, f func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

const childVariable = "OUTBOX_TEST_CHILD"

// isChild reports whether this is the process that child started, and the
// folder that it was given.
func isChild() (dir string, ok bool) { return os.LookupEnv(childVariable) }

// child runs the same test in a process of its own.
func child(t *testing.T, dir string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	c.Env = append(os.Environ(), childVariable+"="+dir)
	return c
}

// inChild runs the same test in a process of its own, to its end.
func inChild(t *testing.T, dir string) {
	t.Helper()
	out, err := child(t, dir).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("no tests to run")) {
		t.Fatalf("%v:\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("%s", out)
	}
}
