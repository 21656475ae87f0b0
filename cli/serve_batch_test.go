package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// edgeAt asks which tasks a socket is for, as Kapacitor does when it starts.
func edgeAt(t *testing.T, path string) agent.EdgeType {
	t.Helper()
	c := dial(t, path)
	c.send(test.Info())
	info := c.receive().GetInfo()
	if info == nil || info.Wants != info.Provides {
		t.Fatalf("Info is answered by %v", info)
	}
	c.end()
	return info.Wants
}

// passBatch sends a batch and waits until it comes back (P4).
func (c *dialled) passBatch(host, level string, second int64) {
	c.t.Helper()
	batch := batchOf(host, level, second)
	c.send(batch...)
	for i := range batch {
		r := c.receive()
		if begins, ends := r.GetBegin() != nil, r.GetEnd() != nil; begins != (i == 0) || ends != (i == len(batch)-1) || !begins && !ends && r.GetPoint() == nil {
			c.t.Fatalf("message %d of the batch is %v", i, r)
		}
	}
}

// startBoth starts a daemon with a socket for either edge.
func startBoth(t *testing.T, vars map[string]string, args ...string) (stream, batch *served) {
	t.Helper()
	path := filepath.Join(test.SocketDir(t), "b")
	stream = startServer(t, vars, append([]string{"--batch-socket", path}, args...)...)
	batch = &served{t: t, socket: path}
	awaitSocket(t, path)
	return stream, batch
}

// Stream and batch tasks share a daemon, its outbox and its connections to BigPanda; also
// one task that has both kinds of nodes.
func TestServeBothEdges(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{Status: 503})
	vars := serveVars(t, url)
	stream, batch := startBoth(t, vars)
	if got := edgeAt(t, stream.socket); got != agent.EdgeType_STREAM {
		t.Errorf("--socket is for %s tasks", got)
	}
	if got := edgeAt(t, batch.socket); got != agent.EdgeType_BATCH {
		t.Errorf("--batch-socket is for %s tasks", got)
	}
	// The tasks leave while BigPanda is out, and are back: nobody gets a folder
	// that is another's, and each alert's changes come in order (P5).
	for i, l := range []string{"WARNING", "CRITICAL", "WARNING"} {
		second := 1000 + 100*int64(i)
		s, b := stream.use("cpu", "bigpanda2", test.Option("appKey", "s")), batch.use("mem", "bigpandaBatch2", test.Option("appKey", "b"))
		both, beside := stream.use("disk", "bigpanda3", test.Option("appKey", "ds")), batch.use("disk", "bigpandaBatch5", test.Option("appKey", "db"))
		s.pass(level("a", l, second))
		b.passBatch("a", l, second)
		both.pass(level("a", l, second))
		beside.passBatch("a", l, second)
		for _, c := range []*dialled{s, b, both, beside} {
			c.end()
		}
	}
	if numbered, err := filepath.Glob(filepath.Join(vars["BIGPANDA_OUTBOX"], "*~2")); err != nil || len(numbered) > 0 {
		t.Errorf("there are numbered outboxes: %v %v", numbered, err)
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	awaitEvents(t, api, 12)
	got := make(map[string]string)
	for _, e := range newsAt(api) {
		got[e.AppKey] += e.Status + " "
		if e.Stale || e.Duplicate {
			t.Errorf("BigPanda would not use %v", e)
		}
	}
	for _, key := range []string{"s", "b", "ds", "db"} {
		if got[key] != "warning critical warning " {
			t.Errorf("%s: BigPanda was told %q", key, got[key])
		}
	}
	// The end of the daemon is told on both.
	s, b := stream.use("cpu", "bigpanda2", test.Option("appKey", "s")), batch.use("mem", "bigpandaBatch2", test.Option("appKey", "b"))
	s.pass(level("a", "OK", 2000))
	b.passBatch("a", "OK", 2000)
	awaitEvents(t, api, 14)
	if code := stream.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, path := range []string{stream.socket, batch.socket} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	}
	for _, c := range []*dialled{s, b} {
		if got := c.receive().GetError().GetError(); got != stoppedText {
			t.Errorf("Kapacitor is told %q", got)
		}
	}
}

// --rate is for both edges together.
func TestServeOneRate(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	stream, batch := startBoth(t, serveVars(t, url), "--rate=20", "--batch-size=1")
	s, b := stream.use("cpu", "bigpanda2"), batch.use("mem", "bigpandaBatch2")
	const each = 6
	for i := range int64(each) {
		s.pass(level(fmt.Sprint("s", i), "CRITICAL", 1000))
		b.passBatch(fmt.Sprint("b", i), "CRITICAL", 1000)
	}
	awaitEvents(t, api, 2*each)
	requests := api.Requests()
	first, last := requests[0].Received, requests[0].Received
	for _, r := range requests {
		if r.Received.Before(first) {
			first = r.Received
		}
		if r.Received.After(last) {
			last = r.Received
		}
	}
	// Together the last begins 550 ms after the first; with a rate for each it
	// would after 250 ms.
	if took := last.Sub(first); len(requests) != 2*each || took < 450*time.Millisecond {
		t.Errorf("%d requests came within %s", len(requests), took)
	}
}

