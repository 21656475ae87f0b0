package system

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

// MaxSocketPath is how long the path of a socket may be everywhere: 104
// bytes with its end on some systems, 108 on Linux (unix(7)).
const MaxSocketPath = 103

// socketPath returns a path to a socket that is short enough. It is valid until
// release is called.
func socketPath(path string) (short string, release func(), err error) {
	if len(path) <= MaxSocketPath {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("its path is longer than %d bytes: %w", MaxSocketPath, syscall.ENAMETOOLONG)
	}
	f, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), filepath.Base(path)), func() { f.Close() }, nil
}

// ListenSocket makes a socket in a folder of this user's, in place of one that a
// process has left behind. The path may be of any length where the system lets it;
// the socket stays when the listener is closed.
func ListenSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	short, release, err := socketPath(path)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", short)
	if err != nil {
		return nil, err
	}
	// The path may mean another file by then.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// DialSocket connects to who listens at a socket, whose path may be as long.
func DialSocket(ctx context.Context, path string) (net.Conn, error) {
	short, release, err := socketPath(path)
	if err != nil {
		return nil, err
	}
	defer release()
	return new(net.Dialer).DialContext(ctx, "unix", short)
}

// NobodyListens says that an error of DialSocket means that no process is there.
func NobodyListens(err error) bool {
	for _, nobody := range []error{fs.ErrNotExist, syscall.ECONNREFUSED, syscall.ENAMETOOLONG, syscall.ENOTSOCK} {
		if errors.Is(err, nobody) {
			return true
		}
	}
	return false
}
