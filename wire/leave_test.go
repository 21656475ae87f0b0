package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// reading is how much of the grace belongs to reading.
const reading = DefaultGrace - DefaultGrace/4

// P8: after SIGTERM the input is read to its end, for a bounded time.
func TestRunReadsOnAfterTheContextIsDone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		before int           // points before the context is done
		after  int           // points after it, one each 10 ms
		ends   bool          // the input ends after them
		took   time.Duration // from the context's end to Run's
		seen   int           // points handled
	}{
		{"the input is silent", 3, 0, false, reading, 3},
		{"the input ends at once", 3, 0, true, 0, 3},
		{"the input ends after more points", 3, 20, true, 190 * time.Millisecond, 23},
		{"the input does not end", 0, 1000, true, reading, int((reading + 9*time.Millisecond) / (10 * time.Millisecond))},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				in, toRun := io.Pipe()
				h := &recorder{}
				var out bytes.Buffer
				ended := make(chan error, 1)
				go func() { ended <- Run(ctx, h, in, &out, Options{}) }()
				_, _ = toRun.Write(frames(initTask("cpu")))
				_, _ = toRun.Write(points(c.before))
				synctest.Wait()

				cancel()
				synctest.Wait()
				start := time.Now()
				fed := make(chan struct{})
				go func() {
					defer close(fed)
					for i := range c.after {
						if i > 0 {
							time.Sleep(10 * time.Millisecond)
						}
						if _, err := toRun.Write(frames(point(int64(c.before + i)))); err != nil {
							return
						}
					}
					if c.ends {
						_ = toRun.Close()
					}
				}()
				defer func() {
					_ = in.Close() // frees the Read that was left behind
					<-fed
				}()
				if err := <-ended; err != nil {
					t.Errorf("Run returned %v", err)
				}
				if d := time.Since(start); d != c.took {
					t.Errorf("Run ended after %v, want %v", d, c.took)
				}
				if got := h.count("point"); got != c.seen {
					t.Errorf("%d points handled, want %d", got, c.seen)
				}
				if want := append(answers(initDone), points(c.seen)...); !bytes.Equal(out.Bytes(), want) {
					t.Errorf("%d bytes came out, want %d", out.Len(), len(want))
				}
				seen := h.seen()
				equal(t, "last calls", seen[len(seen)-2:], []string{"commit", "stop"})
			})
		})
	}
}

// A cause of the context's end is told, unless the input ended first.
func TestRunTellsWhyTheContextIsDone(t *testing.T) {
	t.Parallel()
	cause := errors.New("the daemon was stopped")
	for _, c := range []struct {
		name string
		ends bool
		err  error
		told []string
	}{
		{"the input goes on", false, cause, []string{"init true ", "point 0", "error " + cause.Error()}},
		{"the input ends", true, nil, []string{"init true ", "point 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				in, toRun := io.Pipe()
				defer in.Close()
				var out bytes.Buffer
				ended := make(chan error, 1)
				go func() { ended <- Run(ctx, &recorder{}, in, &out, Options{}) }()
				cancel(cause)
				synctest.Wait()
				_, _ = toRun.Write(frames(initTask("cpu"), point(0)))
				if c.ends {
					_ = toRun.Close()
				}
				if err := <-ended; err != c.err {
					t.Errorf("Run returned %v, want %v", err, c.err)
				}
				equal(t, "output", describe(t, out.Bytes()), c.told)
			})
		})
	}
}

// While leaving, what Kapacitor still has to say is read and committed even if
// the output is full. What goes out then ends early, but between two frames.
func TestRunLeavesWithAFullOutput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		take bool // somebody takes the output once the context is done
	}{
		{"nobody takes it", false},
		{"somebody takes it at last", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const total = 1000
				ctx, cancel := context.WithCancel(t.Context())
				in, toRun := io.Pipe()
				fromRun, out := io.Pipe()
				defer fromRun.Close()
				h := &recorder{}
				ended := make(chan error, 1)
				go func() { ended <- run(ctx, h, in, out, Options{}, small) }()
				go func() {
					defer toRun.Close()
					_, _ = toRun.Write(frames(initTask("cpu")))
					for i := range total {
						_, _ = toRun.Write(frames(point(int64(i))))
					}
				}()
				time.Sleep(time.Hour) // up to the bound
				if h.count("point") == total {
					t.Fatal("the output was never full")
				}

				start := time.Now()
				cancel()
				synctest.Wait()
				if got := h.count("point"); got != total {
					t.Errorf("%d points handled, want %d", got, total)
				}
				if c.take {
					got, err := takeAll(fromRun, out, ended)
					if err != nil {
						t.Error(err)
					}
					all := append(answers(initDone), points(total)...)
					if len(got) < small.bound || len(got) >= len(all) || !bytes.Equal(got, all[:len(got)]) {
						t.Errorf("%d bytes came out", len(got))
					}
					describe(t, got) // whole frames
					return
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if d := time.Since(start); d != DefaultGrace {
					t.Errorf("Run ended after %v, want %v", d, DefaultGrace)
				}
			})
		})
	}
}

// Grace is for the streams. A handler that is slow to commit while the process
// leaves does not cost the output its time.
func TestRunLetsOutputOutAfterASlowCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := &recorder{onEvent: func(event string) {
			if event == "commit" {
				time.Sleep(time.Minute)
			}
		}}
		in, toRun := io.Pipe()
		var out slow
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, h, in, &out, Options{}) }()
		cancel()
		synctest.Wait() // its clock runs
		_, _ = toRun.Write(frames(initTask("cpu"), point(1)))
		if err := <-ended; err != nil {
			t.Error(err)
		}
		equal(t, "output", describe(t, out.Bytes()), []string{"init true ", "point 1"})
	})
}

// slow takes everything, a while later.
type slow struct{ bytes.Buffer }

func (s *slow) Write(b []byte) (int, error) {
	time.Sleep(DefaultGrace / 10)
	return s.Buffer.Write(b)
}

// P2: Info is answered also by a process that is told to end as it starts.
func TestRunAnswersWithAContextThatIsDone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := Run(ctx, &recorder{}, bytes.NewReader(frames(info(), snapshot())), &out, Options{}); err != nil {
		t.Error(err)
	}
	equal(t, "output", describe(t, out.Bytes()), []string{"info", "snapshot 0"})
}
