package wire

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestRunHandlesEveryMessageInOrder(t *testing.T) {
	t.Parallel()
	in := frames(info(), initTask("cpu"), restore([]byte("abc")), point(1), keepalive(7),
		begin("cpu"), point(2), end("cpu"), snapshot(), point(3))
	h := &recorder{snapshot: []byte("state")}
	out, err := serve(t, h, bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "output", describe(t, out), []string{"info", "init true ", "restore true ", "point 1", "keepalive 7",
		"begin cpu", "point 2", "end cpu", "snapshot 5", "point 3"})
	equal(t, "handler", h.seen(), []string{"info", "init cpu", "restore 3", "point 1",
		"begin cpu", "point 2", "end cpu", "snapshot", "point 3", "commit", "stop"})
}

// oddFrames are data frames that no encoder of today writes, and that must leave
// unchanged all the same (P3).
func oddFrames() map[string][]byte {
	p := body(point(5))
	size := len(p)
	return map[string][]byte{
		"a length with more bytes than it needs": append([]byte{byte(size) | 0x80, byte(size>>7) | 0x80, 0x80, 0x00}, p...),
		"an unknown field":                       framed(protowire.AppendBytes(protowire.AppendTag(slices.Clone(p), 30, protowire.BytesType), []byte("later"))),
		"an empty point":                         framed([]byte{0x8a, 0x01, 0x00}),
		"the point in two parts":                 framed(append(slices.Clone(p), p...)),
	}
}

func TestRunEchoesByteForByte(t *testing.T) {
	t.Parallel()
	cases := map[string][]byte{
		"one point":           frames(point(1)),
		"points in one write": points(50),
		"a batch":             frames(begin("cpu"), point(1), point(2), end("cpu")),
		"a large point": frames(&agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
			FieldsString: map[string]string{"log": strings.Repeat("line\n", 400<<10)}}}}),
	}
	for name, frame := range oddFrames() {
		cases[name] = frame
	}
	readers := map[string]func(io.Reader) io.Reader{
		"at once":                func(r io.Reader) io.Reader { return r },
		"half of what is wanted": iotest.HalfReader,
		"end with the last byte": iotest.DataErrReader,
	}
	for name, data := range cases {
		if len(data) < 1<<20 {
			readers["byte by byte"] = iotest.OneByteReader
		} else {
			delete(readers, "byte by byte")
		}
		for how, reader := range readers {
			t.Run(name+"/"+how, func(t *testing.T) {
				start := frames(initTask("cpu"))
				out, err := serve(t, &recorder{}, reader(bytes.NewReader(append(start, data...))))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(out, append(answers(initDone), data...)) {
					t.Errorf("the data came out changed: %d bytes with the answer, of %d", len(out), len(data))
				}
			})
		}
	}
}

func TestRunTakesASplitAtEveryByte(t *testing.T) {
	t.Parallel()
	in := frames(initTask("cpu"), point(1), keepalive(2), begin("b"), point(3), end("b"))
	whole, err := serve(t, &recorder{}, bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	for at := 1; at < len(in); at++ {
		out, err := serve(t, &recorder{}, &chunks{in[:at], in[at:]})
		if err != nil {
			t.Fatalf("split at %d: %v", at, err)
		}
		if !bytes.Equal(out, whole) {
			t.Fatalf("split at %d: output differs", at)
		}
	}
}

func TestRunMirrorsOnlyIfTheHandlerDoes(t *testing.T) {
	t.Parallel()
	data := frames(begin("b"), point(1), end("b"))
	start := frames(initTask("cpu"))
	for _, c := range []struct {
		name string
		h    agent.Handler
		in   []byte
		want []string
	}{
		{"a Mirror", &recorder{}, append(start, data...), []string{"init true ", "begin b", "point 1", "end b"}},
		{"a Mirror that does not", &recorder{silent: true}, append(start, data...), []string{"init true "}},
		{"no Mirror", plain{&recorder{}}, append(start, data...), []string{"init true "}},
		{"a Mirror before Init", &recorder{}, data, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := serve(t, c.h, bytes.NewReader(c.in))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "output", describe(t, out), c.want)
		})
	}
}

