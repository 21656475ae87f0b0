package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

const (
	// defaultSocketMode lets the user and the group of the process in: the
	// socket takes points, and gives those of one's own connection.
	defaultSocketMode = 0o660
	// maxSocketPath is how long the path of a socket may be everywhere: 104
	// bytes with its end on some systems, 108 on Linux (unix(7)).
	maxSocketPath = 103
	// answersWithin is how long whoever listens may take to show that it does.
	answersWithin = time.Second
	// startsWithin is how long others that start here may take.
	startsWithin = 3 * answersWithin
)

// listen returns the sockets of systemd, if that handed any over, else the one
// that the flags name.
func (f serveFlags) listen() ([]net.Listener, error) {
	mode, err := f.mode()
	if err != nil {
		return nil, err
	}
	group, err := f.group()
	if err != nil {
		return nil, err
	}
	handed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take over the sockets of systemd: %w", err)
	}
	if len(handed) > 0 {
		if err := f.fits(handed); err != nil {
			for _, l := range handed {
				if l != nil {
					l.Close()
				}
			}
			return nil, err
		}
		return handed, nil
	}
	switch {
	case f.Socket == "":
		return nil, usagef("no socket: set --socket (BIGPANDA_SERVE_SOCKET) to the path that socket has in kapacitor.conf")
	case strings.HasPrefix(f.Socket, "@"):
		return nil, usagef("--socket is %q: write the path of a file, since a socket without one would be open to all", shown(f.Socket))
	case len(f.Socket) > maxSocketPath:
		return nil, usagef("--socket is longer than %d bytes, more than a socket's path can have: write a shorter one", maxSocketPath)
	}
	l, err := listenAt(f.Socket, mode, group)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

func (f serveFlags) mode() (os.FileMode, error) {
	if f.SocketMode == "" {
		return defaultSocketMode, nil
	}
	mode, err := strconv.ParseUint(f.SocketMode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, usagef("--socket-mode is %q: write an octal mode, such as 0660", shown(f.SocketMode))
	}
	return os.FileMode(mode), nil
}

// group returns the number of the group, -1 for none.
func (f serveFlags) group() (int, error) {
	if f.SocketGroup == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(f.SocketGroup, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(f.SocketGroup)
	if err != nil {
		return 0, usagef("--socket-group is %q: write the name or number of a group of this machine", shown(f.SocketGroup))
	}
	return strconv.Atoi(g.Gid)
}

// fits finds what the flags ask for and the sockets of systemd are not.
func (f serveFlags) fits(handed []net.Listener) error {
	named := f.Socket == ""
	for _, l := range handed {
		unix, ok := l.(*net.UnixListener)
		if !ok {
			return usagef("systemd hands over what is no unix stream socket: set ListenStream= of the socket unit to a path")
		}
		named = named || unix.Addr().String() == f.Socket
	}
	switch {
	case !named:
		return usagef("--socket is %q and systemd listens at %s: leave it out, or set ListenStream= of the socket unit to it", shown(f.Socket), handed[0].Addr())
	case f.SocketMode != "":
		return usagef("--socket-mode is for systemd to keep, which made the socket: set SocketMode= of the socket unit")
	case f.SocketGroup != "":
		return usagef("--socket-group is for systemd to keep, which made the socket: set SocketGroup= of the socket unit")
	}
	return nil
}

// listenAt makes a socket, in place of one that nobody listens at any more.
func listenAt(path string, mode os.FileMode, group int) (net.Listener, error) {
	unlock, err := lockFolderOf(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Before it has a name: nobody connects who may not. Systems other than
		// Linux do not take it.
		return c.Control(func(fd uintptr) { syscall.Fchmod(int(fd), 0o600) })
	}}
	l, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w: let this user write in the folder, or choose another path with --socket", err)
	}
	if group >= 0 {
		if err := os.Lchown(path, -1, group); err != nil {
			l.Close()
			return nil, fmt.Errorf("give the socket to its group: %w: run this as a member of the group", err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, fmt.Errorf("give the socket its mode: %w", err)
	}
	return l, nil
}

// lockFolderOf keeps two daemons that start at once from taking each other's
// socket for a stale one.
func lockFolderOf(path string) (unlock func(), err error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w: make the folder, or choose another path with --socket", path, err)
	}
	for late := time.Now().Add(startsWithin); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { folder.Close() }, nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			folder.Close()
			return nil, fmt.Errorf("listen at %s: lock the folder: %w", path, err)
		case time.Now().After(late):
			folder.Close()
			return nil, fmt.Errorf("another process holds a lock on the folder of %s: stop it, or choose another folder with --socket", path)
		}
	}
}

// removeStale removes a socket that nobody listens at. Anything else that has
// its name is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for a socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is there and no socket: move it away, or choose another path with --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, answersWithin)
	switch {
	case err == nil:
		conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("whether somebody listens at %s cannot be told: %w: run this as the socket's owner, or choose another path with --socket", path, err)
	}
	return fmt.Errorf("another process listens at %s: stop it, or choose another path with --socket", path)
}
