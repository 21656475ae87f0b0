// Package hostcheck tells whether a request is meant for the machine that it came to.
//
// A web page may have its own name lead to any address (DNS rebinding), and then
// send whatever it likes to what listens there, loopback too, in the name of its
// reader. It is known by the Host header.
package hostcheck

import (
	"net"
	"net/http"
	"strings"
)

// Names reports whether the Host header of a request names this machine: loopback,
// the address that the request was sent to, or what isOwn, if it is not nil, says of
// a name in small letters.
func Names(r *http.Request, isOwn func(name string) bool) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" || isOwn != nil && isOwn(host) {
		return true
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.IsLoopback() || local != nil && ip.Equal(local.IP)
}
