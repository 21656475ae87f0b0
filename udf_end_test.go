package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

// P8: a memory outbox is emptied after the end of stdin, and says what it
// could not deliver.
func TestWhatIsLostIsSaid(t *testing.T) {
	bp, env := newBigPanda(t)
	if err := bp.SetFaults(sandbox.Faults{Status: 503}); err != nil {
		t.Fatal(err)
	}
	f := start(t, env, "--outbox=memory", "--drain-timeout=50ms")
	f.mustInit()
	f.send(point("web1", "CRITICAL", 1000), point("web2", "CRITICAL", 1000))
	if code := f.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := f.stderr.String(); !strings.Contains(log, "lost=2") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("the log does not say that 2 changes were lost: %s", log)
	}
}

// P8: Kapacitor's Server.Abort leaves the reader of our stdout, while its
// writer still hangs on our full stdin; it closes stdin only when that write
// has ended.
func TestPeerThatNeverReads(t *testing.T) {
	bp, env := newBigPanda(t)
	f := launch(t, env, "--outbox=memory")
	info := &agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}}
	init := &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "t", NodeID: "n"}}}
	f.send(info, init)
	aborting := make(chan struct{})
	written := make(chan int)
	go func() {
		defer f.in.Close()
		n := 0
		for ; ; n++ {
			select {
			case <-aborting:
				written <- n
				return
			default:
			}
			if _, err := f.in.Write(framed(point(fmt.Sprint("web", n), "CRITICAL", 1000))); err != nil {
				written <- n
				return
			}
		}
	}()
	waitEvents(t, bp, 1000)
	close(aborting)
	var n int
	select {
	case n = <-written:
	case <-time.After(patient):
		t.Fatal("the peer's write does not end")
	}
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := bp.Stats().Events; got != n {
		t.Errorf("%d changes were written, %d delivered", n, got)
	}
}

// P8: with stdout broken the rest of stdin is still read and delivered.
func TestBrokenStdout(t *testing.T) {
	bp, env := newBigPanda(t)
	f := launch(t, env, "--outbox=memory")
	init := &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "t", NodeID: "n"}}}
	f.send(init)
	f.out.Close()
	const changes = 500
	for i := range changes {
		f.send(point(fmt.Sprint("web", i), "CRITICAL", 1000))
	}
	if code := f.end(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if got := bp.Stats().Events; got != changes {
		t.Errorf("%d of %d changes delivered", got, changes)
	}
	if !strings.Contains(f.stderr.String(), "level=ERROR") {
		t.Error("the log does not say so")
	}
}

// P8: SIGTERM may come before Kapacitor has passed its last points.
func TestSIGTERM(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("stdin closed %v", closed), func(t *testing.T) {
			bp, env := newBigPanda(t)
			f := start(t, env, "--outbox=memory")
			f.mustInit()
			f.send(point("web1", "CRITICAL", 1000))
			f.receive()
			if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			f.in.Write(framed(point("web2", "CRITICAL", 1000)))
			if closed {
				f.in.Close()
			}
			if code := f.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if got := bp.Stats().Events; got != 2 {
				t.Errorf("%d changes delivered, want 2", got)
			}
		})
	}
}