// A piece is what one read brought. A read that completes nothing is none.
func TestRunCommitsOncePerPiece(t *testing.T) {
	t.Parallel()
	p := frames(point(4))
	h := &recorder{}
	_, err := serve(t, h, &chunks{
		frames(initTask("cpu")),
		frames(point(1), point(2), keepalive(3)),
		p[:10],
		p[10:20],
		append(p[20:], frames(snapshot())...),
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "handler", h.seen(), []string{"init cpu", "commit", "point 1", "point 2", "commit",
		"point 4", "snapshot", "commit", "stop"})
}

// calls counts what one Write each brought.
type calls [][]byte

func (c *calls) Write(b []byte) (int, error) {
	*c = append(*c, bytes.Clone(b))
	return len(b), nil
}

func TestRunWritesOncePerPiece(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out calls
		in, peer := io.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- Run(t.Context(), &recorder{}, in, &out, Options{}) }()
		for _, b := range [][]byte{frames(initTask("cpu")), points(100), frames(keepalive(1), point(2), snapshot())} {
			_, _ = peer.Write(b)
			synctest.Wait()
		}
		_ = peer.Close()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if len(out) != 3 || !bytes.Equal(out[1], points(100)) {
			t.Errorf("%d writes for 3 pieces", len(out))
		}
	})
}

// serveHeld serves what is written to peer. Each commit waits for a value of commit,
// or for its end.
func serveHeld(t *testing.T, out io.Writer) (h *recorder, peer io.WriteCloser, commit chan struct{}, ended chan error) {
	commit, ended = make(chan struct{}), make(chan error, 1)
	h = &recorder{onEvent: func(event string) {
		if event == "commit" {
			<-commit
		}
	}}
	in, peer := io.Pipe()
	go func() { ended <- Run(t.Context(), h, in, out, Options{}) }()
	return h, peer, commit, ended
}

// P4: a change is durable before its point goes on.
func TestRunLetsNothingOutBeforeItsCommit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		req  *agent.Request
	}{
		{"a point", point(1)},
		{"an answer", snapshot()},
		{"a keepalive", keepalive(1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out calls
				h, peer, commit, ended := serveHeld(t, &out)
				_, _ = peer.Write(frames(initTask("cpu")))
				commit <- struct{}{}
				_, _ = peer.Write(frames(c.req))
				synctest.Wait()
				if h.count("commit") != 2 || len(out) != 1 {
					t.Errorf("%d writes while the commit is under way, want the one before it", len(out))
				}
				close(commit)
				synctest.Wait()
				if len(out) != 2 {
					t.Errorf("%d writes after the commit, want 2", len(out))
				}
				_ = peer.Close()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// P2: Kapacitor never closes the input of a function whose Init failed.
func TestRunEndsAfterAFailedInit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		init *agent.InitResponse
		want string
	}{
		{"with a reason", &agent.InitResponse{Error: "no app key: set .appKey()"}, "init false no app key: set .appKey()"},
		{"with a reason that a terminal would obey", &agent.InitResponse{Error: "a\x1b[2Jb\u009bc\u202ed\ne"}, "init false a·[2Jb·c·d·e"},
		{"with a reason that is no UTF-8", &agent.InitResponse{Error: "open caf\xe9"}, "init false open caf\uFFFD"},
		{"without", &agent.InitResponse{}, "init false "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &recorder{init: c.init}
				var out bytes.Buffer
				in, peer := io.Pipe()
				ended := make(chan error, 1)
				go func() { ended <- Run(t.Context(), h, in, &out, Options{}) }()
				_, _ = peer.Write(append(frames(info(), initTask("cpu")), points(3)...))
				if err := <-ended; err != nil {
					t.Error(err)
				}
				equal(t, "output", describe(t, out.Bytes()), []string{"info", c.want})
				equal(t, "handler", h.seen(), []string{"info", "init cpu", "commit", "stop"})
			})
		})
	}
}

