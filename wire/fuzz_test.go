package wire

import (
	"bytes"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Whatever comes in: Run ends, Kapacitor can read what comes out, and it says
// the same however the input is cut into reads, and whichever points the handler
// wants decoded.
func FuzzRun(f *testing.F) {
	f.Add(frames(info(), initTask("cpu"), restore([]byte("abc")), point(1), keepalive(7), snapshot()))
	f.Add(frames(initTask("cpu"), begin("b"), point(1), end("b")))
	f.Add(append(frames(initTask("cpu"), point(1)), 0))
	f.Add(append(frames(initTask("cpu")), framed(field(body(point(1)), 6, "\xff"))...))
	f.Add(append(frames(initTask("cpu")), framed(append(body(info()), body(point(1))...))...))
	f.Add(bytes.Repeat([]byte{0x80}, 11))
	for _, name := range []string{"an unknown field", "an empty point"} {
		f.Add(append(frames(initTask("cpu")), oddFrames()[name]...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 16
		var outs [2]bytes.Buffer
		var seen [2][]string
		for i := range outs {
			h := &recorder{}
			r := iotest.OneByteReader(bytes.NewReader(in))
			if i == 0 {
				r = bytes.NewReader(in)
			}
			err := Run(t.Context(), h, r, &outs[i], Options{MaxFrame: limit})
			all := responses(t, outs[i].Bytes())
			failed := false
			if len(all) > 0 {
				_, failed = all[len(all)-1].Message.(*agent.Response_Error)
			}
			if failed != (err != nil) {
				t.Errorf("Run returned %v, and an ErrorResponse was sent: %t", err, failed)
			}
			if h.count("stop") != 1 {
				t.Error("Stop was not called once")
			}
			seen[i] = slices.DeleteFunc(h.seen(), func(e string) bool { return e == "commit" })
		}
		var out bytes.Buffer
		_ = Run(t.Context(), &choosy{recorder: &recorder{}, wants: odd}, bytes.NewReader(in), &out, Options{MaxFrame: limit})
		if plainSpaces(outs[0].String()) != plainSpaces(out.String()) {
			t.Errorf("output of a handler that does not want all points differs: %q and %q", outs[0].Bytes(), out.Bytes())
		}
		equal(t, "handler, byte by byte", seen[1], seen[0])
		if plainSpaces(outs[0].String()) != plainSpaces(outs[1].String()) {
			t.Errorf("output differs: %q and %q", outs[0].Bytes(), outs[1].Bytes())
		}
	})
}
