package daemon

import (
	"net"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// batchName is what FileDescriptorName= of a socket unit says when its socket is
// for batch tasks.
const batchName = "batch"

// takeOver returns the sockets of systemd, in its order. Which is for which tasks its
// name says and the flags' paths, which are to be those of sockets that there are. The
// sockets are returned with an error, too.
func (s Sockets) takeOver(named []namedSocket) (sockets []Socket, err error) {
	var names, paths []string // or addresses, which are no path's
	for _, f := range activation.Files(true) {
		l, fault := net.FileListener(f)
		f.Close()
		if fault != nil {
			err = usagef("systemd hands over what is no stream socket: set ListenStream= of the socket unit to a path, or for events of topics to an address")
			continue
		}
		sockets, names, paths = append(sockets, Socket{l, s.Edge}), append(names, f.Name()), append(paths, l.Addr().String())
	}
	if len(sockets) == 0 || err != nil {
		return sockets, err
	}
	for i, path := range paths {
		if names[i] == batchName && s.Path != "" && samePath(path, s.Path) {
			return sockets, usagef("--socket is %.200q, which FileDescriptorName=%s of its socket unit says is for batch tasks: set --batch-socket to it, "+
				"or take FileDescriptorName= out", s.Path, batchName)
		}
	}
	for _, n := range named {
		if !slices.ContainsFunc(paths, func(path string) bool { return samePath(path, n.path) }) {
			return sockets, usagef("%s is %.200q and systemd listens at %s: leave it out, or set ListenStream= of the socket unit to it",
				n.flag, n.path, strings.Join(paths, " and "))
		}
	}
	switch {
	case s.Mode != "":
		return sockets, usagef("--socket-mode is for systemd to keep, which made the socket: set SocketMode= of the socket unit")
	case s.Group != "":
		return sockets, usagef("--socket-group is for systemd to keep, which made the socket: set SocketGroup= of the socket unit")
	}
	of := make(map[string]string) // paths by edge
	for i, path := range paths {
		edge := &sockets[i].Edge
		if _, isTCP := sockets[i].Listener.(*net.TCPListener); isTCP {
			*edge = HTTP
		} else if names[i] == batchName || s.BatchPath != "" && samePath(path, s.BatchPath) {
			if s.Edge == Batch {
				return sockets, s.batchTwice("the socket with FileDescriptorName=" + batchName)
			}
			*edge = Batch
		}
		if other, twice := of[*edge]; twice && *edge == HTTP {
			return sockets, usagef("systemd listens at %s and at %s, both for events of topics: leave one out", other, path)
		} else if twice {
			return sockets, usagef("systemd listens at %s and at %s, both for %s tasks: set --batch-socket (BIGPANDA_SERVE_BATCH_SOCKET) to the path of the one for batch tasks, "+
				"give that alone FileDescriptorName=%s, or leave one out", other, path, *edge, batchName)
		}
		of[*edge] = path
	}
	return sockets, nil
}
