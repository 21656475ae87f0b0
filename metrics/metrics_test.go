package metrics

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/outbox"
)

// A host has a folder of outboxes, and what collects from it.
type host struct {
	t   *testing.T
	dir string
	log bytes.Buffer
	*Collector
}

func newHost(t *testing.T) *host {
	t.Helper()
	t.Chdir(t.TempDir()) // where the paths of sockets are short
	h := &host{t: t, dir: "o"}
	h.must(os.Mkdir(h.dir, 0o700))
	h.Collector = New(Options{
		Folders: func() ([]string, error) { return outbox.Folders(h.dir) },
		Redact:  func(text string) string { return strings.ReplaceAll(text, "0123456789", "[token]") },
		Log:     slog.New(slog.NewTextHandler(&h.log, nil)),
	})
	h.within = 500 * time.Millisecond
	return h
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// outbox makes a folder that looks like an outbox's.
func (h *host) outbox(name string) string {
	h.t.Helper()
	folder := filepath.Join(h.dir, name)
	h.must(os.Mkdir(folder, 0o700))
	h.must(os.WriteFile(filepath.Join(folder, "outbox.db"), nil, 0o600))
	return folder
}

// answering makes one whose process does this with each connection.
func (h *host) answering(name string, do func(net.Conn)) {
	h.t.Helper()
	l, err := net.Listen("unix", filepath.Join(h.outbox(name), "control.sock"))
	h.must(err)
	h.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.t.Cleanup(func() { conn.Close() })
			go do(conn)
		}
	}()
}

func (h *host) collect() string {
	h.t.Helper()
	var out strings.Builder
	h.must(Write(&out, h.Collector))
	return out.String()
}

// after answers once there was a request.
func after(answer string) func(net.Conn) {
	return func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, answer)
		conn.Close()
	}
}

// Whatever answers at the socket of an outbox, or stands in its place, there is a
// scrape in time with all that the others say.
func TestOutboxesThatAreBroken(t *testing.T) {
	h := newHost(t)
	h.answering("works", after("HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n"+`{"task":"cpu","process":777}`))
	broken := map[string]func(net.Conn){
		"silent":  func(net.Conn) {},
		"closes":  func(conn net.Conn) { conn.Close() },
		"garbage": after("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{{{{{"),
		"no-http": after("\x00\xff\r\n\r\n"),
		"fails":   after("HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}"),
		"leads":   after("HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
		"slow": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			for _, err := io.WriteString(conn, " "); err == nil; _, err = io.WriteString(conn, " ") {
				time.Sleep(10 * time.Millisecond) // as a slow process would
			}
		},
	}
	for name, do := range broken {
		h.answering(name, do)
	}
	inPlace := map[string]func(path string) error{
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"zeroes": func(path string) error { return os.Symlink("/dev/zero", path) },
		"away":   func(path string) error { return os.Symlink("/nowhere/at/all", path) },
	}
	for name, do := range inPlace {
		path := filepath.Join(h.outbox(name), "outbox.db")
		h.must(os.Remove(path))
		h.must(do(path))
	}
	for range 2 { // the second finds the first still asking
		begun := time.Now()
		text := h.collect()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, name := range slices.AppendSeq(slices.Collect(maps.Keys(broken)), maps.Keys(inPlace)) {
			if !strings.Contains(text, `bigpanda_udf_scrape_success{folder="`+name+`",node="",task=""} 0`) {
				t.Errorf("it is not told that %s was not read", name)
			}
		}
		if !strings.Contains(text, `bigpanda_udf_up{folder="works",node="",task="cpu"} 1`) {
			t.Errorf("the one that works is not up:\n%.500s", text)
		}
	}
}

// Folders whose names look alike as labels are told apart: two values of the same
// labels would be the end of the scrape.
func TestFoldersThatLookAlike(t *testing.T) {
	h := newHost(t)
	long := strings.Repeat("x", maxLabel+10)
	for _, name := range []string{long + "1", long + "2", "a\x01", "a\x02", "a" + "·", "of 0123456789", "of [token]"} {
		h.outbox(name)
	}
	text := h.collect()
	if n := strings.Count(text, "bigpanda_udf_scrape_success{"); n != 7 {
		t.Errorf("%d folders are told of, want 7:\n%s", n, text)
	}
	if strings.ContainsAny(text, "\x01\x02") || strings.Contains(text, "0123456789") {
		t.Errorf("names are shown as they are:\n%s", text)
	}
}

// A folder that cannot be read is no scrape, and is said, once.
func TestFolderThatCannotBeRead(t *testing.T) {
	h := newHost(t)
	h.must(os.Remove(h.dir))
	h.must(os.WriteFile(h.dir, nil, 0o600))
	for range 2 {
		if err := Write(io.Discard, h.Collector); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("the error is %v", err)
		}
	}
	if n := strings.Count(h.log.String(), "the outboxes cannot be read for their metrics"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, &h.log)
	}
}

// A folder without outboxes, as that of another user, is said once.
func TestNoOutbox(t *testing.T) {
	h := newHost(t)
	for range 2 {
		if text := h.collect(); text != "" {
			t.Errorf("there is %s", text)
		}
	}
	if n := strings.Count(h.log.String(), "there is no outbox yet"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, &h.log)
	}
}
