// Package test is what tests share: a [Function], the program as Kapacitor starts it; the
// requests that Kapacitor sends; a [LogBuffer]; a BigPanda to send to. No program imports
// it. The suites about the whole program are in e2e/program.
package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/system"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Patient is how long is waited for what happens at once on a machine that is not
// busy.
const Patient = 60 * time.Second

// AsChild in the environment says what the test binary is to be when it executes
// itself, so that tests speak to a real process over real pipes.
const AsChild = "BIGPANDA_UDF_TEST_CHILD"

// AsProgram is its value for the program itself.
const AsProgram = "the program"

// Main is to be called by TestMain of the packages that use Start. It runs the
// tests, or, where Start or Command has started this binary, program.
func Main(m *testing.M, program func()) {
	// A folder for outboxes that a group may write is refused, and t.TempDir makes
	// such ones where the umask is 002.
	system.Umask(0o022)
	if os.Getenv(AsChild) == AsProgram {
		program()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// InMemory has the tests' folders in memory, where there is room for them and none were
// chosen (TMPDIR): no kill shows what a sync is for, and those of outboxes take much of
// the time of tests that start programs. It is to be called before any test runs.
func InMemory() {
	const memory, room = "/dev/shm", 2 << 30
	if os.Getenv("TMPDIR") != "" {
		return
	}
	const writable = 2
	if _, passing := system.PassingFileSystem(memory); !passing || system.Access(memory, writable) != nil {
		return
	}
	if free, err := system.Free(memory); err == nil && free > room {
		os.Setenv("TMPDIR", memory)
	}
}

// Command returns the program with arguments and, besides this process's own, an
// environment of NAME=value.
func Command(environment []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), AsChild+"="+AsProgram)
	cmd.Env = append(cmd.Env, environment...)
	return cmd
}

// A Function is the program in function mode, as Kapacitor starts it. Its methods
// fail the test where the program does not do what it must.
type Function struct {
	Cmd *exec.Cmd
	In  io.WriteCloser
	Out *os.File   // stdout, where it was launched
	Log *LogBuffer // stderr
	Raw *LogBuffer // stdout as it came, where it was started

	T      testing.TB           // fails where the program does not do what it must
	frames chan *agent.Response // what it answers; closed at the end of stdout
}

// Start starts the program with flags and an environment of NAME=value, and reads
// its stdout at once. It is killed at the end of the test, if it still runs.
func Start(t testing.TB, environment []string, flags ...string) *Function {
	t.Helper()
	return StartCommand(t, Command(environment, flags...))
}

// StartCommand is Start of any program that speaks on stdin and stdout.
func StartCommand(t testing.TB, cmd *exec.Cmd) *Function {
	t.Helper()
	f := LaunchCommand(t, cmd)
	f.frames = make(chan *agent.Response, 1<<16)
	go func() {
		defer close(f.frames)
		r := bufio.NewReader(io.TeeReader(f.Out, f.Raw))
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

// Launch is Start, but leaves stdout to the test.
func Launch(t testing.TB, environment []string, flags ...string) *Function {
	t.Helper()
	return LaunchCommand(t, Command(environment, flags...))
}

// LaunchCommand starts any program that speaks on stdin and stdout.
func LaunchCommand(t testing.TB, cmd *exec.Cmd) *Function {
	t.Helper()
	f := &Function{T: t, Cmd: cmd, Log: new(LogBuffer), Raw: new(LogBuffer)}
	cmd.Stderr = f.Log
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
	f.In, f.Out = stdin, out
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
		out.Close()
		if t.Failed() {
			t.Logf("log of the program:\n%s", Tail(f.Log.String()))
		}
	})
	return f
}

// Send writes requests to stdin.
func (f *Function) Send(requests ...*agent.Request) {
	f.T.Helper()
	if _, err := f.In.Write(Frames(requests...)); err != nil {
		f.T.Fatalf("write to the function: %v", err)
	}
}

// Receive returns the next response.
func (f *Function) Receive() *agent.Response {
	f.T.Helper()
	select {
	case r, ok := <-f.frames:
		if !ok {
			f.T.Fatal("stdout ended")
		}
		return r
	case <-time.After(Patient):
		f.T.Fatal("no answer")
	}
	return nil
}

// WaitLog waits until the log has a text.
func (f *Function) WaitLog(text string) {
	f.T.Helper()
	late := time.After(Patient)
	for {
		written, more := f.Log.has(text)
		if written {
			return
		}
		select {
		case <-more:
		case <-late:
			f.T.Fatalf("the log has no %q", text)
		}
	}
}

// Init sends Info and Init, as Kapacitor does, and returns the answer to Init.
func (f *Function) Init(options ...*agent.Option) *agent.InitResponse {
	f.T.Helper()
	f.Send(Info())
	if f.Receive().GetInfo() == nil {
		f.T.Fatal("Info was not answered")
	}
	f.Send(Init("cpu_alert", "bigpanda3", options...))
	answer := f.Receive().GetInit()
	if answer == nil {
		f.T.Fatal("Init was not answered")
	}
	return answer
}

// MustInit is Init that succeeds.
func (f *Function) MustInit(options ...*agent.Option) {
	f.T.Helper()
	if answer := f.Init(options...); !answer.Success {
		f.T.Fatalf("Init failed: %s", answer.Error)
	}
}

// End closes stdin and returns the exit code.
func (f *Function) End() int {
	f.T.Helper()
	f.In.Close()
	return f.Wait()
}

// Wait waits for the end of the process and returns its exit code.
func (f *Function) Wait() int {
	f.T.Helper()
	ended := make(chan error, 1)
	go func() { ended <- f.Cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			f.T.Fatal(err)
		}
		return f.Cmd.ProcessState.ExitCode()
	case <-time.After(Patient):
		f.T.Fatal("the program does not end")
	}
	return -1
}

// Tail is the last 40 lines of a log.
func Tail(s string) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) > 40 {
		return fmt.Sprintf("(%d lines before)\n%s", len(lines)-40, strings.Join(lines[len(lines)-40:], ""))
	}
	return s
}
