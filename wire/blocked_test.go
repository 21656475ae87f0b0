package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// small is a pace in the proportions of the default one that a test reaches
// with few points.
var small = pace{high: 4 << 10, bound: 16 << 10, slowRead: 1 << 10, every: 50 * time.Millisecond, grace: DefaultGrace}

// P8: Kapacitor no longer reads, fills the input, and then gives up as its
// Server.Abort does: it ends the write that it is in, and closes the input.
func TestRunEndsWhenKapacitorGivesUp(t *testing.T) {
	t.Parallel()
	in, toRun := pipe(t)
	_, out := pipe(t) // nobody reads the other end
	h := &recorder{}
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), h, in, out, Options{}) }()

	big := body(&agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		FieldsString: map[string]string{"log": strings.Repeat("x", 1000)}}}})
	_, _ = toRun.Write(frames(initTask("cpu")))
	var written atomic.Int64
	aborting := make(chan struct{})
	wrote := make(chan int, 1)
	go func() {
		defer toRun.Close()
		for n := 0; ; n++ {
			select {
			case <-aborting:
				wrote <- n
				return
			default:
			}
			// As Kapacitor does: the length, then the message.
			for _, b := range [][]byte{binary.AppendUvarint(nil, uint64(len(big))), big} {
				if _, err := toRun.Write(b); err != nil {
					wrote <- n
					return
				}
				written.Add(int64(len(b)))
			}
		}
	}()
	// More than the output and the full speed hold, and both pipes: from here
	// on each write waits for a slow read.
	full := int64(defaultPace.high + 512<<10)
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(time.Millisecond); written.Load() < full; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the input is not read: %d bytes", written.Load())
		}
	}
	close(aborting)
	var n int
	select {
	case n = <-wrote:
	case <-deadline:
		t.Fatal("Kapacitor's last write hangs")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-deadline:
		t.Fatal("Run did not end")
	}
	if got := h.count("point"); got != n {
		t.Errorf("%d of %d points handled", got, n)
	}
	if seen := h.seen(); seen[len(seen)-2] != "commit" || seen[len(seen)-1] != "stop" {
		t.Errorf("the last calls are %q", seen[len(seen)-2:])
	}
}

// pipe returns the two ends of a real pipe that the test closes.
func pipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

// The input is read at full speed, then slowly, then not at all; when the output
// is taken again, everything comes, in order (P3, P8).
func TestRunReadsSlowlyWhileOutputIsNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const total = 500
		one := len(frames(point(100)))
		in, toRun := io.Pipe()
		fromRun, out := io.Pipe()
		h := &recorder{}
		ended := make(chan error, 1)
		go func() { ended <- run(t.Context(), h, in, out, Options{}, small) }()
		go func() {
			defer toRun.Close()
			_, _ = toRun.Write(frames(initTask("cpu")))
			for i := range total {
				_, _ = toRun.Write(frames(point(int64(i)), keepalive(int64(i))))
			}
		}()

		synctest.Wait()
		fast := h.count("point")
		if waits := fast * one; waits < small.high/2 || waits > small.high+2*one {
			t.Errorf("%d bytes of points read at full speed, want about %d", waits, small.high)
		}
		time.Sleep(10*small.every + small.every/2)
		if got := h.count("point"); got != fast+10 {
			t.Errorf("%d slow reads in ten times the interval, want 10", got-fast)
		}
		time.Sleep(time.Hour)
		bounded := h.count("point")
		if waits := bounded * one; waits < small.bound/2 || waits > small.bound+2*one || bounded == total {
			t.Errorf("%d bytes of points read in an hour, want about %d", waits, small.bound)
		}
		time.Sleep(time.Hour)
		if got := h.count("point"); got != bounded {
			t.Errorf("%d points read above the bound", got-bounded)
		}

		got, err := takeAll(fromRun, out, ended)
		if err != nil {
			t.Fatal(err)
		}
		want := answers(initDone)
		for i := range total {
			want = append(want, frames(point(int64(i)))...)
			want = append(want, answers(&agent.Response{Message: &agent.Response_Keepalive{
				Keepalive: &agent.KeepaliveResponse{Time: int64(i)}}})...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes came out, want %d", len(got), len(want))
		}
	})
}

