package wire

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A trickle is a pipe with room for all, whose Reads are counted.
type trickle struct {
	mu    sync.Mutex
	more  sync.Cond
	bytes []byte
	ended bool
	reads int
}

func newTrickle() *trickle {
	p := new(trickle)
	p.more.L = &p.mu
	return p
}

func (p *trickle) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes = append(p.bytes, b...)
	p.more.Signal()
	return len(b), nil
}

func (p *trickle) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.more.Signal()
}

func (p *trickle) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	for len(p.bytes) == 0 {
		if p.ended {
			return 0, io.EOF
		}
		p.more.Wait()
	}
	n := copy(b, p.bytes)
	p.bytes = p.bytes[n:]
	return n, nil
}

// Arrivals are when the frames of an output came.
type arrivals struct {
	mu    sync.Mutex
	bytes int
	at    []time.Time // of each frame of size bytes
	size  int
}

func (a *arrivals) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes += len(b)
	for len(a.at) < a.bytes/a.size {
		a.at = append(a.at, time.Now())
	}
	return len(b), nil
}

// Points that come densely are read many at a time, each within the millisecond
// that the reader says, and the end within two; all else is as without (P6, P8).
func TestDenseInput(t *testing.T) {
	t.Parallel()
	long := point(1)
	long.GetPoint().Name = strings.Repeat("n", 100) // about 200 bytes, as points have
	frame := frames(long)
	for _, tt := range []struct {
		name         string
		every        time.Duration // from one write to the next
		each         int           // frames in a write
		reads, atMax int           // of 10,000 frames
		late         time.Duration // a frame at most
	}{
		{"100,000 points a second", 10 * time.Microsecond, 1, 100, 250, denseWait},
		{"50,000", 20 * time.Microsecond, 1, 200, 450, denseWait},
		{"10,000", 100 * time.Microsecond, 1, 10_000, 10_001, 0},
		{"200", 5 * time.Millisecond, 1, 10_000, 10_001, 0},
		{"in bulk", 250 * time.Microsecond, 400, 25, 60, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, out := newTrickle(), &arrivals{size: len(frame)}
				ended := make(chan error)
				go func() { ended <- Run(context.Background(), &recorder{}, in, out, Options{}) }()
				_, _ = in.Write(frames(initTask("task")))
				synctest.Wait()
				in.reads, out.bytes, out.at = 0, 0, nil
				var written []time.Time
				for n := 0; n < 10_000; n += tt.each {
					for range tt.each {
						written = append(written, time.Now())
					}
					_, _ = in.Write(slices.Repeat(frame, tt.each))
					time.Sleep(tt.every)
				}
				lastWrite := time.Now()
				in.end()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if took := time.Since(lastWrite); took > 2*denseWait {
					t.Errorf("the end is noticed after %v", took)
				}
				if in.reads < tt.reads || in.reads > tt.atMax {
					t.Errorf("%d reads, want %d to %d", in.reads, tt.reads, tt.atMax)
				}
				if len(out.at) != len(written) {
					t.Fatalf("%d frames came of %d", len(out.at), len(written))
				}
				for i := range written {
					if late := out.at[i].Sub(written[i]); late > tt.late {
						t.Fatalf("frame %d is %v late, want %v at most", i, late, tt.late)
					}
				}
			})
		})
	}
}
