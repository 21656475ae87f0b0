package outbox_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
)

func TestControlSocket(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		long int // how long the folder's path is at least
	}{{"a short path", 0}, {"a path longer than a socket's may be", 200}, {"a much longer one", 1000}} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for len(dir) < tt.long {
				dir = filepath.Join(dir, strings.Repeat("d", 100))
			}
			d, c := openControlled(t, dir)
			socket := filepath.Join(c.Folder(), "control.sock")
			for path, mode := range map[string]fs.FileMode{
				socket: fs.ModeSocket | 0o600, c.Folder(): fs.ModeDir | 0o700,
				filepath.Join(c.Folder(), "lock"): 0o600, filepath.Join(c.Folder(), "outbox.db"): 0o600,
			} {
				if info, err := os.Stat(path); err != nil || info.Mode() != mode {
					t.Errorf("%s has the mode %v, %v, want %v", path, info.Mode(), err, mode)
				}
			}
			if s := statusOf(t, c); s.Process != os.Getpid() {
				t.Errorf("the status is not the live one's: %+v", s)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(socket); err == nil {
				t.Error("the socket is still there after Close")
			}
			// A killed process leaves one.
			leaveSocket(t, socket)
			if s := statusOf(t, c); s.Process != 0 {
				t.Errorf("nobody listens, and the status is a live one's: %+v", s)
			}
			_, c = openControlled(t, dir)
			if s := statusOf(t, c); s.Process != os.Getpid() {
				t.Errorf("the next one does not listen: %+v", s)
			}
		})
	}
}

// leaveSocket makes a socket that nobody listens at.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	short := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", short)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := os.Rename(short, path); err != nil {
		t.Fatal(err)
	}
}

func TestControlRequests(t *testing.T) {
	t.Parallel()
	_, c := openControlled(t, t.TempDir())
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.Folder(), "control.sock"))
	}}}
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"status", "GET", "/status", "", 200},
		{"no limit", "POST", "/queued", "", 200},
		{"an ID that is none", "POST", "/queued", `{"after":"x"}`, 400},
		{"a limit that is none", "POST", "/dead", `{"limit":"x"}`, 400},
		{"a level that is none", "POST", "/levels", `{"after":"?"}`, 400},
		{"the last ID", "POST", "/queued", `{"after":18446744073709551615}`, 200},
		{"the last dead letter", "POST", "/dead", `{"after":18446744073709551615}`, 200},
		{"another path", "GET", "/", "", 404},
		{"no selection", "POST", "/drop-dead", "[]", 400},
		{"an empty selection", "POST", "/drop-dead", "{}", 200},
		{"a body without an end", "POST", "/retry", strings.Repeat(" ", outbox.MaxRequest+1), 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://outbox"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("the answer is %d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
}

// The report of who delivers may itself ask the outbox.
func TestReport(t *testing.T) {
	t.Parallel()
	d, c := openControlled(t, t.TempDir())
	want := outbox.Delivery{
		Held: []outbox.Held{{AppKey: "k", Reason: "why", Since: time.Unix(5, 0).UTC()}}, LastSuccess: time.Unix(6, 0).UTC(),
		LastError: "no", LastErrorTime: time.Unix(7, 0).UTC(),
	}
	d.Report(func() outbox.Delivery {
		d.Stats()
		return want
	})
	if got := statusOf(t, c).Delivery; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestControlAnswerIsBounded(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(folder, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 1<<20)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for { // until nobody takes it
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})}
	go server.Serve(l)
	defer server.Close()
	_, err = outbox.NewControl(folder, nil).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "answers with more than 8 MiB") {
		t.Errorf("got %v", err)
	}
}
