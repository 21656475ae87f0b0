package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

	"bigpanda-udf/sandbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

// patient is for what happens at once on a machine that is not busy.
const patient = time.Minute

// A served is `bigpanda-udf serve` within this process.
type served struct {
	t      *testing.T
	socket string
	outbox string
	log    *syncBuffer
	stop   context.CancelFunc // as SIGTERM does
	code   chan int
}

// startServer starts the daemon and waits until it listens.
func startServer(t *testing.T, vars map[string]string, args ...string) *served {
	t.Helper()
	s := &served{t: t, socket: filepath.Join(shortDir(t), "s"), outbox: vars["BIGPANDA_OUTBOX"], log: new(syncBuffer), code: make(chan int, 1)}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() {
		s.code <- Run(ctx, Process{
			Args: append([]string{"serve", "--socket", s.socket}, args...), Stdin: strings.NewReader(""),
			Stdout: io.Discard, Stderr: s.log, LookupEnv: environment(vars),
		})
	}()
	t.Cleanup(func() {
		s.end()
		if strings.Contains(s.log.String(), testToken) {
			t.Errorf("P9: the log shows the token")
		}
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", s.log)
		}
	})
	awaitSocket(t, s.socket)
	return s
}

func awaitSocket(t *testing.T, path string) {
	t.Helper()
	eventually(t, "somebody listens at the socket", func() bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patient); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %s", patient, what)
		}
	}
}

// end stops the daemon and returns its exit code. It may be called twice.
func (s *served) end() int {
	s.t.Helper()
	s.stop()
	select {
	case code := <-s.code:
		s.code <- code
		return code
	case <-time.After(patient):
		s.t.Fatal("the daemon does not end")
	}
	return -1
}

// shortDir is a folder whose path leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "serve")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A dialled is Kapacitor's end of a connection.
type dialled struct {
	t      *testing.T
	conn   *net.UnixConn
	in     *bufio.Reader
	buffer []byte
}

func dial(t *testing.T, socket string) *dialled {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patient))
	t.Cleanup(func() { conn.Close() })
	return &dialled{t: t, conn: conn.(*net.UnixConn), in: bufio.NewReader(conn)}
}

func (c *dialled) send(requests ...*agent.Request) {
	c.t.Helper()
	if _, err := c.conn.Write(frames(c.t, requests...).Bytes()); err != nil {
		c.t.Fatalf("write to the daemon: %v", err)
	}
}

func (c *dialled) receive() *agent.Response {
	c.t.Helper()
	r := new(agent.Response)
	if err := agent.ReadMessage(&c.buffer, c.in, r); err != nil {
		c.t.Fatalf("read from the daemon: %v", err)
	}
	return r
}

// init asks for Info and Init, as Kapacitor does.
func (c *dialled) init(task, node string, options ...*agent.Option) *agent.InitResponse {
	c.t.Helper()
	c.send(askInfo)
	if c.receive().GetInfo() == nil {
		c.t.Fatal("Info was not answered")
	}
	c.send(&agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: task, NodeID: node, Options: options}}})
	answer := c.receive().GetInit()
	if answer == nil {
		c.t.Fatal("Init was not answered")
	}
	return answer
}

// use is a connection that serves a task.
func (s *served) use(task, node string, options ...*agent.Option) *dialled {
	s.t.Helper()
	c := dial(s.t, s.socket)
	if answer := c.init(task, node, options...); !answer.Success {
		s.t.Fatalf("Init failed: %s", answer.Error)
	}
	return c
}

// pass sends points and waits until they come back (P4).
func (c *dialled) pass(points ...*agent.Request) {
	c.t.Helper()
	c.send(points...)
	for range points {
		if r := c.receive(); r.GetPoint() == nil {
			c.t.Fatalf("not a point: %v", r)
		}
	}
}

// end closes the input and waits until the daemon closes the connection.
func (c *dialled) end() {
	c.t.Helper()
	c.conn.CloseWrite()
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		c.t.Errorf("behind the end of the input come %d bytes, %v", len(rest), err)
	}
	c.conn.Close()
}

