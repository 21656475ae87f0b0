package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Each connection has its own options and levels, and all at once work.
func TestServeManyTasks(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url))
	dial(t, s.socket).end() // as somebody who looks whether it is there
	const tasks, changes = 8, 50
	done := make(chan struct{})
	for n := range tasks {
		c := s.use(fmt.Sprint("task", n), "bigpanda2", test.Option("appKey", fmt.Sprint("key", n)))
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range int64(changes) {
				c.send(level("web", []string{"WARNING", "CRITICAL"}[i%2], 1000+i))
			}
			c.send(&agent.Request{Message: &agent.Request_Keepalive{Keepalive: &agent.KeepaliveRequest{Time: 7}}})
			for range changes {
				if c.receive().GetPoint() == nil {
					t.Error("not a point")
				}
			}
			if c.receive().GetKeepalive().GetTime() != 7 {
				t.Error("the keepalive was not answered in its place")
			}
			c.end()
		}()
	}
	for range tasks {
		<-done
	}
	awaitEvents(t, api, tasks*changes)
	byKey := make(map[string][]string)
	for _, e := range newsAt(api) {
		byKey[e.AppKey] = append(byKey[e.AppKey], e.Status)
	}
	for key, statuses := range byKey {
		if len(statuses) != changes || statuses[0] != "warning" || len(slices.Compact(statuses)) != changes {
			t.Errorf("%s: %v", key, statuses)
		}
	}
	if len(byKey) != tasks {
		t.Errorf("app keys %v", slices.Sorted(maps.Keys(byKey)))
	}
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(s.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// A connection that breaks the protocol is told so, and disturbs nobody.
func TestServeGarbage(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url))
	good := s.use("cpu", "bigpanda2")
	for name, garbage := range map[string]string{
		"a length that is none":     "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"a frame that is too large": "\xff\xff\xff\xff\x0f",
		"an unknown request":        "\x02\xf8\x07",
		"a web browser":             "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		c := dial(t, s.socket)
		if _, err := c.conn.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		c.conn.CloseWrite()
		if r := c.receive(); r.GetError().GetError() == "" {
			t.Errorf("%s is answered by %v", name, r)
		}
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection is not closed: %v", name, err)
		}
	}
	good.pass(level("a", "CRITICAL", 1000))
	wantTold(t, api, "k/a critical")
}

// P2: what is wrong with the options fails Init with a sentence; the connection
// then ends by itself.
func TestServeFailedInit(t *testing.T) {
	t.Parallel()
	_, url := newAPI(t, sandbox.Faults{})
	file := write(t, "token", testToken)
	vars := serveVars(t, url)
	delete(vars, "BIGPANDA_TOKEN")
	vars["BIGPANDA_TOKEN_FILE"] = file
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, vars)
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		want    string
	}{
		{"a template that is none", []*agent.Option{test.Option("host", "{{")}, ".host("},
		{"no token", nil, "BIGPANDA_TOKEN_FILE: read token file " + file},
	} {
		c := dial(t, s.socket)
		answer := c.init("cpu", "bigpanda2", tt.options...)
		if answer.Success || !strings.Contains(answer.Error, tt.want) {
			t.Errorf("%s: Init says %v", tt.name, answer)
		}
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection is not closed: %v", tt.name, err)
		}
	}
	// It is corrected while the daemon runs.
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
}

func TestServeDisabled(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil, "--enabled=false")
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
}

// P8: what was written before the daemon is told to end is read, kept and
// passed on, and then Kapacitor is told; the next start delivers it.
func TestServeEndsInOrder(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{Status: 503})
	vars := serveVars(t, url)
	s := startServer(t, vars)
	c := s.use("cpu", "bigpanda2")
	c.send(level("a", "CRITICAL", 1000), level("b", "CRITICAL", 1000))
	began := time.Now()
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to end", took)
	}
	for range 2 {
		if c.receive().GetPoint() == nil {
			t.Error("not a point")
		}
	}
	if got := c.receive().GetError().GetError(); got != stoppedText {
		t.Errorf("Kapacitor is told %q", got)
	}
	if log := s.log.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, "the daemon ends before a connection's input") {
		t.Errorf("the log is %s", log)
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	startServer(t, vars)
	wantTold(t, api, "k/a critical", "k/b critical")
}
