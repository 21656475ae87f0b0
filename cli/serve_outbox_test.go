package cli

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// P5: two daemons work beside each other, each on the outboxes of its own tasks.
func TestServeSecondDaemon(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	vars := serveVars(t, url)
	first, second := startServer(t, vars), startServer(t, vars)
	first.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
	wantTold(t, api, "k/a critical")
	second.use("mem", "bigpanda2").pass(level("b", "CRITICAL", 1000))
	wantTold(t, api, "k/a critical", "k/b critical")
}

// P5: a daemon that takes another's place waits until that has ended; one that
// was killed holds up nobody.
func TestServeFollowsADaemon(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  syscall.Signal
	}{
		{"that is told to end", syscall.SIGTERM}, {"that is killed", syscall.SIGKILL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, url := newAPI(t, sandbox.Faults{})
			vars := serveVars(t, url)
			dir := test.SocketDir(t)
			old := startProcess(t, vars, nil, "--socket", dir+"/1")
			old.awaitState("READY=1")
			(&served{t: t, socket: dir + "/1"}).use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
			wantTold(t, api, "k/a critical")
			next := startProcess(t, vars, nil, "--socket", dir+"/2")
			awaitSocket(t, dir+"/2") // it waits for the outbox by now, or is about to
			old.kill(tt.end)
			next.awaitState("READY=1")
			(&served{t: t, socket: dir + "/2"}).use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1001), level("a", "OK", 1002))
			wantTold(t, api, "k/a critical", "k/a ok")
		})
	}
}

// An outbox that cannot be written yet fails tasks, not the daemon. Once it can
// be, it is used.
func TestServeOutboxIsMended(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	vars := serveVars(t, url)
	folder := vars["BIGPANDA_OUTBOX"] + "/x"
	vars["BIGPANDA_OUTBOX"] = folder
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, vars)
	if answer := dial(t, s.socket).init("cpu", "bigpanda2"); answer.Success || !strings.Contains(answer.Error, "the outbox in "+folder+" cannot be written") {
		t.Errorf("Init says %v", answer)
	}
	eventually(t, "the log says so", func() bool {
		return strings.Count(s.log.String(), "every task with this function will fail at Init until this is corrected") == 1
	})
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
	wantTold(t, api, "k/a critical")
}

// P5: processes of function mode work beside a daemon, each on its own outboxes
// in the same folder.
func TestServeBesideProcesses(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{Status: 503})
	vars := serveVars(t, url)
	s := startServer(t, vars)
	c := s.use("cpu", "bigpanda2", test.Option("appKey", "daemon"))
	in, stdin := io.Pipe()
	ended := make(chan result, 1)
	go func() { ended <- run(t, in, vars, "--app-key=process") }()
	for i, l := range []string{"WARNING", "CRITICAL", "OK"} {
		c.pass(level("a", l, 1000+int64(i)))
		requests := []*agent.Request{level("a", l, 1000+int64(i))}
		if i == 0 {
			requests = append([]*agent.Request{test.Init("task", "bigpanda2")}, requests...)
		}
		if _, err := io.Copy(stdin, frames(requests...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	awaitEvents(t, api, 6)
	stdin.Close()
	if r := <-ended; r.code != 0 {
		t.Errorf("exit code %d, log %s", r.code, r.stderr)
	}
	got := make(map[string]string)
	for _, e := range newsAt(api) {
		got[e.AppKey] += e.Status + " "
	}
	for _, key := range []string{"daemon", "process"} {
		if got[key] != "warning critical ok " {
			t.Errorf("%s: BigPanda was told %q", key, got[key])
		}
	}
}

// The log says of each connection what ended it, and no more.
func TestServeSaysHowAConnectionEnds(t *testing.T) {
	t.Parallel()
	const stopped = "the daemon ends before a connection's input"
	for _, tt := range []struct {
		name string
		use  func(t *testing.T, s *served)
		want []string // in the log
		not  string
	}{
		{"the daemon is stopped", func(t *testing.T, s *served) {
			s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
		}, []string{`level=INFO msg="` + stopped}, "level=ERROR"},
		{"and nobody asked for Init", func(t *testing.T, s *served) {
			c := dial(t, s.socket)
			c.send(test.Info())
			c.receive()
		}, []string{`level=INFO msg="` + stopped}, "level=ERROR"},
		{"and what it writes is not taken", func(t *testing.T, s *served) {
			c := s.use("cpu", "bigpanda2")
			c.conn.CloseRead()
			c.send(level("a", "CRITICAL", 1000))
		}, []string{`level=ERROR msg="a connection ends before its input"`, "serve was stopped", "write output", "broken pipe"}, stopped},
		{"the input ends", func(t *testing.T, s *served) {
			c := s.use("cpu", "bigpanda2")
			c.pass(level("a", "CRITICAL", 1000))
			c.end()
		}, nil, stopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, url := newAPI(t, sandbox.Faults{})
			s := startServer(t, serveVars(t, url))
			tt.use(t, s)
			s.end()
			for _, want := range tt.want {
				if !strings.Contains(s.log.String(), want) {
					t.Errorf("the log does not say %q", want)
				}
			}
			if strings.Contains(s.log.String(), tt.not) {
				t.Errorf("the log says %q", tt.not)
			}
		})
	}
}
