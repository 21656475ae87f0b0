package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// field adds a field of bytes to a message.
func field(msg []byte, num protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(slices.Clone(msg), num, protowire.BytesType), value)
}

// Each kind of input that cannot be trusted ends Run: what came before is
// committed and goes out, then Kapacitor is told why.
func TestRunRefusesInputThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	const limit = 1000
	good := body(point(2))
	for _, c := range []struct {
		name string
		in   []byte
		ends bool   // the input ends after it; else it stays open and silent
		want string // a regular expression
	}{
		{"a frame one byte over the limit", binary.AppendUvarint(nil, limit+1), false,
			"read input: a frame of 1001 bytes is over the limit of 1000 bytes"},
		{"the largest length there is", binary.AppendUvarint(nil, 1<<64-1), false,
			"read input: a frame of 18446744073709551615 bytes is over the limit of 1000 bytes"},
		{"a length over 64 bits", append(bytes.Repeat([]byte{0xff}, 9), 2), false,
			"read input: the length of a frame is no 64-bit varint"},
		{"a length that does not end", bytes.Repeat([]byte{0x80}, 10), false,
			"read input: the length of a frame is no 64-bit varint"},
		{"a frame of no bytes", []byte{0}, false, "decode frame 3: it is empty"},
		{"a message of a later version", framed(field(nil, 30, "x")), false,
			"decode frame 3: it holds no request that is known"},
		{"a response", framed(field(nil, 6, "x")), false, "decode frame 3: it holds no request that is known"},
		{"bytes that are no message", framed([]byte("hello")), false, "decode frame 3: proto: cannot parse"},
		{"text on the stream", []byte("\x20panic: runtime error: index out of range"), false, "decode frame 3: proto: "},
		{"a message that is cut", framed(good[:len(good)-1]), false, "decode frame 3: proto: cannot parse"},
		{"a name that is no UTF-8", framed(bytes.Replace(good, []byte("cpu"), []byte("cp\xff"), 1)), false,
			"decode frame 3: .*invalid UTF-8"},
		{"a point with an error", framed(field(good, 6, "\x0a\x01x")), false,
			"decode frame 3: it holds data and something else"},
		{"a point with a request", framed(append(body(info()), good...)), false,
			"decode frame 3: it holds data and something else"},
		{"an end within a length", []byte{0x80}, true, "read input: it ends within a frame, after 1 bytes of it"},
		{"an end within a frame", framed(good)[:20], true, "read input: it ends within a frame, after 20 bytes of it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &recorder{}
				var out bytes.Buffer
				in, peer := io.Pipe()
				go func() {
					_, _ = peer.Write(slices.Concat(frames(initTask("cpu"), point(1)), c.in))
					if c.ends {
						_ = peer.Close()
					}
				}()
				err := Run(t.Context(), h, in, &out, Options{MaxFrame: limit})
				if err == nil {
					t.Fatal("Run returned no error")
				}
				if !regexp.MustCompile("^" + c.want).MatchString(plainSpaces(err.Error())) {
					t.Errorf("Run returned %v, want %s", err, c.want)
				}
				got := describe(t, out.Bytes())
				if len(got) != 3 || got[1] != "point 1" || plainSpaces(got[2]) != "error "+plainSpaces(err.Error()) {
					t.Errorf("output: %q", got)
				}
				equal(t, "handler", h.seen(), []string{"init cpu", "point 1", "commit", "stop"})
			})
		})
	}
}

// plainSpaces undoes that the protobuf library varies the spaces in its errors.
func plainSpaces(s string) string { return strings.ReplaceAll(s, "\u00a0", " ") }

