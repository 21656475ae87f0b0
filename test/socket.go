package test

import (
	"net"
	"testing"
	"time"
)

// Dial connects to a socket as soon as somebody listens there.
func Dial(t testing.TB, path string) net.Conn {
	t.Helper()
	for late := time.Now().Add(Patient); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
	}
}
