//go:build unix

package system

import (
	"io/fs"
	"os"
	"syscall"
)

// OpenFolder is a flag of os.OpenFile: what is no folder is not opened.
const OpenFolder = syscall.O_DIRECTORY

// Lock locks a file or folder for as long as it is open, or fails at once with
// EWOULDBLOCK when another process has it. Those that share it do not keep each
// other out.
func Lock(f *os.File, shared bool) error {
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	return syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
}

// Unlock lets go of what Lock locked.
func Unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// Owner is the number of the user that a file belongs to; not ok on a system
// without owners.
func Owner(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// magicNumber is the magic number of statfs(2) of the file system that a folder is
// on; 0 if that cannot be told.
func magicNumber(folder string) uint32 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0
	}
	return uint32(s.Type)
}

// Free is how many bytes this user may still write where a folder is.
func Free(folder string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// Access is access(2): an error if this user may not do with a file what the bits
// of mode say, read 4, write 2, execute 1.
func Access(path string, mode uint32) error { return syscall.Access(path, mode) }

// Private is for the Control of a net.ListenConfig: nobody but this user connects to
// the socket. Systems other than Linux do not take it.
func Private(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { syscall.Fchmod(int(fd), 0o600) })
}

// Umask sets the mode bits that new files do not get.
func Umask(mask int) { syscall.Umask(mask) }
