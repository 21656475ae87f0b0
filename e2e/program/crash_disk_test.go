package program

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// A crashFolder is where an outbox is, and can be full.
type crashFolder interface {
	path() string
	// fill leaves the process no room, or very little; free ends that.
	fill(pid int, little int64)
	free()
}

// fileLimit is full by RLIMIT_FSIZE, which holds for one process: no file may
// grow beyond it, and none be written behind it.
type fileLimit struct {
	dir string
	pid int
}

func (r *fileLimit) path() string { return r.dir }

func (r *fileLimit) fill(pid int, little int64) {
	r.pid = pid
	// The first two pages are bbolt's own and always there: no disk is too full
	// to write them again.
	limitFiles(pid, uint64(8192+little))
}

func (r *fileLimit) free() {
	if r.pid != 0 {
		limitFiles(r.pid, ^uint64(0))
		r.pid = 0
	}
}

// limitFiles is prlimit(2). An error is that the process is gone.
func limitFiles(pid int, size uint64) {
	limit := syscall.Rlimit{Cur: size, Max: ^uint64(0)}
	syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
}

// tmpfs is a small file system, full by a file that takes up all of it.
type tmpfs struct{ dir string }

// mountFolder mounts one, or skips the test where that is not allowed.
func mountFolder(t *testing.T) crashFolder {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount a small file system: %v; only root may", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &tmpfs{dir: dir}
}

func (r *tmpfs) path() string   { return filepath.Join(r.dir, "outbox") }
func (r *tmpfs) filler() string { return filepath.Join(r.dir, "filler") }

func (r *tmpfs) fill(_ int, little int64) {
	f, err := os.Create(r.filler())
	if err != nil {
		return
	}
	defer f.Close()
	page := make([]byte, 4096)
	size := int64(0)
	for ; err == nil; size += 4096 {
		_, err = f.Write(page)
	}
	f.Truncate(max(0, size-4096-little%(32<<10))) // and a few pages of room
}

func (r *tmpfs) free() {
	if err := os.Remove(r.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
}

// fillAtTimes fills the disk up while the process lives, now and then. The
// function that it returns ends that.
func (k *crashTask) fillAtTimes(l *crashLife) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	wait := func(d int) bool {
		select {
		case <-time.After(time.Duration(d) * time.Millisecond):
			return true
		case <-over:
			return false
		}
	}
	// What becomes of them must not depend on when the goroutine comes to it.
	var spans []int
	for range 10 {
		spans = append(spans, k.chance.IntN(200), k.chance.IntN(64<<10), k.chance.IntN(200))
	}
	go func() {
		defer close(ended)
		defer k.folder.free()
		for i := 0; i < len(spans) && wait(spans[i]); i += 3 {
			k.folder.fill(l.f.Cmd.Process.Pid, int64(spans[i+1]))
			if !wait(spans[i+2]) {
				return
			}
			k.folder.free()
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// A refusal is a time in which the log said that the newest change of each
// alert is kept in memory.
type refusal struct {
	begin, end time.Time
	killed     bool // it lasted until the process was killed
}

var logTime = regexp.MustCompile(`^time=(\S+)`)

// refusals reads them off a log, whose times are cut to milliseconds.
func refusals(log string) (all []refusal) {
	open := false
	for line := range strings.Lines(log) {
		refused := strings.Contains(line, "the outbox cannot be written")
		written := strings.Contains(line, "the outbox is written again")
		if !refused && !written {
			continue
		}
		at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", logTime.FindStringSubmatch(line)[1])
		if err != nil {
			panic(err)
		}
		switch {
		case refused && !open:
			all = append(all, refusal{begin: at, end: time.Now(), killed: true})
		case written && open:
			all[len(all)-1].end, all[len(all)-1].killed = at.Add(2*time.Millisecond), false
		}
		open = refused
	}
	return all
}