// takeAll reads the output until Run has ended.
func takeAll(fromRun *io.PipeReader, out *io.PipeWriter, ended <-chan error) ([]byte, error) {
	var err error
	go func() {
		err = <-ended
		_ = out.Close()
	}()
	got, _ := io.ReadAll(fromRun)
	return got, err
}

// P8: the end of the input is the end within Grace, also if nothing is taken.
func TestRunGivesABlockedOutputUp(t *testing.T) {
	t.Parallel()
	broken := errors.New("it broke")
	for _, c := range []struct {
		name string
		h    *recorder
		in   []byte
		open bool // the input stays open
		want error
	}{
		{"the input ends", &recorder{}, frames(initTask("cpu"), point(1)), false, nil},
		{"Init fails", &recorder{init: &agent.InitResponse{Error: "no"}}, frames(initTask("cpu")), true, nil},
		{"the handler fails", &recorder{fail: map[string]error{"point 1": broken}}, frames(point(1)), true, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, toRun := io.Pipe()
				fromRun, out := io.Pipe()
				defer fromRun.Close() // frees the Write that was left behind
				go func() {
					_, _ = toRun.Write(c.in)
					if !c.open {
						_ = toRun.Close()
					}
				}()
				start := time.Now()
				if err := Run(t.Context(), c.h, in, out, Options{}); err != c.want {
					t.Errorf("Run returned %v, want %v", err, c.want)
				}
				if d := time.Since(start); d != DefaultGrace {
					t.Errorf("Run ended after %v, want %v", d, DefaultGrace)
				}
				if c.h.count("stop") != 1 {
					t.Error("no Stop")
				}
			})
		})
	}
}

// An output that is taken late, but within Grace, is complete.
func TestRunWaitsForAnOutputThatIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fromRun, out := io.Pipe()
		ended := make(chan error, 1)
		data := points(300)
		go func() {
			ended <- Run(t.Context(), &recorder{}, bytes.NewReader(append(frames(initTask("x")), data...)), out, Options{})
		}()
		time.Sleep(DefaultGrace - time.Millisecond)
		got, err := takeAll(fromRun, out, ended)
		if err != nil || !bytes.Equal(got, append(answers(initDone), data...)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// P8: nothing of the input is lost to an output that broke.
func TestRunReadsOnWhenOutputBreaks(t *testing.T) {
	t.Parallel()
	fromRun, out := pipe(t)
	_ = fromRun.Close()
	h := &recorder{}
	const n = 20_000 // over small.bound by far: what is thrown away must not slow the reading
	data := append(frames(initTask("cpu")), points(n)...)
	err := run(t.Context(), h, bytes.NewReader(data), out, Options{}, small)
	if !errors.Is(err, syscall.EPIPE) || !strings.HasPrefix(err.Error(), "write output: ") {
		t.Errorf("Run returned %v, want one that says that writing failed", err)
	}
	if h.count("point") != n {
		t.Errorf("%d points handled, want %d", h.count("point"), n)
	}
	if seen := h.seen(); seen[len(seen)-2] != "commit" {
		t.Errorf("the last call before Stop is %q", seen[len(seen)-2])
	}
}

func TestRunSaysBothWhenBothStreamsBreak(t *testing.T) {
	t.Parallel()
	fromRun, out := pipe(t)
	_ = fromRun.Close()
	err := Run(t.Context(), &recorder{}, &chunks{frames(initTask("cpu")), points(3), {9, 1, 2}}, out, Options{})
	if !errors.Is(err, syscall.EPIPE) || !strings.Contains(err.Error(), "ends within a frame") {
		t.Errorf("Run returned %v", err)
	}
}

// short takes a byte less than it is given.
type short struct{}

func (short) Write(b []byte) (int, error) { return len(b) - 1, nil }

func TestRunTakesAShortWriteForABrokenOutput(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), &recorder{}, bytes.NewReader(frames(info())), short{}, Options{})
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Run returned %v", err)
	}
}
