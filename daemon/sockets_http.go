package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
)

// addHTTP listens for the events of topics, unless systemd does, and makes sure that
// it may be so.
func (s Sockets) addHTTP(sockets []Socket) ([]Socket, error) {
	handed := slices.IndexFunc(sockets, func(s Socket) bool { return s.Edge == HTTP })
	if s.HTTP == "" && handed < 0 {
		return sockets, nil
	}
	var at *net.TCPAddr
	if s.HTTP != "" {
		host, port, err := net.SplitHostPort(s.HTTP)
		if err == nil {
			at, err = net.ResolveTCPAddr("tcp", net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port))
		}
		if err != nil || port == "" {
			return sockets, usagef("--http is %.200q: write an address with its port, such as 127.0.0.1:9095", s.HTTP)
		}
	}
	if handed >= 0 {
		there := sockets[handed].Addr().(*net.TCPAddr)
		if at != nil && (at.Port != there.Port || !at.IP.Equal(there.IP)) {
			return sockets, usagef("--http is %.200q and systemd listens at %s: leave it out, or set ListenStream= of the socket unit to it", s.HTTP, there)
		}
		at = there
	}
	if err := s.CheckHTTP(at); err != nil {
		return sockets, UsageError{err.Error()}
	}
	if handed >= 0 {
		return sockets, nil
	}
	l, err := net.ListenTCP("tcp", at)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%s is taken: stop what listens there, or choose another port with --http", at)
	}
	if err != nil {
		return sockets, err
	}
	return append(sockets, Socket{l, HTTP}), nil
}
