package system

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// OpenFolder is a flag of os.OpenFile: what is no folder is not opened.
const OpenFolder = 0 // there is none

// lockedAt is where in a file the byte is that Lock locks: Windows keeps others
// from reading what is locked, so it is behind everything that is ever written.
const lockedAt = 1 << 30 // in units of 4 GiB

// Lock locks a file for as long as it is open, or fails at once with EWOULDBLOCK
// when another process has it. Those that share it do not keep each other out. A
// folder cannot be locked.
func Lock(f *os.File, shared bool) error {
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if !shared {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &windows.Overlapped{OffsetHigh: lockedAt})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return syscall.EWOULDBLOCK
	}
	return err
}

// Unlock lets go of what Lock locked.
func Unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &windows.Overlapped{OffsetHigh: lockedAt})
}

// Owner is the number of the user that a file belongs to; not ok on a system
// without owners.
func Owner(fs.FileInfo) (uid int, ok bool) { return 0, false }

// magicNumber is the magic number of statfs(2) of the file system that a folder is
// on; 0 if that cannot be told.
func magicNumber(string) uint32 { return 0 }

// Free is how many bytes this user may still write where a folder is.
func Free(folder string) (free uint64, err error) {
	name, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, err
	}
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return free, err
}

// Access is access(2), which Windows does not have: whoever opens the file finds
// out.
func Access(string, uint32) error { return nil }

// Private is for the Control of a net.ListenConfig. The socket has the permissions
// of its folder.
func Private(string, string, syscall.RawConn) error { return nil }

// Umask sets the mode bits that new files do not get.
func Umask(int) {}
