package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"bigpanda-udf/test"
)

// A file that may not grow, by RLIMIT_FSIZE.
func TestFullBySizeLimit(t *testing.T) { // P4, P5
	t.Parallel()
	dir, ok := isChild()
	if !ok {
		inChild(t, test.MemoryDir(t))
		return
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	set := func(n uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
	}
	set(3 << 20)
	testFull(t, dir, func() { set(was.Cur) })
}

// A disk that is full.
func TestFullDisk(t *testing.T) { // P4, P5
	t.Parallel()
	dir := t.TempDir()
	mountTmpfs(t, dir, "size=3m")
	testFull(t, dir, func() {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
	})
}

func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("cannot mount: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

func testFull(t *testing.T, dir string, makeRoom func()) {
	const alerts = 20
	r := openIn(t, dir)
	n := 0
	appendRound := func() {
		n++
		var changes []Change
		for a := range alerts {
			c := aChange(n, fmt.Sprint("alert", a))
			c.Payload = append(c.Payload, strings.Repeat(".", 1000)...)
			changes = append(changes, c)
		}
		r.Append(changes, []Level{{Key: "s", Time: int64(n), Value: fmt.Append(nil, n)}})
	}
	refuses := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.writeFailed != nil
	}
	for !refuses() {
		if appendRound(); n > 1000 {
			t.Fatal("the disk is not full")
		}
	}
	for range 200 {
		appendRound()
	}
	r.mu.Lock()
	kept := len(r.pending.changes)
	r.mu.Unlock()
	if kept > alerts {
		t.Errorf("%d changes of %d alerts are kept in memory", kept, alerts)
	}
	if s := r.Stats(); s.GivenUp == 0 || s.Queued+s.GivenUp != n*alerts {
		t.Errorf("of %d changes: %+v", n*alerts, s)
	}
	delivered := r.next(100)
	if len(delivered) != 100 || delivered[0].Time != 1 {
		t.Errorf("on a full disk %d changes leave", len(delivered))
	}
	r.Ack(idsOf(delivered)...) // an error says that they may be sent again
	released := r.next(50)
	r.Release(idsOf(released)...)
	appendRound()
	r.log.has(t, 1, "the outbox cannot be written")
	// Deliveries make room, whatever is kept meanwhile; else somebody does.
	makeRoom()
	until(t, "the disk is used again", func() bool { return !refuses() })
	r.log.has(t, 1, "the outbox is written again")
	appendRound()
	want := r.Stats()
	r.close()

	r = openIn(t, dir)
	if got := r.Stats(); got.Queued != want.Queued {
		t.Errorf("%d are queued, and %d were", got.Queued, want.Queued)
	}
	if levels, _, err := readAll(r); err != nil || len(levels) != 1 || string(levels[0].Value) != fmt.Sprint(n) {
		t.Errorf("levels: %v, %v", levels, err)
	}
	all := append(delivered, r.drain()...)
	inOrder(t, all)
	if len(all) != n*alerts-want.GivenUp {
		t.Errorf("%d changes were delivered and %d given up, of %d", len(all), want.GivenUp, n*alerts)
	}
	for _, c := range all[len(all)-alerts:] {
		if c.Time != int64(n) {
			t.Errorf("alert %s ends with change %d of %d", c.Alert, c.Time, n)
		}
	}
}

// While the disk is full, deliveries alone make room again.
func TestFullDiskDrainsItself(t *testing.T) { // P5
	t.Parallel()
	dir := t.TempDir()
	mountTmpfs(t, dir, "size=3m")
	r := openIn(t, dir)
	n := 0
	for r.log.count("cannot be written") == 0 {
		n++
		c := aChange(n, fmt.Sprint("alert", n%5))
		c.Payload = append(c.Payload, strings.Repeat(".", 5000)...)
		r.Append([]Change{c}, nil)
	}
	delivered := r.next(300)
	r.Ack(idsOf(delivered)...)
	until(t, "what was kept is on disk", func() bool { return r.log.count("written again") == 1 })
	r.put(n+1, "alert0")
	r.close()
	r = openIn(t, dir)
	if all := append(delivered, r.drain()...); len(all) != n+1 {
		t.Errorf("%d changes are left of %d", len(all), n+1)
	} else {
		inOrder(t, all)
	}
}

// A program whose disk is full can start.
func TestOpenOnAFullDisk(t *testing.T) { // P5
	t.Parallel()
	dir := t.TempDir()
	mountTmpfs(t, dir, "size=3m")
	r := openIn(t, dir)
	r.put(1, "a")
	r.close()
	stuffing := filepath.Join(dir, "stuffing")
	if err := os.WriteFile(stuffing, make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	r = openIn(t, dir)
	r.Append([]Change{aChange(2, "a")}, []Level{{Key: "more than is free", Value: make([]byte, 1<<20)}})
	if got := payloadsOf(r.next(10)); got != "a#1 a#2" {
		t.Errorf("got %s", got)
	}
	if err := r.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close, with a change that is not on disk: %v", err)
	}

	// One that has no database yet cannot, and leaves no half of one.
	o := testOptions(r.Disk.log)
	o.Task = "another"
	if _, err := Open(dir, o); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got error %v", err)
	}
	if err := os.Remove(stuffing); err != nil {
		t.Fatal(err)
	}
	r = openIn(t, dir, node("another", "bigpanda2"))
	r.log.has(t, 0, "moved aside")
}