func TestRunEndsWithAnErrorOfTheInput(t *testing.T) {
	t.Parallel()
	gone := errors.New("connection reset")
	for _, c := range []struct {
		name string
		in   io.Reader
		want error
	}{
		{"after the data", io.MultiReader(bytes.NewReader(frames(point(1))), iotest.ErrReader(gone)), gone},
		{"with the data", iotest.DataErrReader(io.MultiReader(bytes.NewReader(frames(point(1))), iotest.ErrReader(gone))), gone},
		{"no bytes and no error, for ever", io.MultiReader(bytes.NewReader(frames(point(1))), stuck{}), io.ErrNoProgress},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &recorder{}
			out, err := serve(t, h, c.in)
			if !errors.Is(err, c.want) {
				t.Errorf("Run returned %v, want %v", err, c.want)
			}
			equal(t, "output", describe(t, out), []string{"error read input: " + c.want.Error()})
			equal(t, "handler", h.seen(), []string{"point 1", "commit", "stop"})
		})
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestRunTakesAFrameOfExactlyTheLimit(t *testing.T) {
	t.Parallel()
	for _, size := range []int{200, pieceSize - 10, pieceSize, pieceSize + 10, 3*pieceSize + 1, 4 << 20} {
		req := restore(make([]byte, size))
		in := frames(req, point(1))
		h := &recorder{}
		err := Run(t.Context(), h, bytes.NewReader(in), io.Discard, Options{MaxFrame: len(body(req))})
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if h.count("restore") != 1 || h.count("point") != 1 {
			t.Errorf("%d bytes: handler saw %q", size, h.seen())
		}
	}
}

// A length is a claim. Memory follows what came.
func TestRunAllocatesByWhatCame(t *testing.T) {
	claim := append(binary.AppendUvarint(nil, 1<<30), make([]byte, 10)...)
	n := allocated(func() {
		if err := Run(t.Context(), &recorder{}, bytes.NewReader(claim), io.Discard, Options{MaxFrame: 2 << 30}); err == nil {
			t.Error("Run returned no error")
		}
	})
	if n > 4*pieceSize {
		t.Errorf("a frame that claims 1 GiB and brings 10 bytes allocated %d bytes", n)
	}
}

func TestReaderLetsGoOfALargeBuffer(t *testing.T) {
	t.Parallel()
	large := framed(make([]byte, 8<<20))
	r := newReader(&chunks{large, points(1), points(1)}, DefaultMaxFrame, false)
	defer r.close()
	sizes := []int{}
	for {
		got, err := r.begin(pieceSize)
		if err == nil {
			err = r.took(<-got)
		}
		if err != nil {
			break
		}
		for {
			frame, _, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			if frame == nil {
				break
			}
			sizes = append(sizes, len(r.buf))
		}
	}
	if len(sizes) != 3 || sizes[0] < len(large) || sizes[1] != headroom+pieceSize || sizes[2] != headroom+pieceSize {
		t.Errorf("sizes of the buffer at each frame: %d", sizes)
	}
}

// Points in their steady flow cost no buffers.
func TestRunReusesItsBuffers(t *testing.T) {
	const rounds = 50
	piece := points(1500) // below pieceSize
	in := make(chunks, rounds)
	for i := range in {
		in[i] = piece
	}
	h := &ignorer{}
	host := allocated(func() {
		if err := Run(t.Context(), h, &in, io.Discard, Options{}); err != nil {
			t.Error(err)
		}
	})
	if h.points != rounds*1500 {
		t.Fatalf("%d points", h.points)
	}
	decoding := allocated(func() {
		p := body(point(1))
		var req agent.Request
		for range h.points {
			if err := proto.Unmarshal(p, &req); err != nil {
				t.Error(err)
			}
		}
	})
	if more := int64(host) - int64(decoding); more > rounds*int64(len(piece))/2 {
		t.Errorf("%d bytes allocated besides those of decoding, for %d bytes of input", more, rounds*len(piece))
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// ignorer takes everything and keeps nothing.
type ignorer struct {
	recorder
	points int
}

func (i *ignorer) Point(*agent.Point) error { i.points++; return nil }
func (i *ignorer) Commit()                  {}