func level(host, level string, second int64) *agent.Request {
	return &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: second * 1e9, Name: "cpu", Group: "host=" + host,
		Tags:         map[string]string{"host": host},
		FieldsString: map[string]string{"level": level},
		FieldsInt:    map[string]int64{"duration": 60e9},
	}}}
}

func textOption(name, value string) *agent.Option {
	return &agent.Option{Name: name, Values: []*agent.OptionValue{{
		Type: agent.ValueType_STRING, Value: &agent.OptionValue_StringValue{StringValue: value},
	}}}
}

// serveVars is the environment of a daemon with an outbox of its own.
func serveVars(t *testing.T, url string) map[string]string {
	return map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url, "BIGPANDA_OUTBOX": t.TempDir()}
}

func awaitEvents(t *testing.T, api *sandbox.Server, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := api.WaitFor(ctx, func(s sandbox.Stats) bool { return s.Events >= n }); err != nil {
		t.Fatalf("%d events, want %d", len(api.Events()), n)
	}
}

// told lists what BigPanda was told, in order, as "app key/host status".
func told(api *sandbox.Server) (all []string) {
	for _, e := range api.Events() {
		all = append(all, fmt.Sprintf("%s/%s %s", e.AppKey, e.Title, e.Status))
	}
	return all
}

func wantTold(t *testing.T, api *sandbox.Server, want ...string) {
	t.Helper()
	awaitEvents(t, api, len(want))
	if got := told(api); !slices.Equal(got, want) {
		t.Errorf("BigPanda was told %q, want %q", got, want)
	}
}

// Each connection has its own options and levels, and all at once work.
func TestServeManyTasks(t *testing.T) {
	api, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url))
	dial(t, s.socket).end() // as somebody who looks whether it is there
	const tasks, changes = 8, 50
	done := make(chan struct{})
	for n := range tasks {
		c := s.use(fmt.Sprint("task", n), "bigpanda2", textOption("appKey", fmt.Sprint("key", n)))
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
	for _, e := range api.Events() {
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

// P5: a recording is replayed beside the live task: both work, and what one has
// told before the other began is not told again.
func TestServeReplayBesideTheTask(t *testing.T) {
	api, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url))
	live := s.use("cpu", "bigpanda2")
	live.pass(level("a", "CRITICAL", 1000))
	replay := s.use("cpu", "bigpanda2")
	replay.pass(level("a", "CRITICAL", 1001), level("b", "WARNING", 1001))
	wantTold(t, api, "k/a critical", "k/b warning")
	replay.end()
	live.pass(level("c", "CRITICAL", 1002))
	live.end()
	wantTold(t, api, "k/a critical", "k/b warning", "k/c critical")
	// The task is enabled again: it knows what both have told.
	again := s.use("cpu", "bigpanda2")
	again.pass(level("a", "OK", 1003), level("b", "WARNING", 1003), level("c", "OK", 1003))
	wantTold(t, api, "k/a critical", "k/b warning", "k/c critical", "k/a ok", "k/c ok")
}

