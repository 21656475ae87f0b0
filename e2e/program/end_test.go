package program

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// P8: a memory outbox is emptied after the end of stdin, and says what it
// could not deliver.
func TestWhatIsLostIsSaid(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	test.SetFaults(t, bp, sandbox.Faults{Status: 503})
	f := test.Start(t, env, "--outbox=memory", "--drain-timeout=50ms")
	f.MustInit()
	f.Send(test.Point("web1", "CRITICAL", 1000), test.Point("web2", "CRITICAL", 1000))
	if code := f.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := f.Log.String(); !strings.Contains(log, "lost=2") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("the log does not say that 2 changes were lost: %s", log)
	}
}

// P8: Kapacitor's Server.Abort leaves the reader of our stdout, while its
// writer still hangs on our full stdin; it closes stdin only when that write
// has ended.
func TestPeerThatNeverReads(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	f := test.Launch(t, env, "--outbox=memory")
	info := test.Info()
	init := test.Init("t", "n")
	f.Send(info, init)
	aborting := make(chan struct{})
	written := make(chan int)
	go func() {
		defer f.In.Close()
		n := 0
		for ; ; n++ {
			select {
			case <-aborting:
				written <- n
				return
			default:
			}
			if _, err := f.In.Write(test.Frames(test.Point(fmt.Sprint("web", n), "CRITICAL", 1000))); err != nil {
				written <- n
				return
			}
		}
	}()
	test.WaitEvents(t, bp, 1000)
	close(aborting)
	var n int
	select {
	case n = <-written:
	case <-time.After(test.Patient):
		t.Fatal("the peer's write does not end")
	}
	if code := f.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := bp.Stats().Events; got != n {
		t.Errorf("%d changes were written, %d delivered", n, got)
	}
}

// P8: with stdout broken what is left of stdin is still read and delivered.
func TestBrokenStdout(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	f := test.Launch(t, env, "--outbox=memory")
	init := test.Init("t", "n")
	f.Send(init)
	f.Out.Close()
	const changes = 500
	for i := range changes {
		f.Send(test.Point(fmt.Sprint("web", i), "CRITICAL", 1000))
	}
	if code := f.End(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if got := bp.Stats().Events; got != changes {
		t.Errorf("%d of %d changes delivered", got, changes)
	}
	if !strings.Contains(f.Log.String(), "level=ERROR") {
		t.Error("the log does not say so")
	}
}

// P8: SIGTERM, or SIGHUP, may come before Kapacitor has passed its last points.
func TestSIGTERM(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		signal syscall.Signal
		closed bool
	}{{syscall.SIGTERM, true}, {syscall.SIGTERM, false}, {syscall.SIGHUP, true}} {
		t.Run(fmt.Sprintf("%s, stdin closed %v", tt.signal, tt.closed), func(t *testing.T) {
			t.Parallel()
			bp, env := test.NewBigPanda(t)
			f := test.Start(t, env, "--outbox=memory")
			f.MustInit()
			f.Send(test.Point("web1", "CRITICAL", 1000))
			f.Receive()
			if err := f.Cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			f.In.Write(test.Frames(test.Point("web2", "CRITICAL", 1000)))
			if tt.closed {
				f.In.Close()
			}
			if code := f.Wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if got := bp.Stats().Events; got != 2 {
				t.Errorf("%d changes delivered, want 2", got)
			}
		})
	}
}

// P8: a terminal that goes sends SIGHUP twice, by its shell and by the kernel, which is not
// the second signal of somebody who will not wait: the outbox in memory is delivered.
func TestSIGHUPTwice(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	test.SetFaults(t, bp, sandbox.Faults{Status: 503})
	f := test.Start(t, env, "--outbox=memory", "--drain-timeout=1m")
	f.MustInit()
	f.Send(test.Point("web1", "CRITICAL", 1000))
	f.Receive()
	for range 2 {
		if err := f.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		waitNotPending(t, f.Cmd.Process.Pid, syscall.SIGHUP)
	}
	f.In.Close()
	test.SetFaults(t, bp, sandbox.Faults{})
	if code := f.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := test.Statuses(bp)["web1"]; len(got) != 1 {
		t.Errorf("%d delivered: %s", len(got), f.Log)
	}
}

// waitNotPending waits until a process has been given a signal.
func waitNotPending(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	for deadline := time.Now().Add(test.Patient); signalsOf(t, pid, "ShdPnd:")&(1<<(signal-1)) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is still pending", signal)
		}
	}
}

// signalsOf returns a mask of signals that the kernel shows of a process (proc_pid_status(5)).
func signalsOf(t *testing.T, pid int, name string) (mask uint64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(status), name)
	if _, err := fmt.Sscanf(text, "%x", &mask); err != nil {
		t.Fatal(err)
	}
	return mask
}

// What nohup starts goes on when its terminal goes.
func TestNohup(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	cmd := test.Command(env)
	cmd.Args, cmd.Path = []string{"sh", "-c", `trap "" HUP; exec "$0"`, cmd.Path}, "/bin/sh"
	f := test.LaunchCommand(t, cmd)
	f.Send(test.Info())
	if _, err := f.Out.Read(make([]byte, 1)); err != nil { // then it has said which signals it takes
		t.Fatal(err)
	}
	if ignored := signalsOf(t, f.Cmd.Process.Pid, "SigIgn:"); ignored&(1<<(syscall.SIGHUP-1)) == 0 {
		t.Errorf("SIGHUP is not ignored any more: %x", ignored)
	}
}