// What two sockets can be is a clear error, or is both of them.
func TestServeTwoSockets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		vars   map[string]string
		before func(t *testing.T, dir string)
		flags  []string // behind DIR/ are s and b
		code   int
		want   string      // in stderr
		mode   fs.FileMode // of DIR/b
	}{
		{name: "both", flags: []string{"--socket=DIR/s", "--batch-socket=DIR/b"}, mode: 0o660},
		{name: "by variables", vars: map[string]string{"BIGPANDA_SERVE_SOCKET": "DIR/s", "BIGPANDA_SERVE_BATCH_SOCKET": "DIR/b"}, mode: 0o660},
		{name: "for batches alone", flags: []string{"--batch-socket=DIR/b"}, mode: 0o660},
		{name: "one mode and group for both", flags: []string{"--socket=DIR/s", "--batch-socket=DIR/b", "--socket-mode=0600", fmt.Sprint("--socket-group=", os.Getgid())}, mode: 0o600},
		{name: "both stale", before: func(t *testing.T, dir string) {
			leaveSocket(t, dir+"/s")
			leaveSocket(t, dir+"/b")
		}, flags: []string{"--socket=DIR/s", "--batch-socket=DIR/b"}, mode: 0o660},

		{name: "the same path", flags: []string{"--socket=DIR/s", "--batch-socket=DIR/s"}, code: 2,
			want: `--socket and --batch-socket are both "DIR/s": give each a path of its own, since a function takes either streams or batches`},
		{name: "the same path, written otherwise", flags: []string{"--socket=DIR/s", "--batch-socket=DIR/x/../s"}, code: 2, want: "--socket and --batch-socket are both"},
		{name: "the same path, by a link", before: func(t *testing.T, dir string) { os.Symlink(dir, dir+"/link") },
			flags: []string{"--socket=DIR/s", "--batch-socket=DIR/link/s"}, code: 2, want: "--socket and --batch-socket are both"},
		{name: "batches twice", flags: []string{"--socket=DIR/s", "--batch-socket=DIR/b", "--edge=batch"}, code: 2,
			want: "--edge is batch, and --batch-socket is for batch tasks anyway: leave --edge out, and --socket is for stream tasks"},
		{name: "batches twice, by variable", vars: map[string]string{"BIGPANDA_EDGE": "batch"}, flags: []string{"--batch-socket=DIR/b"}, code: 2,
			want: "BIGPANDA_EDGE is batch, and --batch-socket is for batch tasks anyway: leave BIGPANDA_EDGE out"},
		{name: "no file", flags: []string{"--socket=DIR/s", "--batch-socket=@b"}, code: 2, want: `--batch-socket is "@b": write the path of a file`},
		{name: "a long path", flags: []string{"--socket=DIR/s", "--batch-socket=DIR/" + strings.Repeat("x", 100)}, code: 2, want: "--batch-socket is longer than 103 bytes"},
		{name: "another daemon at the second", before: func(t *testing.T, dir string) { listenHere(t, dir+"/b") },
			flags: []string{"--socket=DIR/s", "--batch-socket=DIR/b"}, code: 1, want: "another process listens at DIR/b: stop it, or choose another path with --batch-socket"},
		{name: "no folder for the second", flags: []string{"--socket=DIR/s", "--batch-socket=DIR/x/b"}, code: 1,
			want: "make the folder, or choose another path with --batch-socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := test.SocketDir(t)
			if tt.before != nil {
				tt.before(t, dir)
			}
			args, vars := []string{"serve", "--enabled=false"}, make(map[string]string)
			for _, flag := range tt.flags {
				args = append(args, strings.ReplaceAll(flag, "DIR", dir))
			}
			for name, v := range tt.vars {
				vars[name] = strings.ReplaceAll(v, "DIR", dir)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var log test.LogBuffer
			ended := make(chan int)
			go func() { ended <- Run(ctx, Process{Args: args, Stderr: &log, LookupEnv: environment(vars)}) }()
			if tt.code == 0 {
				awaitSocket(t, dir+"/b")
				eventually(t, "it listens", func() bool { return strings.Contains(log.String(), "edge=batch") })
				if got := edgeAt(t, dir+"/b"); got != agent.EdgeType_BATCH {
					t.Errorf("--batch-socket is for %s tasks", got)
				}
				if info, err := os.Stat(dir + "/b"); err != nil || info.Mode().Perm() != tt.mode {
					t.Errorf("the socket is %v (%v), want %v", info, err, tt.mode)
				}
				if info, err := os.Stat(dir + "/s"); err == nil {
					if got := edgeAt(t, dir+"/s"); got != agent.EdgeType_STREAM || info.Mode().Perm() != tt.mode {
						t.Errorf("--socket is for %s tasks, and %v", got, info.Mode())
					}
				}
				stop()
			}
			if code := <-ended; code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			want := strings.ReplaceAll(tt.want, "DIR", dir)
			if got := log.String(); !strings.Contains(got, want) || tt.code != 0 && strings.Count(got, "\n") != 1 {
				t.Errorf("it says %q, want %q", got, want)
			}
			if _, err := os.Lstat(dir + "/s"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a socket is left: %v", err)
			}
		})
	}
}
