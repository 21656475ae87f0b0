package system

import (
	"errors"
	"os"
	"syscall"
)

// LockFile locks a file, which is made if it is not there, for as long as it is open,
// or fails at once with EWOULDBLOCK when another process has it.
func LockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	err = Lock(f, false)
	if err == nil && !IsAt(f, path) {
		err = syscall.EWOULDBLOCK // whoever removed it meanwhile had the lock of what is gone
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Release lets go of what LockFile, or Lock, locked, and closes it. A process that was
// started meanwhile may have the file open for a moment longer.
func Release(f *os.File) error { return errors.Join(Unlock(f), f.Close()) }

// IsAt reports whether an open file is the one that has a name.
func IsAt(f *os.File, path string) bool {
	info, err := f.Stat()
	return err == nil && IsFileAt(path, info)
}
