package daemon

import (
	"net"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// batchName is what FileDescriptorName= of a socket unit says when its socket is
// for batch tasks.
const batchName = "batch"

// A handedSocket is one that systemd has made and handed over.
type handedSocket struct {
	net.Listener // nil if it is no listening socket
	name         string
}

// takeOver returns the sockets of systemd, in its order.
func takeOver() (handed []handedSocket) {
	for _, f := range activation.Files(true) {
		l, err := net.FileListener(f)
		if err != nil {
			l = nil
		}
		handed = append(handed, handedSocket{l, f.Name()})
		f.Close()
	}
	return handed
}

// sort tells which socket of systemd is for which tasks: by the flags' paths, and
// by its name. It closes them all where that does not work out.
func (s Sockets) sort(handed []handedSocket, named []namedSocket) (sockets []Socket, err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, h := range handed {
			if h.Listener != nil {
				h.Close()
			}
		}
	}()
	if err := s.fits(handed, named); err != nil {
		return nil, err
	}
	of := make(map[string]net.Addr) // by edge
	for _, h := range handed {
		edge := s.Edge
		if _, isTCP := h.Listener.(*net.TCPListener); isTCP {
			edge = HTTP
		} else if h.name == batchName || s.BatchPath != "" && samePath(h.Addr().String(), s.BatchPath) {
			if s.Edge == Batch {
				return nil, s.batchTwice("the socket with FileDescriptorName=" + batchName)
			}
			edge = Batch
		}
		if other, twice := of[edge]; twice && edge == HTTP {
			return nil, usagef("systemd listens at %s and at %s, both for events of topics: leave one out", other, h.Addr())
		} else if twice {
			return nil, usagef("systemd listens at %s and at %s, both for %s tasks: set --batch-socket (BIGPANDA_SERVE_BATCH_SOCKET) to the path of the one for batch tasks, "+
				"give that alone FileDescriptorName=%s, or leave one out", other, h.Addr(), edge, batchName)
		}
		of[edge] = h.Addr()
		sockets = append(sockets, Socket{h.Listener, edge})
	}
	return sockets, nil
}

// fits finds what the flags ask for and the sockets of systemd are not.
func (s Sockets) fits(handed []handedSocket, named []namedSocket) error {
	var paths []string // and addresses, which are no path's
	for _, h := range handed {
		switch h.Listener.(type) {
		case *net.UnixListener, *net.TCPListener:
		default:
			return usagef("systemd hands over what is no stream socket: set ListenStream= of the socket unit to a path, or for events of topics to an address")
		}
		path := h.Addr().String()
		if h.name == batchName && s.Path != "" && samePath(path, s.Path) {
			return usagef("--socket is %.200q, which FileDescriptorName=%s of its socket unit says is for batch tasks: set --batch-socket to it, "+
				"or take FileDescriptorName= out", s.Path, batchName)
		}
		paths = append(paths, path)
	}
	for _, n := range named {
		there := false
		for _, path := range paths {
			there = there || samePath(path, n.path)
		}
		if !there {
			return usagef("%s is %.200q and systemd listens at %s: leave it out, or set ListenStream= of the socket unit to it",
				n.flag, n.path, strings.Join(paths, " and "))
		}
	}
	switch {
	case s.Mode != "":
		return usagef("--socket-mode is for systemd to keep, which made the socket: set SocketMode= of the socket unit")
	case s.Group != "":
		return usagef("--socket-group is for systemd to keep, which made the socket: set SocketGroup= of the socket unit")
	}
	return nil
}