// failing makes database files fail.
type failing struct {
	mu     sync.Mutex
	last   *os.File
	opened int
	err    error // of the next Open
}

func fail(t *testing.T) *failing {
	f := new(failing)
	was := openFile
	openFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: f.err}
		}
		file, err := os.OpenFile(name, flag, mode)
		f.last = file
		f.opened++
		return file, err
	}
	t.Cleanup(func() { openFile = was })
	return f
}

// breakFile makes every write to the open database fail.
func (f *failing) breakFile(t *testing.T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	null, err := os.Open(os.DevNull) // read only
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := syscall.Dup3(int(null.Fd()), int(f.last.Fd()), syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}

func (f *failing) set(err error) (opened int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	return f.opened
}

// After a write that failed in another way than by a full disk, the database is
// opened anew before the next, which tells what is on the disk.
func TestFailedWriteReopens(t *testing.T) { // P4, P5
	f := fail(t)
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a", "b")
	before := f.set(nil)
	f.breakFile(t)
	r.put(2, "a") // on disk when it returns
	if n := f.set(nil) - before; n != 1 {
		t.Errorf("the database was opened anew %d times", n)
	}
	r.log.has(t, 0, "cannot be written")
	inFlight := r.next(10)
	f.breakFile(t)
	r.ack(inFlight[:1])
	f.breakFile(t)
	if err := r.Dead(inFlight[1], 400, "no"); err != nil {
		t.Error(err)
	}
	if s := r.Stats(); s != (Stats{Queued: 1, InFlight: 1, Dead: 1}) {
		t.Errorf("stats: %+v", s)
	}
	r.close()
	r = openIn(t, dir)
	r.want("a#2")
}

func TestDiskThatIsGone(t *testing.T) { // P4, P5
	f := fail(t)
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a", "b")
	inFlight := r.next(1)
	f.set(syscall.EIO)
	f.breakFile(t)
	for n := 2; n < 10; n++ {
		r.put(n, "a", "c")
	}
	if err := r.Ack(inFlight[0].ID); !errors.Is(err, syscall.EIO) {
		t.Errorf("Ack: %v", err)
	}
	r.log.has(t, 1, "the outbox cannot be written")
	f.set(nil)
	until(t, "the outbox is written again", func() bool { return r.log.count("the outbox is written again") == 1 })
	r.want("b#1 a#9 c#9")
	if s := r.Stats(); s != (Stats{GivenUp: 14}) {
		t.Errorf("stats: %+v", s)
	}
	r.log.has(t, 0, "moved aside")
}