// P5: the tasks are gone, and what they left goes on being delivered; the
// connection does not wait for that (P8).
func TestServeDeliversWithoutATask(t *testing.T) {
	api, url := newAPI(t, sandbox.Faults{Hang: true})
	s := startServer(t, serveVars(t, url))
	c := s.use("cpu", "bigpanda2")
	c.pass(level("a", "CRITICAL", 1000))
	ctx, cancel := context.WithTimeout(t.Context(), patient)
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

// outboxStatus is what `bigpanda-udf outbox status --json` says.
func outboxStatus(ctx context.Context, t *testing.T, s *served) string {
	t.Helper()
	var out, log syncBuffer
	vars := map[string]string{}
	Run(ctx, Process{Args: []string{"outbox", "--json", "--outbox", s.outbox}, Stdout: &out, Stderr: &log, LookupEnv: environment(vars)})
	return out.String()
}

// P5: tasks come and go while BigPanda is out, with a node numbered anew by an
// edit, too: each change arrives once, in order, with no task there in the end.
func TestServeReloadsInAnOutage(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nodes []string // of one connection after the other
	}{
		{"the task is reloaded", []string{"bigpanda2", "bigpanda2", "bigpanda2"}},
		{"its node is numbered anew", []string{"bigpanda2", "bigpanda3", "bigpanda3"}},
		{"its node is numbered anew, and back", []string{"bigpanda2", "bigpanda3", "bigpanda2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
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
			for _, e := range api.Events() {
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
	api, url := newAPI(t, sandbox.Faults{Status: 503})
	vars := serveVars(t, url)
	function := func(points ...*agent.Request) {
		t.Helper()
		r := run(t, frames(t, append([]*agent.Request{askInit}, points...)...), vars)
		if r.code != 0 {
			t.Fatalf("exit code %d, log %s", r.code, r.stderr)
		}
	}
	function(level("a", "CRITICAL", 1000), level("b", "WARNING", 1000))
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, vars)
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
	io.Copy(stdin, frames(t, askInit, level("a", "OK", 1003), level("c", "CRITICAL", 1003)))
	wantTold(t, api, "k/a critical", "k/b warning", "k/b ok", "k/c critical", "k/a ok")
	stdin.Close()
	<-ended
}

// A connection that breaks the protocol is told so, and disturbs nobody.
func TestServeGarbage(t *testing.T) {
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
		{"a template that is none", []*agent.Option{textOption("host", "{{")}, ".host("},
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
	// It is mended while the daemon runs.
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
}

func TestServeDisabled(t *testing.T) {
	s := startServer(t, nil, "--enabled=false")
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
}

// P8: what was written before the daemon is told to end is read, kept and
// passed on, and then Kapacitor is told; the next start delivers it.
func TestServeEndsInOrder(t *testing.T) {
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
	if got := c.receive().GetError().GetError(); got != errStopped.Error() {
		t.Errorf("Kapacitor is told %q", got)
	}
	if log := s.log.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, "Kapacitor is told to have its task reloaded") {
		t.Errorf("the log is %s", log)
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	startServer(t, vars)
	wantTold(t, api, "k/a critical", "k/b critical")
}

// P8: nothing else keeps what is in memory: it is delivered for a while after
// the end of the input, which does not wait for that.
func TestServeMemory(t *testing.T) {
	for _, tt := range []struct {
		name  string
		drain string
		lost  bool
	}{
		{"delivered", "30s", false},
		{"lost", "1ms", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
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

// panickingLog panics where Init gives the log the task's name.
type panickingLog struct{ slog.Handler }

func (panickingLog) WithAttrs([]slog.Attr) slog.Handler { panic("oh") }

// P1: a panic ends its own connection, and no other.
func TestServePanic(t *testing.T) {
	var log syncBuffer
	settings, err := resolve(map[string]string{"enabled": "false"}, environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	d := newServer(settings, new(secrets), slog.New(slog.DiscardHandler), t.Context())
	here, there := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.converse(t.Context(), there, slog.New(panickingLog{slog.NewTextHandler(&log, nil)}))
	}()
	here.SetDeadline(time.Now().Add(patient))
	if _, err := here.Write(frames(t, askInit).Bytes()); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is not closed: %v", err)
	}
	<-ended
	if !strings.Contains(log.String(), "panic=oh") {
		t.Errorf("the log does not say so: %s", log.String())
	}
}

// fullListener has no room for the first connections.
type fullListener struct {
	net.Listener
	refuses int // Accept is called by one goroutine
}

func (l *fullListener) Accept() (net.Conn, error) {
	if l.refuses--; l.refuses >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// P1: a system that has no room for one more connection does not end those that
// there are; a listener that is broken ends the daemon.
func TestServeAccepts(t *testing.T) {
	var log syncBuffer
	settings, err := resolve(map[string]string{"enabled": "false"}, environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	d := newServer(settings, new(secrets), slog.New(slog.NewTextHandler(&log, nil)), t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.serve(t.Context(), []net.Listener{&fullListener{l, 3}}) }()
	c := &served{t: t, socket: path}
	c.use("cpu", "bigpanda2").end()
	if n := strings.Count(log.String(), "no more connections"); n != 1 {
		t.Errorf("the log says %d times that there is no room:\n%s", n, log.String())
	}
	l.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "accept connections at "+path) {
		t.Errorf("the error is %v", err)
	}
}
