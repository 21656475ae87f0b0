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

	"bigpanda-udf/config"
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

// A socket is where the tasks of one edge connect.
type socket struct {
	net.Listener
	edge string
}

func closeAll(sockets []socket) {
	for _, s := range sockets {
		s.Close() // and removes it, unless that is systemd's to do
	}
}

// A socketFlag is a socket that a flag names.
type socketFlag struct{ flag, path, edge string }

// sockets returns those that the flags name.
func (f serveFlags) sockets(edge string) (named []socketFlag) {
	for _, s := range []socketFlag{{"--socket", f.Socket, edge}, {"--batch-socket", f.BatchSocket, config.EdgeBatch}} {
		if s.path != "" {
			named = append(named, s)
		}
	}
	return named
}

// listen returns the sockets of systemd, if that handed any over, else those
// that the flags name.
func (f serveFlags) listen(s settings) ([]socket, error) {
	mode, err := f.mode()
	if err != nil {
		return nil, err
	}
	group, err := f.group()
	if err != nil {
		return nil, err
	}
	if f.BatchSocket != "" && s.Edge == config.EdgeBatch {
		return nil, batchTwice(s, "--batch-socket")
	}
	named := f.sockets(s.Edge)
	if len(named) == 2 && samePath(f.Socket, f.BatchSocket) {
		return nil, usagef("--socket and --batch-socket are both %q: give each a path of its own, since a function takes either streams or batches", config.Shown(f.Socket))
	}
	if handed := takeOver(); len(handed) > 0 {
		return f.sort(handed, named, s)
	}
	if len(named) == 0 {
		return nil, usagef("no socket: set --socket (BIGPANDA_SERVE_SOCKET), for batch tasks --batch-socket (BIGPANDA_SERVE_BATCH_SOCKET), to the path that socket has in kapacitor.conf")
	}
	for _, n := range named {
		if err := n.check(); err != nil {
			return nil, err
		}
	}
	var sockets []socket
	for _, n := range named {
		l, err := n.listen(mode, group)
		if err != nil {
			closeAll(sockets)
			return nil, err
		}
		sockets = append(sockets, socket{l, n.edge})
	}
	return sockets, nil
}

// batchTwice is the error of what says that a socket is for batch tasks while
// --edge does so of the other.
func batchTwice(s settings, what string) error {
	return usagef("%s is batch, and %s is for batch tasks anyway: leave %[1]s out, and --socket is for stream tasks", s.Where["edge"], what)
}

// samePath tells whether two paths are those of one socket. Its folder may have
// several names, such as /run and /var/run.
func samePath(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	one, errA := os.Stat(filepath.Dir(a))
	other, errB := os.Stat(filepath.Dir(b))
	return filepath.Base(a) == filepath.Base(b) && errA == nil && errB == nil && os.SameFile(one, other)
}

func (s socketFlag) check() error {
	switch {
	case strings.HasPrefix(s.path, "@"):
		return usagef("%s is %q: write the path of a file, since a socket without one would be open to all", s.flag, config.Shown(s.path))
	case len(s.path) > maxSocketPath:
		return usagef("%s is longer than %d bytes, more than a socket's path can have: write a shorter one", s.flag, maxSocketPath)
	}
	return nil
}

func (f serveFlags) mode() (os.FileMode, error) {
	if f.SocketMode == "" {
		return defaultSocketMode, nil
	}
	mode, err := strconv.ParseUint(f.SocketMode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, usagef("--socket-mode is %q: write an octal mode, such as 0660", config.Shown(f.SocketMode))
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
		return 0, usagef("--socket-group is %q: write the name or number of a group of this machine", config.Shown(f.SocketGroup))
	}
	return strconv.Atoi(g.Gid)
}

// listen makes a socket, in place of one that nobody listens at any more.
func (s socketFlag) listen(mode os.FileMode, group int) (net.Listener, error) {
	unlock, err := s.lockFolder()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.removeStale(); err != nil {
		return nil, err
	}
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Before it has a name: nobody connects who may not. Systems other than
		// Linux do not take it.
		return c.Control(func(fd uintptr) { syscall.Fchmod(int(fd), 0o600) })
	}}
	l, err := private.Listen(context.Background(), "unix", s.path)
	if err != nil {
		return nil, fmt.Errorf("%w: let this user write in the folder, or choose another path with %s", err, s.flag)
	}
	if group >= 0 {
		if err := os.Lchown(s.path, -1, group); err != nil {
			l.Close()
			return nil, fmt.Errorf("give the socket to its group: %w: run this as a member of the group", err)
		}
	}
	if err := os.Chmod(s.path, mode); err != nil {
		l.Close()
		return nil, fmt.Errorf("give the socket its mode: %w", err)
	}
	return l, nil
}

// lockFolder keeps two daemons that start at once from taking each other's socket
// for a stale one.
func (s socketFlag) lockFolder() (unlock func(), err error) {
	folder, err := os.OpenFile(filepath.Dir(s.path), os.O_RDONLY|syscall.O_DIRECTORY, 0) // else a pipe would be waited for
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w: make the folder, or choose another path with %s", s.path, err, s.flag)
	}
	err = lockWithin(context.Background(), folder, startsWithin)
	switch {
	case err == nil:
		return func() { folder.Close() }, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = fmt.Errorf("another process holds a lock on the folder of %s: stop it, or choose another folder with %s", s.path, s.flag)
	default:
		err = fmt.Errorf("listen at %s: lock the folder: %w", s.path, err)
	}
	folder.Close()
	return nil, err
}

// removeStale removes a socket that nobody listens at. Anything else that has
// its name is an error.
func (s socketFlag) removeStale() error {
	info, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for a socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is there and no socket: move it away, or choose another path with %s", s.path, s.flag)
	}
	conn, err := net.DialTimeout("unix", s.path, answersWithin)
	switch {
	case err == nil:
		conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(s.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("whether somebody listens at %s cannot be told: %w: run this as the socket's owner, or choose another path with %s", s.path, err, s.flag)
	}
	return fmt.Errorf("another process listens at %s: stop it, or choose another path with %s", s.path, s.flag)
}
