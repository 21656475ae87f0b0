package wire

import (
	"bytes"
	"slices"
	"testing"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// A choosy handler wants only some points, and writes down each that it is
// asked about.
type choosy struct {
	*recorder
	wants   func(point []byte) bool
	asked   [][]byte
	answers []bool // what Mirrors says, one for each Init; then what the recorder does
}

func (c *choosy) Wants(point []byte) bool {
	c.asked = append(c.asked, bytes.Clone(point))
	return c.wants(point)
}

func (c *choosy) Mirrors() bool {
	if len(c.answers) == 0 {
		return c.recorder.Mirrors()
	}
	mirrors := c.answers[0]
	c.answers = c.answers[1:]
	return mirrors
}

func never([]byte) bool  { return false }
func always([]byte) bool { return true }

// odd wants about every other point, and all that cannot be read.
func odd(point []byte) bool {
	return len(point)%2 == 1 || proto.Unmarshal(point, new(agent.Point)) != nil
}

func TestRunAsksBeforeItDecodesAPoint(t *testing.T) {
	t.Parallel()
	p := body(point(5))
	unknown := framed(field(p, 30, "later"))
	batch := frames(begin("b"), point(1), end("b"))
	for _, c := range []struct {
		name  string
		wants func([]byte) bool
		in    []byte // after an Init
		asked [][]byte
		seen  []string
		out   []byte
	}{
		{"a point that changes nothing", never, framed(p), [][]byte{pointOf(p)}, nil, framed(p)},
		{"one that does", always, framed(p), [][]byte{pointOf(p)}, []string{"point 5"}, framed(p)},
		{"an empty one", never, framed([]byte{0x8a, 0x01, 0x00}), [][]byte{{}}, nil, framed([]byte{0x8a, 0x01, 0x00})},
		{"one with lengths longer than they need be", never, oddFrames()["a length with more bytes than it needs"],
			[][]byte{pointOf(p)}, nil, oddFrames()["a length with more bytes than it needs"]},
		{"bytes that the handler took for a point", never, framed(field(nil, pointNumber, "\xff\xff")),
			[][]byte{[]byte("\xff\xff")}, nil, framed(field(nil, pointNumber, "\xff\xff"))},
		{"a point and an unknown field", never, unknown, nil, []string{"point 5"}, unknown},
		{"a point in two parts", never, oddFrames()["the point in two parts"], nil, []string{"point 5"}, oddFrames()["the point in two parts"]},
		{"a point behind another one", never, framed(append(body(point(4)), p...)), nil, []string{"point 5"}, framed(append(body(point(4)), p...))},
		{"a batch", never, batch, [][]byte{pointOf(body(point(1)))}, []string{"begin b", "end b"}, batch},
		{"no data", never, frames(info(), snapshot(), restore(nil)), nil, []string{"info", "snapshot", "restore 0"},
			answers(&agent.Response{Message: &agent.Response_Info{Info: &agent.InfoResponse{Wants: agent.EdgeType_STREAM, Provides: agent.EdgeType_STREAM}}},
				&agent.Response{Message: &agent.Response_Snapshot{Snapshot: &agent.SnapshotResponse{}}},
				&agent.Response{Message: &agent.Response_Restore{Restore: &agent.RestoreResponse{Success: true}}})},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &choosy{recorder: &recorder{}, wants: c.wants}
			out, err := serve(t, h, bytes.NewReader(append(frames(initTask("x")), c.in...)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, append(answers(initDone), c.out...)) {
				t.Errorf("output: %q", out)
			}
			if !slices.EqualFunc(h.asked, c.asked, bytes.Equal) {
				t.Errorf("asked about %q, want %q", h.asked, c.asked)
			}
			// One that changes nothing was seen, too, and is part of a piece.
			equal(t, "handler", h.seen(), append(append([]string{"init x"}, c.seen...), "commit", "stop"))
		})
	}
}

func TestRunLetsNothingOutThatIsNotMirrored(t *testing.T) {
	t.Parallel()
	data := frames(begin("b"), point(1), point(2), end("b"))
	for _, c := range []struct {
		name    string
		wants   func([]byte) bool
		answers []bool // of Mirrors, one for each Init
		in      []byte
		out     []string
		seen    []string
	}{
		{"points that change nothing", never, []bool{false}, append(frames(initTask("a")), data...),
			[]string{"init true "}, []string{"init a", "begin b", "end b"}},
		{"points that do", always, []bool{false}, append(frames(initTask("a")), data...),
			[]string{"init true "}, []string{"init a", "begin b", "point 1", "point 2", "end b"}},
		{"before the first Init", never, []bool{true}, append(frames(point(9)), frames(initTask("a"))...),
			[]string{"init true "}, []string{"init a"}},
		{"after another Init", never, []bool{true, false}, slices.Concat(frames(initTask("a"), point(8), initTask("c")), data, frames(keepalive(3))),
			[]string{"init true ", "point 8", "init true ", "keepalive 3"}, []string{"init a", "init c", "begin b", "end b"}},
		{"until another Init", never, []bool{false, true}, slices.Concat(frames(initTask("a")), data, frames(initTask("c"), point(8))),
			[]string{"init true ", "init true ", "point 8"}, []string{"init a", "begin b", "end b", "init c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &choosy{recorder: &recorder{}, wants: c.wants, answers: c.answers}
			out, err := serve(t, h, bytes.NewReader(c.in))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "output", describe(t, out), c.out)
			equal(t, "handler", h.seen(), append(slices.Clone(c.seen), "commit", "stop"))
		})
	}
}
