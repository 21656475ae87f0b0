//go:build linux

package outbox_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// nobody is a user that owns nothing.
const nobody = 65534

// asAnother runs f as somebody who may not look into a folder. It may look into
// those that the folder is in.
func asAnother(t *testing.T, folder string, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		info, err := os.Stat(folder)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(folder, 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(folder, info.Mode().Perm())
		f()
		return
	}
	restore := openUp(t, folder)
	defer restore()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is another user's for the rest of its life, which ends
		// with the goroutine.
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); errno != 0 {
			t.Error(errno)
			return
		}
		f()
	}()
	<-done
}

// openUp makes a folder private, and those that it is in not.
func openUp(t *testing.T, folder string) (restore func()) {
	t.Helper()
	var undo []func()
	mode := os.FileMode(0o700)
	for path := folder; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		undo = append(undo, func() { os.Chmod(path, info.Mode().Perm()) })
		mode = 0o755
	}
	return func() {
		for _, f := range undo {
			f()
		}
	}
}
