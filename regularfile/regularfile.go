// Package regularfile reads the files that settings name: a token, a
// configuration, certificates. Whatever a name leads to, it returns at once, with
// a bounded amount of memory: a pipe without a writer would be waited for, and a
// device may have no end.
package regularfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Limits of Read, in bytes.
const (
	// MaxText is for what people write: a kapacitor.conf with all of its
	// comments is 30 KB.
	MaxText = 1 << 20
	// MaxCertificates is for certificates: those of a whole system are 250 KB.
	MaxCertificates = 8 << 20
)

// Read returns what is in a regular file, or in the one that a symbolic link
// leads to. Anything else, and a file of more than limit bytes, is an error. All
// errors are of type *fs.PathError.
func Read(name string, limit int) ([]byte, error) {
	// Before it is opened, which alone does something to some devices.
	info, err := os.Stat(name)
	if err != nil {
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			path.Op = "open" // which is what was asked for
		}
		return nil, err
	}
	if err := check(name, info); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil {
		err = check(name, info) // it may be another one by now
	}
	if err != nil {
		return nil, err
	}
	// Some files of the kernel are regular by name and are waited for all the
	// same. Others have no deadlines.
	_ = f.SetReadDeadline(time.Now().Add(time.Second))
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it is larger than %d bytes", limit)}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Cause takes the operation and the file's name off an error, for sentences that
// name it already.
func Cause(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

func check(name string, info fs.FileInfo) error {
	if kind := kindOf(info.Mode()); kind != "" {
		return &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it is %s and no regular file", kind)}
	}
	return nil
}

// kindOf says what else than a regular file something is.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return ""
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
