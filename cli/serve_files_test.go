package cli

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// P2: a pipe as the token file fails the tasks, and holds neither what a daemon
// answers nor its end.
func TestServeTokenFileThatIsAPipe(t *testing.T) {
	t.Parallel()
	_, url := newAPI(t, sandbox.Faults{})
	vars := serveVars(t, url)
	delete(vars, "BIGPANDA_TOKEN")
	vars["BIGPANDA_TOKEN_FILE"] = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(vars["BIGPANDA_TOKEN_FILE"], 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, vars)
	edgeAt(t, s.socket)
	for range 2 {
		if answer := dial(t, s.socket).init("cpu", "bigpanda2"); !strings.Contains(answer.Error, "it is a pipe and no regular file") {
			t.Errorf("Init answers %v", answer)
		}
	}
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A socket below a pipe is a wrong path, not one to wait for.
func TestServeBelowAPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(test.SocketDir(t), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, nil, serveVars(t, "http://localhost/"), "serve", "--socket="+pipe+"/s"); r.code == 0 || !strings.Contains(r.stderr, "not a directory") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}
