package wire

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// busy is input that makes the next read begin before it is handled.
func busy() []byte { return points(2 * busySize / len(points(1))) }

// A twice is a reader that brings first, and tells when it is asked again.
type twice struct {
	first []byte
	again chan struct{}
}

func (w *twice) Read(b []byte) (int, error) {
	if n := copy(b, w.first); n > 0 {
		w.first = w.first[n:]
		return n, nil
	}
	close(w.again)
	return 0, io.EOF
}

func TestRunReadsAheadOfABusyStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := &twice{append(frames(initTask("cpu")), busy()...), make(chan struct{})}
		h := &recorder{onEvent: func(event string) {
			if event == "point 0" {
				<-in.again // for ever, if the next read waits for the handler
			}
		}}
		out, err := serve(t, h, in)
		if err != nil || !bytes.Equal(out, append(answers(initDone), busy()...)) {
			t.Errorf("%d bytes came out, %v", len(out), err)
		}
	})
}

// A read that is under way, and may be for ever, holds up neither output nor end.
func TestRunDoesNotWaitForTheReadAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   []byte
		h    *recorder
		last string // of the output, as describe has it
		ends bool
	}{
		{"points", busy(), &recorder{}, "point ", false},
		{"a failed Init", append(frames(initTask("b")), busy()...), &recorder{init: &agent.InitResponse{Error: "no"}}, "init false no", true},
		{"an error of the handler", append(frames(begin("b")), busy()...), &recorder{fail: map[string]error{"begin b": io.ErrShortBuffer}}, "error short buffer", true},
		{"a frame that is none", append([]byte{0}, busy()...), &recorder{}, "error decode frame 2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, peer := io.Pipe()
				var out bytes.Buffer
				ended := make(chan error, 1)
				go func() { ended <- Run(t.Context(), c.h, in, &out, Options{}) }()
				if c.h.init == nil {
					_, _ = peer.Write(frames(initTask("a")))
				}
				_, _ = peer.Write(c.in)
				synctest.Wait()
				if len(ended) == 1 != c.ends {
					t.Errorf("Run has ended: %t, want %t", !c.ends, c.ends)
				}
				all := describe(t, out.Bytes())
				if len(all) == 0 || !strings.HasPrefix(all[len(all)-1], c.last) {
					t.Errorf("the output ends otherwise than with %q: %q", c.last, all)
				}
				_ = peer.Close()
				if !c.ends {
					<-ended
				}
			})
		})
	}
}

// Frames of any size leave as they came, wherever one read ends and the next
// begins.
func TestRunJoinsWhatReadsBring(t *testing.T) {
	t.Parallel()
	for seed := range uint64(test.Volume(20, 4)) {
		r := rand.New(rand.NewPCG(seed, 4))
		in := frames(initTask("cpu"))
		for len(in) < 3<<20 {
			p := point(1)
			p.GetPoint().Name = strings.Repeat("x", r.IntN([]int{10, 1000, headroom, 2 * headroom, 3 * pieceSize}[r.IntN(5)]))
			in = append(in, frames(p)...)
		}
		var cuts chunks
		for rest := in; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN([]int{10, 4096, headroom, 2 * pieceSize}[r.IntN(4)]))
			cuts, rest = append(cuts, rest[:n]), rest[n:]
		}
		out, err := serve(t, &choosy{recorder: &recorder{}, wants: func([]byte) bool { return r.IntN(9) == 0 }}, &cuts)
		if err != nil || !bytes.Equal(out[len(answers(initDone)):], in[len(frames(initTask("cpu"))):]) {
			t.Fatalf("seed %d: %d bytes became %d, %v", seed, len(in), len(out), err)
		}
	}
}
