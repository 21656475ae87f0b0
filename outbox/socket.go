package outbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

const (
	controlName = "control.sock"
	// maxSocketPath is how long the path of a socket may be everywhere: 104
	// bytes with its end on some systems, 108 on Linux (unix(7)).
	maxSocketPath = 103
)

// socketPath returns a path to the socket in a folder that is short enough.
// It is valid until release is called.
func socketPath(folder string) (path string, release func(), err error) {
	path = filepath.Join(folder, controlName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("its path is longer than %d bytes: %w", maxSocketPath, syscall.ENAMETOOLONG)
	}
	f, err := os.Open(folder)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), controlName), func() { f.Close() }, nil
}

// listenControl makes the socket in a locked folder, in place of one that a
// process has left behind.
func listenControl(folder string) (net.Listener, error) {
	if err := removeControl(folder); err != nil {
		return nil, err
	}
	path, release, err := socketPath(folder)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	defer release()
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	// The path may mean another file by then.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(filepath.Join(folder, controlName), 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return l, nil
}

func removeControl(folder string) error {
	err := os.Remove(filepath.Join(folder, controlName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dialControl connects to the process that works on the outbox in a folder.
func dialControl(ctx context.Context, folder string) (net.Conn, error) {
	path, release, err := socketPath(folder)
	if err != nil {
		return nil, err
	}
	defer release()
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

// nobodyListens says that no process works on the outbox, or none that serves.
func nobodyListens(err error) bool {
	for _, nobody := range []error{fs.ErrNotExist, syscall.ECONNREFUSED, syscall.ENAMETOOLONG, syscall.ENOTSOCK} {
		if errors.Is(err, nobody) {
			return true
		}
	}
	return false
}
