package wire

import (
	"bytes"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Whoever connects and does not come to an Init is sent away.
func TestRunWaitsForInitOnlySoLong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		input []byte
		ends  bool
	}{
		{"nothing", nil, true},
		{"Info and keepalives", frames(info(), keepalive(1), keepalive(2)), true},
		{"a part of a frame", frames(initTask("cpu"))[:5], true},
		{"an Init", frames(info(), initTask("cpu")), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, toRun := io.Pipe()
				var out bytes.Buffer
				ended := make(chan error, 1)
				go func() { ended <- Run(t.Context(), &recorder{}, in, &out, Options{InitWithin: time.Minute}) }()
				begin := time.Now()
				toRun.Write(tt.input)
				if !tt.ends {
					time.Sleep(time.Hour)
					toRun.Close()
					if err := <-ended; err != nil {
						t.Error(err)
					}
					return
				}
				err := <-ended
				if took := time.Since(begin); err == nil || !strings.Contains(err.Error(), "no Init within 1m0s") || took != time.Minute {
					t.Errorf("after %s: %v", took, err)
				}
				if answers := responses(t, out.Bytes()); answers[len(answers)-1].GetError() == nil {
					t.Errorf("answered %v", answers)
				}
				toRun.Close()
			})
		})
	}
}

// Before Init, memory follows neither what a frame claims, nor how much of it
// comes, nor how often a short request is made.
func TestRunGivesLittleMemoryBeforeInit(t *testing.T) {
	large := restore(make([]byte, 4<<20))
	for _, tt := range []struct {
		name  string
		input []byte
		want  string // "": no error
	}{
		{"a large frame", frames(large), "before Init is over the limit of 1048576 bytes"},
		{"a large frame behind an Init", frames(initTask("cpu"), large), ""},
		{"an Init of the limit", frames(initTask(strings.Repeat("x", maxEarly-20))), ""},
		{"many requests for Info", bytes.Repeat(frames(info()), 1<<14), "more than 1048576 bytes of answers wait before Init"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, out := pipe(t) // nobody reads the other end
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			h := &recorder{}
			quick := defaultPace
			quick.grace = time.Millisecond
			err := run(t.Context(), wordy{h}, bytes.NewReader(tt.input), out, Options{InitWithin: time.Hour}, quick)
			runtime.ReadMemStats(&after)
			if tt.want == "" {
				if err != nil && !strings.Contains(err.Error(), "output") {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if n := after.TotalAlloc - before.TotalAlloc; len(h.seen()) < 10 && n > 4<<20 {
				t.Errorf("it took %d bytes of memory", n)
			}
		})
	}
}

// wordy has an option of a long name, so that some requests for Info are enough.
type wordy struct{ *recorder }

func (w wordy) Info() (*agent.InfoResponse, error) {
	return &agent.InfoResponse{Options: map[string]*agent.OptionInfo{strings.Repeat("x", 500): {}}}, w.note("info")
}

// P8: requests of a few bytes whose answers nobody takes stop at the bound, also
// when many come at once.
func TestRunBoundsAnswersWithinAPiece(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{snapshot: make([]byte, 1<<10)}
		reader, out := io.Pipe()
		input := frames(slices.Repeat([]*agent.Request{snapshot()}, 1000)...)
		ended := make(chan error, 1)
		go func() { ended <- run(t.Context(), h, bytes.NewReader(input), out, Options{}, small) }()
		time.Sleep(time.Hour)
		if n := h.count("snapshot"); n*len(h.snapshot) < small.high || n*len(h.snapshot) > 2*small.bound {
			t.Errorf("%d answers of %d bytes wait", n, len(h.snapshot))
		}
		go io.Copy(io.Discard, reader)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		out.Close()
		if n := h.count("snapshot"); n != 1000 {
			t.Errorf("%d of 1000 requests were answered", n)
		}
	})
}
