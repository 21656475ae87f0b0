package system

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sameInode asks for the inode alone. From Linux 6.13 on, whoever asks for a file's times,
// as os.Stat does, makes its next write set a finer one, and fdatasync then writes the
// inode too (the kernel's Documentation/filesystems/multigrain-ts.rst): asking before each
// commit would add such a write to many of them. Not ok: no file, or no statx.
func sameInode(path string, info os.FileInfo) (same, ok bool) {
	mine, ok := info.Sys().(*syscall.Stat_t)
	var there unix.Statx_t
	if !ok || unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO, &there) != nil {
		return false, false
	}
	device := unix.Mkdev(there.Dev_major, there.Dev_minor)
	return mine.Ino == there.Ino && mine.Dev == device, true
}