func TestRunEndsWithAnErrorOfTheHandler(t *testing.T) {
	t.Parallel()
	broken := errors.New("it broke")
	for _, c := range []struct {
		event string
		req   *agent.Request
	}{
		{"info", info()}, {"init x", initTask("x")}, {"snapshot", snapshot()}, {"restore 0", restore(nil)},
		{"begin b", begin("b")}, {"point 9", point(9)}, {"end b", end("b")},
	} {
		t.Run(c.event, func(t *testing.T) {
			h := &recorder{fail: map[string]error{c.event: broken}}
			out, err := serve(t, h, bytes.NewReader(frames(initTask("cpu"), point(1), c.req, point(2))))
			if err != broken {
				t.Errorf("Run returned %v, want the handler's error", err)
			}
			equal(t, "output", describe(t, out), []string{"init true ", "point 1", "error it broke"})
			equal(t, "handler", h.seen(), []string{"init cpu", "point 1", c.event, "commit", "stop"})
		})
	}
}

// no is a handler whose answers are missing.
type no struct{ *recorder }

func (no) Info() (*agent.InfoResponse, error)                            { return nil, nil }
func (no) Init(*agent.InitRequest) (*agent.InitResponse, error)          { return nil, nil }
func (no) Snapshot() (*agent.SnapshotResponse, error)                    { return nil, nil }
func (no) Restore(*agent.RestoreRequest) (*agent.RestoreResponse, error) { return nil, nil }

func TestRunTakesAMissingAnswerForAnEmptyOne(t *testing.T) {
	t.Parallel()
	out, err := serve(t, no{&recorder{}}, bytes.NewReader(frames(info(), snapshot(), restore(nil), initTask("cpu"), point(1))))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "output", describe(t, out), []string{"info", "snapshot 0", "restore false ", "init false "})
}

// P4: Kapacitor forwards a batch when its end has come, so the end is what waits
// for the commit, however the batch falls into pieces.
func TestRunLetsNoEndOfABatchOutBeforeItsCommit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		before [][]byte // pieces
		last   []byte   // the piece with the end
		out    []string // before the last one's commit
	}{
		{"in one piece", nil, frames(begin("b"), point(1), point(2), end("b")), []string{"init true "}},
		{"the end alone", [][]byte{frames(begin("b"), point(1)), frames(point(2))}, frames(end("b")),
			[]string{"init true ", "begin b", "point 1", "point 2"}},
		{"with the end of the one before", [][]byte{frames(begin("a"), point(0))}, frames(end("a"), begin("b"), point(1), end("b")),
			[]string{"init true ", "begin a", "point 0"}},
		{"split within the end", [][]byte{append(frames(begin("b"), point(1)), frames(end("b"))[:3]...)}, frames(end("b"))[3:],
			[]string{"init true ", "begin b", "point 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out calls
				_, peer, commit, ended := serveHeld(t, &out)
				for _, piece := range append([][]byte{frames(initTask("cpu"))}, c.before...) {
					_, _ = peer.Write(piece)
					commit <- struct{}{}
				}
				_, _ = peer.Write(c.last)
				synctest.Wait()
				equal(t, "output while the commit is under way", describe(t, slices.Concat(out...)), c.out)
				close(commit)
				_ = peer.Close()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				all := slices.Concat(append([][]byte{answers(initDone)}, append(c.before, c.last)...)...)
				if got := slices.Concat(out...); !bytes.Equal(got, all) {
					t.Errorf("the batch came out changed: %q", describe(t, got))
				}
			})
		})
	}
}

// badInfo names an option in bytes that are no UTF-8, which protobuf refuses.
type badInfo struct{ *recorder }

func (badInfo) Info() (*agent.InfoResponse, error) {
	return &agent.InfoResponse{Options: map[string]*agent.OptionInfo{"\xff": {}}}, nil
}

func TestRunEndsWithAnAnswerThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	const want = "encode answer to frame 3: string field contains invalid UTF-8"
	out, err := serve(t, badInfo{&recorder{}}, bytes.NewReader(frames(initTask("x"), point(1), info(), point(2))))
	if err == nil || plainSpaces(err.Error()) != want {
		t.Fatalf("Run returned %v", err)
	}
	got := describe(t, out)
	got[len(got)-1] = plainSpaces(got[len(got)-1])
	equal(t, "output", got, []string{"init true ", "point 1", "error " + want})
}
