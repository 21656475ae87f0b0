package cli

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

var listensForEvents = regexp.MustCompile(`msg=listening socket=(\S+) edge=http`)

// eventsAt waits until a daemon says where it takes events.
func eventsAt(t *testing.T, log *test.LogBuffer) (address string) {
	t.Helper()
	eventually(t, "the daemon takes events", func() bool {
		found := listensForEvents.FindStringSubmatch(log.String())
		if found != nil {
			address = found[1]
		}
		return found != nil
	})
	return address
}

// postEvent posts one of a host to a handler, which is to take it.
func postEvent(t *testing.T, address, name, host, level string, second int64) {
	t.Helper()
	body := fmt.Sprintf(`{"id":"cpu:host=%s","message":"%[1]s is %s","time":"1970-01-01T01:00:%02dZ","duration":60000000000,"level":"%[2]s",`+
		`"data":{"series":[{"name":"cpu","tags":{"host":"%[1]s"},"columns":["time"],"values":[]}]},"previousLevel":"INFO"}`, host, level, second)
	answer, err := http.Post("http://"+address+"/alerts/"+name, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("the answer is %s", answer.Status)
	}
}

// One daemon has sockets for tasks and takes events, with an outbox for each; each
// handler has its file's options, and shows in the outbox commands.
func TestServeTopics(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mem.yaml"), []byte("kind: bigpanda\noptions: {app-key: own, host: '{{ .Tags.host }}.example'}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, serveVars(t, url), "--http", "127.0.0.1:0", "--handlers", dir)
	address := eventsAt(t, s.log)
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 3600))
	awaitEvents(t, api, 1)
	postEvent(t, address, "cpu", "b", "CRITICAL", 1)
	awaitEvents(t, api, 2)
	postEvent(t, address, "mem", "b", "CRITICAL", 2)
	wantTold(t, api, "k/a critical", "k/b critical", "own/b.example critical")
	status := outboxStatus(t.Context(), t, s)
	for _, want := range []string{`"task":"cpu","node":"bigpanda2"`, `"task":"cpu","node":"topic"`, `"task":"mem","node":"topic"`} {
		if !strings.Contains(status, want) {
			t.Errorf("no %s in %s", want, status)
		}
	}
	out := run(t, nil, nil, "outbox", "--outbox", s.outbox, "resolve", "--all", "--task", "mem")
	if out.code != 0 {
		t.Errorf("resolve: %d %s", out.code, out.stderr)
	}
	awaitEvents(t, api, 4)
	if got := told(api)[3]; got != "own/b.example ok" {
		t.Errorf("resolved was %s", got)
	}
}

// P5: a topic's handler and a task of the same name keep what is theirs, whichever
// comes first.
func TestServeTopicAndTaskOfOneName(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url), "--http", ":0")
	address := eventsAt(t, s.log)
	if !strings.HasPrefix(address, "127.0.0.1:") {
		t.Errorf("a port alone is not of loopback, but at %s", address)
	}
	task := s.use("cpu", "bigpanda2")
	task.pass(level("a", "CRITICAL", 3600))
	task.end() // its folder is nobody's now
	awaitEvents(t, api, 1)
	postEvent(t, address, "cpu", "b", "CRITICAL", 1)
	awaitEvents(t, api, 2)
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 3601), level("a", "OK", 3602))
	wantTold(t, api, "k/a critical", "k/b critical", "k/a ok")
}

// systemd may hand over the address for events, beside the sockets or alone.
func TestServeTopicsActivated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		socket bool // beside it
		flags  []string
		want   string // in stderr, where it does not start
	}{
		{name: "alone"},
		{name: "beside a socket", socket: true},
		{name: "the same address", flags: []string{"--http=ADDRESS"}},
		{name: "another address", flags: []string{"--http=127.0.0.1:1"}, want: `--http is "127.0.0.1:1" and systemd listens at ADDRESS: leave it out, or set ListenStream= of the socket unit to it`},
		{name: "a path that is not there", flags: []string{"--socket=/elsewhere"}, want: `--socket is "/elsewhere" and systemd listens at ADDRESS: leave it out`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, url := newAPI(t, sandbox.Faults{})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			handed := []fileListener{l.(*net.TCPListener)}
			path := filepath.Join(test.SocketDir(t), "s")
			if tt.socket {
				unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close()
				handed = append(handed, unix)
			}
			address := l.Addr().String()
			for i, flag := range tt.flags {
				tt.flags[i] = strings.ReplaceAll(flag, "ADDRESS", address)
			}
			p := startProcess(t, serveVars(t, url), handed, tt.flags...)
			if tt.want != "" {
				p.cmd.Wait()
				if want := strings.ReplaceAll(tt.want, "ADDRESS", address); p.cmd.ProcessState.ExitCode() != 2 || !strings.Contains(p.log.String(), want) {
					t.Errorf("exit code %d and %s, want %s", p.cmd.ProcessState.ExitCode(), p.log, want)
				}
				return
			}
			p.awaitState("READY=1")
			postEvent(t, address, "cpu", "a", "CRITICAL", 1)
			awaitEvents(t, api, 1)
			if tt.socket {
				(&served{t: t, socket: path}).use("cpu", "bigpanda2").pass(level("b", "CRITICAL", 3600))
				awaitEvents(t, api, 2)
			}
			if code := p.kill(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if got := told(api)[0]; got != "k/a critical" {
				t.Errorf("told was %s", got)
			}
		})
	}
}
