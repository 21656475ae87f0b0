package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// stoppedText is what Kapacitor is told when the daemon ends.
const stoppedText = "bigpanda-udf serve was stopped: once it runs again, kapacitor reload this task"

// A served is `bigpanda-udf serve` within this process.
type served struct {
	t      *testing.T
	socket string
	outbox string
	log    *test.LogBuffer
	stop   context.CancelFunc // as SIGTERM does
	code   chan int
}

// startServer starts the daemon and waits until it listens.
func startServer(t *testing.T, vars map[string]string, args ...string) *served {
	t.Helper()
	return startServerWith(t, testTimes, vars, args...)
}

// testTimes are those of tests in which no task is gone for a second, but for good.
var testTimes = Times{Outbox: outbox.Times{Settle: 20 * time.Millisecond, Meet: 20 * time.Second, Look: time.Second}}

func startServerWith(t *testing.T, times Times, vars map[string]string, args ...string) *served {
	t.Helper()
	socket := filepath.Join(test.SocketDir(t), "s")
	s := startProgram(t, times, vars, append([]string{"serve", "--socket", socket}, args...)...)
	s.socket = socket
	awaitSocket(t, socket)
	return s
}

// startProgram starts a command that lasts until it is told to end.
func startProgram(t *testing.T, times Times, vars map[string]string, args ...string) *served {
	t.Helper()
	s := &served{t: t, outbox: vars["BIGPANDA_OUTBOX"], log: new(test.LogBuffer), code: make(chan int, 1)}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() {
		s.code <- Run(ctx, Process{
			Args: args, Stdin: strings.NewReader(""),
			Stdout: io.Discard, Stderr: s.log, LookupEnv: environment(vars), Times: times,
		})
	}()
	t.Cleanup(func() {
		s.end()
		if strings.Contains(s.log.String(), testToken) {
			t.Errorf("P9: the log shows the token")
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", args[0], s.log)
		}
	})
	return s
}

func awaitSocket(t *testing.T, path string) {
	t.Helper()
	test.Dial(t, path).Close()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(test.Patient); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %s", test.Patient, what)
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
	case <-time.After(test.Patient):
		s.t.Fatal("the daemon does not end")
	}
	return -1
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
	conn.SetDeadline(time.Now().Add(test.Patient))
	t.Cleanup(func() { conn.Close() })
	return &dialled{t: t, conn: conn.(*net.UnixConn), in: bufio.NewReader(conn)}
}

func (c *dialled) send(requests ...*agent.Request) {
	c.t.Helper()
	if _, err := c.conn.Write(test.Frames(requests...)); err != nil {
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
	c.send(test.Info())
	if c.receive().GetInfo() == nil {
		c.t.Fatal("Info was not answered")
	}
	c.send(test.Init(task, node, options...))
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

// serveVars is the environment of a daemon with an outbox of its own.
func serveVars(t *testing.T, url string) map[string]string {
	return map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url, "BIGPANDA_OUTBOX": t.TempDir()}
}

func awaitEvents(t *testing.T, api *sandbox.Server, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), test.Patient)
	defer cancel()
	if err := api.WaitFor(ctx, func(s sandbox.Stats) bool { return s.Events-s.Duplicates >= n }); err != nil {
		t.Fatalf("%d events, want %d", len(newsAt(api)), n)
	}
}

// newsAt are the events at BigPanda but for those that it had already: what ends in the
// middle of a request is sent again (P5: at least once).
func newsAt(api *sandbox.Server) []sandbox.Event {
	return slices.DeleteFunc(slices.Clone(api.Events()), func(e sandbox.Event) bool { return e.Duplicate })
}

// told lists what BigPanda was told, in order, as "app key/host status".
func told(api *sandbox.Server) (all []string) {
	for _, e := range newsAt(api) {
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

// outboxStatus is what `bigpanda-udf outbox status --json` says.
func outboxStatus(ctx context.Context, t *testing.T, s *served) string {
	t.Helper()
	var out, log test.LogBuffer
	vars := map[string]string{}
	Run(ctx, Process{Args: []string{"outbox", "--json", "--outbox", s.outbox}, Stdout: &out, Stderr: &log, LookupEnv: environment(vars)})
	return out.String()
}
