package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/cli"
	"bigpanda-udf/sandbox"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// asChild in the environment makes the test binary the program itself, so that
// the tests speak to a real process over real pipes.
const asChild = "BIGPANDA_UDF_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "":
		os.Exit(m.Run())
	case string(asProgram):
		os.Exit(cli.Run(context.Background(), cli.Process{
			Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Times: crashTimes(),
		}))
	default:
		os.Exit(benchmarked(child(os.Getenv(asChild))))
	}
}

// A child is what the test binary is when it executes itself.
type child string

const asProgram child = "the program"

const (
	token   = "T0KEN-not-to-be-seen"
	patient = 60 * time.Second // for what happens at once on a machine that is not busy
)

// A function is the program in function mode, as Kapacitor starts it.
type function struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	frames chan *agent.Response // what it answers; closed at the end of stdout
	stderr *logBuffer
	raw    *logBuffer // stdout as it came
}

// start starts the program with flags and an environment of NAME=value. Its
// stdout is read at once unless the test wants it itself.
func start(t testing.TB, environment []string, flags ...string) *function {
	t.Helper()
	f := launch(t, environment, flags...)
	f.frames = make(chan *agent.Response, 1<<16)
	go func() {
		defer close(f.frames)
		r := bufio.NewReader(io.TeeReader(f.out, f.raw))
		var buf []byte
		for {
			response := new(agent.Response)
			if err := agent.ReadMessage(&buf, r, response); err != nil {
				return
			}
			f.frames <- response
		}
	}()
	return f
}

// launch starts the program and leaves its stdout to the test.
func launch(t testing.TB, environment []string, flags ...string) *function {
	t.Helper()
	cmd := exec.Command(os.Args[0], flags...)
	cmd.Env = append(os.Environ(), asChild+"="+string(asProgram))
	cmd.Env = append(cmd.Env, environment...)
	return launchCommand(t, cmd)
}

// launchCommand starts any program that speaks on stdin and stdout.
func launchCommand(t testing.TB, cmd *exec.Cmd) *function {
	t.Helper()
	f := &function{t: t, cmd: cmd, stderr: new(logBuffer), raw: new(logBuffer)}
	cmd.Stderr = f.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = childOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	childOut.Close()
	f.in, f.out = stdin, out
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
		out.Close()
		if t.Failed() {
			t.Logf("log of the program:\n%s", tail(f.stderr.String()))
		}
	})
	return f
}

func (f *function) send(requests ...*agent.Request) {
	f.t.Helper()
	if _, err := f.in.Write(framed(requests...)); err != nil {
		f.t.Fatalf("write to the function: %v", err)
	}
}

// receive returns the next response.
func (f *function) receive() *agent.Response {
	f.t.Helper()
	select {
	case r, ok := <-f.frames:
		if !ok {
			f.t.Fatal("stdout ended")
		}
		return r
	case <-time.After(patient):
		f.t.Fatal("no answer")
	}
	return nil
}

// init sends Info and Init, as Kapacitor does, and returns the answer to Init.
func (f *function) init(options ...*agent.Option) *agent.InitResponse {
	f.t.Helper()
	f.send(&agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}})
	if f.receive().GetInfo() == nil {
		f.t.Fatal("Info was not answered")
	}
	f.send(&agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "cpu_alert", NodeID: "bigpanda3", Options: options}}})
	answer := f.receive().GetInit()
	if answer == nil {
		f.t.Fatal("Init was not answered")
	}
	return answer
}

// mustInit is init that succeeds.
func (f *function) mustInit(options ...*agent.Option) {
	f.t.Helper()
	if answer := f.init(options...); !answer.Success {
		f.t.Fatalf("Init failed: %s", answer.Error)
	}
}

// end closes stdin and returns the exit code.
func (f *function) end() int {
	f.t.Helper()
	f.in.Close()
	return f.wait()
}

func (f *function) wait() int {
	f.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- f.cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			f.t.Fatal(err)
		}
		return f.cmd.ProcessState.ExitCode()
	case <-time.After(patient):
		f.t.Fatal("the program does not end")
	}
	return -1
}

// environment is what a function needs to reach a BigPanda at url.
func environment(url string) []string {
	return []string{"BIGPANDA_URL=" + url + "/data/v2/alerts", "BIGPANDA_TOKEN=" + token, "BIGPANDA_APP_KEY=app"}
}

// newBigPanda starts a sandbox that takes only the tests' token, and returns the
// environment of a function that sends to it, with an outbox of its own.
func newBigPanda(t testing.TB) (*sandbox.Server, []string) {
	s := sandbox.New(sandbox.Options{Token: token})
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		server.Close()
	})
	return s, append(environment(server.URL), "BIGPANDA_OUTBOX="+t.TempDir())
}

// A point of the host's CPU, as |alert() passes it on.
func point(host, level string, second int64) *agent.Request {
	return &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: second * 1e9, Name: "cpu", Database: "telegraf", RetentionPolicy: "autogen",
		Group: "host=" + host, Dimensions: []string{"host"},
		Tags:         map[string]string{"host": host, "alertID": "cpu:host=" + host},
		FieldsDouble: map[string]float64{"usage_user": 97.5},
		FieldsString: map[string]string{"level": level, "message": "cpu of " + host + " is " + level},
		FieldsInt:    map[string]int64{"duration": 60e9},
	}}}
}

func keepalive(n int64) *agent.Request {
	return &agent.Request{Message: &agent.Request_Keepalive{Keepalive: &agent.KeepaliveRequest{Time: n}}}
}

func option(name string, values ...string) *agent.Option {
	o := &agent.Option{Name: name}
	for _, v := range values {
		o.Values = append(o.Values, &agent.OptionValue{Type: agent.ValueType_STRING, Value: &agent.OptionValue_StringValue{StringValue: v}})
	}
	return o
}

// framed returns the requests as they are on the wire.
func framed(requests ...*agent.Request) []byte {
	var b []byte
	for _, r := range requests {
		data, err := proto.Marshal(r)
		if err != nil {
			panic(err)
		}
		b = binary.AppendUvarint(b, uint64(len(data)))
		b = append(b, data...)
	}
	return b
}

// statuses lists the statuses that a sandbox was told, by host in the order of
// arrival, without exact duplicates: delivery is at least once.
func statuses(s *sandbox.Server) map[string][]string {
	all := make(map[string][]string)
	for _, e := range s.Events() {
		host := e.Payload.Text("host")
		if e.Duplicate {
			continue
		}
		all[host] = append(all[host], e.Status)
	}
	return all
}

func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patient)
}

// waitEvents waits until the sandbox has taken n alerts.
func waitEvents(t testing.TB, s *sandbox.Server, n int) {
	t.Helper()
	waitEventsWithin(t, s, n, patient)
}

// waitEventsWithin is waitEvents for what may take longer.
func waitEventsWithin(t testing.TB, s *sandbox.Server, n int, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.WaitFor(ctx, func(st sandbox.Stats) bool { return st.Events >= n }); err != nil {
		t.Fatalf("waiting for %d alerts: %v; there are %d", n, err, s.Stats().Events)
	}
}

// logBuffer is a buffer that a process writes while a test reads.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func tail(s string) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) > 40 {
		return fmt.Sprintf("(%d lines before)\n%s", len(lines)-40, strings.Join(lines[len(lines)-40:], ""))
	}
	return s
}
