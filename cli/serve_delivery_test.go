package cli

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// P5: a recording is replayed beside the live task: both work, and what is open is
// told again by the second, which may not know all that the first tells.
func TestServeReplayBesideTheTask(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url))
	live := s.use("cpu", "bigpanda2")
	live.pass(level("a", "CRITICAL", 1000))
	replay := s.use("cpu", "bigpanda2")
	replay.pass(level("a", "CRITICAL", 1001), level("b", "WARNING", 1001))
	before := []string{"k/a critical", "k/a critical", "k/b warning"}
	wantTold(t, api, before...)
	replay.end()
	live.pass(level("c", "CRITICAL", 1002))
	live.end()
	before = append(before, "k/c critical")
	wantTold(t, api, before...)
	// The task is enabled again: it knows what both have told.
	again := s.use("cpu", "bigpanda2")
	again.pass(level("a", "OK", 1003), level("b", "WARNING", 1003), level("c", "OK", 1003))
	wantTold(t, api, append(before, "k/a ok", "k/c ok")...)
}

// P5: the tasks are gone, and what they left goes on being delivered; the
// connection does not wait for that (P8).
func TestServeDeliversWithoutATask(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{Hang: true})
	s := startServerWith(t, Times{Outbox: outbox.Times{Look: 20 * time.Millisecond}}, serveVars(t, url))
	c := s.use("cpu", "bigpanda2")
	c.pass(level("a", "CRITICAL", 1000))
	ctx, cancel := context.WithTimeout(t.Context(), test.Patient)
	defer cancel()
	eventually(t, "a request is under way", func() bool { return strings.Contains(outboxStatus(ctx, t, s), `"in_flight":1`) })
	began := time.Now()
	c.end()
	if took := time.Since(began); took > time.Second {
		t.Errorf("the connection was closed after %s", took)
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	wantTold(t, api, "k/a critical")
}

// P5: tasks come and go while BigPanda is out, with a node numbered anew by an
// edit, too: each change arrives once, in order, with no task there in the end.
func TestServeReloadsInAnOutage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		nodes []string // of one connection after the other
	}{
		{"the task is reloaded", []string{"bigpanda2", "bigpanda2", "bigpanda2"}},
		{"its node is numbered anew", []string{"bigpanda2", "bigpanda3", "bigpanda3"}},
		{"its node is numbered anew, and back", []string{"bigpanda2", "bigpanda3", "bigpanda2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, url := newAPI(t, sandbox.Faults{Status: 503})
			s := startServer(t, serveVars(t, url))
			for i, node := range tt.nodes {
				c := s.use("cpu", node)
				for j, l := range []string{"WARNING", "WARNING", "CRITICAL"} {
					c.pass(level("a", l, int64(1000+10*i+j)))
				}
				c.end()
			}
			if err := api.SetFaults(sandbox.Faults{}); err != nil {
				t.Fatal(err)
			}
			wantTold(t, api, "k/a warning", "k/a critical", "k/a warning", "k/a critical", "k/a warning", "k/a critical")
			for _, e := range newsAt(api) {
				if e.Stale || e.Duplicate {
					t.Errorf("BigPanda would not use %v", e)
				}
			}
		})
	}
}

// P5: a task moves from a process to the socket and back: what the process left
// is delivered, also before the task is there, and nobody forgets a level.
func TestServeTakesOverFromProcesses(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{Status: 503})
	vars := serveVars(t, url)
	function := func(points ...*agent.Request) {
		t.Helper()
		r := run(t, frames(append([]*agent.Request{test.Init("task", "bigpanda2")}, points...)...), vars)
		if r.code != 0 {
			t.Fatalf("exit code %d, log %s", r.code, r.stderr)
		}
	}
	function(level("a", "CRITICAL", 1000), level("b", "WARNING", 1000))
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	s := startServerWith(t, Times{Outbox: outbox.Times{Look: 20 * time.Millisecond}}, vars)
	wantTold(t, api, "k/a critical", "k/b warning")
	c := s.use("task", "bigpanda2")
	c.pass(level("a", "CRITICAL", 1001), level("b", "OK", 1001))
	wantTold(t, api, "k/a critical", "k/b warning", "k/b ok")
	c.pass(level("c", "CRITICAL", 1002))
	awaitEvents(t, api, 4)
	s.end()
	in, stdin := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(t, in, vars)
	}()
	io.Copy(stdin, frames(test.Init("task", "bigpanda2"), level("a", "OK", 1003), level("c", "CRITICAL", 1003)))
	wantTold(t, api, "k/a critical", "k/b warning", "k/b ok", "k/c critical", "k/a ok")
	stdin.Close()
	<-ended
}

// P8: nothing else keeps what is in memory: it is delivered for a while after
// the end of the input, which does not wait for that.
func TestServeMemory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		drain string
		lost  bool
	}{
		{"delivered", "30s", false},
		{"lost", "1ms", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, url := newAPI(t, sandbox.Faults{Status: 503})
			s := startServer(t, serveVars(t, url), "--outbox=memory", "--drain-timeout="+tt.drain)
			c := s.use("cpu", "bigpanda2")
			c.pass(level("a", "CRITICAL", 1000))
			c.end()
			s.stop()
			if tt.lost {
				s.end()
				if log := s.log.String(); !strings.Contains(log, "lost=1") {
					t.Errorf("the log does not say so: %s", log)
				}
				return
			}
			if err := api.SetFaults(sandbox.Faults{}); err != nil {
				t.Fatal(err)
			}
			s.end()
			wantTold(t, api, "k/a critical")
		})
	}
}
