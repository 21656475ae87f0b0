package cli

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/test"
)

// P9: what stands in the token file is shown as little as the token of the
// settings. run looks for it.
func TestOutboxHidesTheTokenOfAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box := aBox(t, dir, "cpu")
	fillBox(t, box)
	box.Append(alert(testToken), nil)
	raise(box, testToken)
	file := write(t, "token", testToken+"\n")
	for _, given := range []struct {
		name string
		vars map[string]string
		args []string
	}{
		{"by a variable", map[string]string{"BIGPANDA_TOKEN_FILE": file}, nil},
		{"by a config file", nil, []string{"--config", write(t, "k.conf", "[bigpanda]\ntoken-file = '"+file+"'\n")}},
	} {
		for _, args := range [][]string{
			{"list", "--payload"}, {"list", "--payload", "--json"}, {"dead"}, {"dead", "--json"}, {"export"}, {"active"}, {"active", "--json"},
		} {
			t.Run(given.name+": "+strings.Join(args, " "), func(t *testing.T) {
				r := run(t, nil, given.vars, append(append([]string{"outbox", "--outbox", dir}, given.args...), args...)...)
				if r.code != 0 || !strings.Contains(r.stdout, tokenShown) {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// Looking into an outbox needs no token: a token file that cannot be read, or is
// none, is left alone.
func TestOutboxWithoutTheTokenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	aBox(t, dir, "cpu").Append(alert("a"), nil)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"not there": filepath.Join(t.TempDir(), "nowhere"),
		"a folder":  t.TempDir(),
		"empty":     write(t, "empty", ""),
		"a pipe":    pipe, // opened, it would be waited for until the test is ended
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, nil, map[string]string{"BIGPANDA_TOKEN_FILE": file}, "outbox", "export", "--outbox", dir)
			if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, `"host":"<a>"`) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What the disk refuses is counted as people count.
func TestOutboxStatusWhileTheDiskRefuses(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{
		1:    "1 change is kept in memory, and lost if the process ends before it can be\n",
		1234: "1,234 changes are kept in memory, and lost if the process ends before it can be\n",
	} {
		dir := test.SocketDir(t)
		answering(t, dir, outbox.Status{Task: "cpu", Node: "bigpanda3", Process: 1, DiskRefuses: true, KeptInMemory: n})
		if r := runBox(t, dir); r.code != 0 || !strings.HasSuffix(r.stdout, "\ncpu bigpanda3: the disk refuses to be written: "+want) {
			t.Errorf("%+v, want %q", r, want)
		}
	}
}

// answering makes a folder look like an outbox with a process that answers so.
func answering(t *testing.T, folder string, status outbox.Status) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "outbox.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(folder, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(status) })}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
}
