package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bigpanda-udf/system"
)

const (
	// defaultSocketMode lets the user and the group of the process in: the
	// socket takes points, and gives those of one's own connection.
	defaultSocketMode = 0o660
	// answersWithin is how long whoever listens may take to show that it does.
	answersWithin = time.Second
	// startsWithin is how long others that start here may take.
	startsWithin = 3 * answersWithin
)

// The edges of tasks, as Kapacitor names them, and what is for the events of topics.
const (
	Stream = "stream"
	Batch  = "batch"
	HTTP   = "http"
)

// A Socket is where the tasks of one edge connect, or events are posted.
type Socket struct {
	net.Listener
	Edge string
}

// Close closes them all.
func Close(sockets []Socket) {
	for _, s := range sockets {
		s.Close() // and removes it, unless that is systemd's to do
	}
}

// Sockets are where the daemon is to listen, as its flags say, which the tags make.
type Sockets struct {
	Path      string `name:"socket" placeholder:"PATH" help:"Where to listen for stream tasks, or for those that --edge says; the same as socket of the function in kapacitor.conf. Not needed where systemd listens."`
	BatchPath string `name:"batch-socket" placeholder:"PATH" help:"Where to listen for batch tasks, alone or beside --socket."`
	Mode      string `name:"socket-mode" placeholder:"MODE" help:"Who may connect, as the octal mode of the sockets (0660)."`
	Group     string `name:"socket-group" placeholder:"GROUP" help:"The group of the sockets, by name or number (that of the process)."`
	HTTP      string `name:"http" group:"topics" placeholder:"ADDRESS" help:"Where to take events that handlers of kind post send, such as 127.0.0.1:9095."`

	// Edge is that of the tasks at Path, and EdgeFrom what says so, for errors.
	Edge, EdgeFrom string `kong:"-"`
	// CheckHTTP says whether the address of HTTP may be listened on, which is on
	// loopback if it is a port alone.
	CheckHTTP func(*net.TCPAddr) error `kong:"-"`
}

// A UsageError is an error of what the daemon was asked for: nothing was tried.
type UsageError struct{ text string }

func (e UsageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return UsageError{fmt.Sprintf(format, args...)} }

// A namedSocket is a socket that a flag names.
type namedSocket struct{ flag, path, edge string }

// Listen returns the sockets of systemd, if that handed any over, else those
// that the flags name. An error is a UsageError, or of the system.
func (s Sockets) Listen() (sockets []Socket, err error) {
	defer func() {
		if err != nil {
			Close(sockets)
		}
	}()
	if s.BatchPath != "" && s.Edge == Batch {
		return nil, s.batchTwice("--batch-socket")
	}
	named := slices.DeleteFunc([]namedSocket{{"--socket", s.Path, s.Edge}, {"--batch-socket", s.BatchPath, Batch}},
		func(n namedSocket) bool { return n.path == "" })
	if len(named) == 2 && samePath(s.Path, s.BatchPath) {
		return nil, usagef("--socket and --batch-socket are both %.200q: give each a path of its own, since a function takes either streams or batches", s.Path)
	}
	sockets, err = s.takeOver(named)
	if err == nil && len(sockets) == 0 {
		sockets, err = s.listen(named)
	}
	if err != nil {
		return sockets, err
	}
	return s.addHTTP(sockets)
}

// listen makes the sockets that flags name.
func (s Sockets) listen(named []namedSocket) (sockets []Socket, err error) {
	if len(named) == 0 && s.HTTP == "" {
		return nil, usagef("no socket: set --socket (BIGPANDA_SERVE_SOCKET), for batch tasks --batch-socket (BIGPANDA_SERVE_BATCH_SOCKET), to the path that socket has in kapacitor.conf, " +
			"or for events of topics --http (BIGPANDA_SERVE_HTTP)")
	}
	mode, err := s.mode()
	if err != nil {
		return nil, err
	}
	group, err := s.group()
	if err != nil {
		return nil, err
	}
	for _, n := range named {
		if err := n.check(); err != nil {
			return nil, err
		}
	}
	for _, n := range named {
		l, err := n.listen(mode, group)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, Socket{l, n.edge})
	}
	return sockets, nil
}

// batchTwice is the error of what says that a socket is for batch tasks while
// --edge does so of the other.
func (s Sockets) batchTwice(what string) error {
	return usagef("%s is batch, and %s is for batch tasks anyway: leave %[1]s out, and --socket is for stream tasks", s.EdgeFrom, what)
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

func (s namedSocket) check() error {
	switch {
	case strings.HasPrefix(s.path, "@"):
		return usagef("%s is %.200q: write the path of a file, since a socket without one would be open to all", s.flag, s.path)
	case len(s.path) > system.MaxSocketPath:
		return usagef("%s is longer than %d bytes, more than a socket's path can have: write a shorter one", s.flag, system.MaxSocketPath)
	}
	return nil
}

func (s Sockets) mode() (os.FileMode, error) {
	if s.Mode == "" {
		return defaultSocketMode, nil
	}
	mode, err := strconv.ParseUint(s.Mode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, usagef("--socket-mode is %.200q: write an octal mode, such as 0660", s.Mode)
	}
	return os.FileMode(mode), nil
}

// group returns the number of the group, -1 for none.
func (s Sockets) group() (int, error) {
	if s.Group == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(s.Group, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(s.Group)
	if err != nil {
		return 0, usagef("--socket-group is %.200q: write the name or number of a group of this machine", s.Group)
	}
	return strconv.Atoi(g.Gid)
}

// listen makes a socket, in place of one that nobody listens at any more.
func (s namedSocket) listen(mode os.FileMode, group int) (net.Listener, error) {
	unlock, err := s.lockFolder()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.removeStale(); err != nil {
		return nil, err
	}
	// Before it has a name: nobody connects who may not. Systems other than Linux
	// do not take it.
	private := net.ListenConfig{Control: system.Private}
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
func (s namedSocket) lockFolder() (unlock func(), err error) {
	folder, err := os.OpenFile(filepath.Dir(s.path), os.O_RDONLY|system.OpenFolder, 0) // else a pipe would be waited for
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w: make the folder, or choose another path with %s", s.path, err, s.flag)
	}
	for late := time.Now().Add(startsWithin); ; time.Sleep(10 * time.Millisecond) {
		err = system.Lock(folder, false)
		if again := errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR); !again || time.Now().After(late) {
			break
		}
	}
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
func (s namedSocket) removeStale() error {
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
