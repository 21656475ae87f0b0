package test

import (
	"net"
	"os"
	"testing"
	"time"
)

// SocketDir is a folder that is removed after the test, and whose path leaves room for
// that of a socket.
func SocketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

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
