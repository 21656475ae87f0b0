// Package hostcheck tells whether a request is meant for the machine that it came to.
//
// A web page may have its own name lead to any address (DNS rebinding), and then
// send whatever it likes to what listens there, loopback too, in the name of its
// reader. It is known by the Host header.
package hostcheck

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Names reports whether the Host header of a request names this machine: loopback,
// the address that the request was sent to, one of own, in any case, or what isOwn, if
// it is not nil, says of a name.
func Names(r *http.Request, own []string, isOwn func(name string) bool) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	isHost := func(name string) bool { return strings.EqualFold(name, host) }
	if isHost("localhost") || slices.ContainsFunc(own, isHost) || isOwn != nil && isOwn(host) {
		return true
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.IsLoopback() || local != nil && ip.Equal(local.IP)
}
