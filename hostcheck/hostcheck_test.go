package hostcheck

import (
	"context"
	"net"
	"net/http"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	sentTo := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80})
	isOwn := func(name string) bool { return name == "named.example" }
	for _, tt := range []struct {
		host string
		want bool
	}{
		{"localhost", true}, {"LOCALHOST:80", true}, {"localhost.", true}, {"127.0.0.1:80", true}, {"127.9.9.9", true}, {"[::1]:80", true}, {"::1", true},
		{"192.0.2.1", true}, {"192.0.2.1:80", true}, {"Mine.Example:80", true}, {"named.example.", true},
		{"", false}, {"192.0.2.2", false}, {"evil.example", false}, {"localhost.evil.example", false}, {"127.0.0.1.evil.example", false}, {"mine.example.evil", false},
	} {
		r, err := http.NewRequestWithContext(sentTo, http.MethodGet, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tt.host
		if got := Names(r, []string{"other.example", "mine.example"}, isOwn); got != tt.want {
			t.Errorf("%q: %v", tt.host, got)
		}
	}
}
