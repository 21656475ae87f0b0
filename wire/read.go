package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// pieceSize is how many bytes one read brings at most, and so, but for a
	// frame that is larger, how much one Commit covers. A pipe gives 64 KiB at
	// a time; a socket can give more.
	pieceSize = 256 << 10
	// headroom is what a buffer has in front for the part of a frame that the
	// read before has left: more than points are long.
	headroom = 64 << 10
	// busySize is how many bytes are there when more is likely to follow at once:
	// then the next read begins before they are handled.
	busySize = 16 << 10
	// earlyPiece is pieceSize before the first Init that succeeds: whoever has said
	// nothing yet gets little memory.
	earlyPiece = 16 << 10
	// maxEmptyReads is how many reads in a row may bring neither bytes nor an
	// error before the stream counts as broken.
	maxEmptyReads = 100
)

// A reader cuts a stream into frames. Reading itself is done by a goroutine of
// its own, one read at a time and only on demand, so that a caller can stop
// waiting for it, or go on with what the last one brought. All methods belong to
// one goroutine.
//
//	buf:  | headroom  | handled |  frame  |  frame  | part of one | free |
//	                            start                             end
//	next: | headroom  | a read is under way …                            |
type reader struct {
	max        int  // largest length of a frame, in bytes
	piece      int  // how much one read may bring, in bytes
	early      bool // max is only until Init
	buf        []byte
	start, end int
	spare      []byte // for the next read, which owns it while reading
	err        error  // came with bytes; returned by the next begin
	empty      int    // reads in a row that brought nothing
	reading    bool   // a read is under way

	want    chan []byte   // where to read to
	got     chan readDone // capacity 1, so that pump never waits for a caller that left
	stopped chan struct{} // closed when pump has ended
}

// readDone is the outcome of one Read.
type readDone struct {
	n   int
	err error
}

// newReader reads frames of at most max bytes, as those before Init are if early.
func newReader(in io.Reader, max int, early bool) *reader {
	r := &reader{
		max:     max,
		piece:   pieceSize,
		early:   early,
		want:    make(chan []byte),
		got:     make(chan readDone, 1),
		stopped: make(chan struct{}),
	}
	if early {
		r.piece = earlyPiece
	}
	go r.pump(in)
	return r
}

// grow is called once frames may have max bytes.
func (r *reader) grow(max int) { r.max, r.piece, r.early = max, pieceSize, false }

func (r *reader) pump(in io.Reader) {
	defer close(r.stopped)
	var d density
	for b := range r.want {
		if d.dense {
			time.Sleep(denseWait)
		}
		n, err := in.Read(b)
		d.read(n, time.Now())
		r.got <- readDone{n, err}
	}
}

// begin starts one read of at most limit bytes, if none is under way. Its
// outcome comes on the channel and is to be handed to took. An error is the one
// that the last read brought along with its bytes.
func (r *reader) begin(limit int) (<-chan readDone, error) {
	if r.err != nil {
		return nil, r.err
	}
	if !r.reading {
		r.reading = true
		limit = min(limit, r.piece)
		if len(r.spare) < headroom+limit {
			r.spare = make([]byte, headroom+r.piece)
		}
		r.want <- r.spare[headroom : headroom+limit]
	}
	return r.got, nil
}

// took takes over what a read brought. The frames of the one before are no
// longer valid.
func (r *reader) took(res readDone) error {
	r.reading = false
	if r.empty++; res.n > 0 {
		r.empty = 0
	}
	err := res.err
	if err == nil && r.empty >= maxEmptyReads {
		err = io.ErrNoProgress
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read input: %w", err)
	}
	if res.n == 0 {
		return err
	}
	r.err = err
	r.join(res.n)
	return nil
}

// join puts what was read behind the part of a frame that is left.
func (r *reader) join(n int) {
	part, read := r.buf[r.start:r.end], r.spare[headroom:headroom+n]
	switch {
	case len(part) <= headroom:
		copy(r.spare[headroom-len(part):], part)
		r.buf, r.spare = r.spare, r.buf
		r.start, r.end = headroom-len(part), headroom+n
		if len(r.spare) > headroom+pieceSize {
			r.spare = nil // a large frame is over
		}
		return
	case len(part)+n > len(r.buf):
		// Twice as much: never as much as a frame says of itself.
		r.buf = make([]byte, max(min(2*len(r.buf), r.max+binary.MaxVarintLen64), len(part)+n))
		copy(r.buf, part)
	case r.end+n > len(r.buf):
		copy(r.buf, part)
	default:
		r.end += copy(r.buf[r.end:], read)
		return
	}
	r.start, r.end = 0, len(part)+copy(r.buf[len(part):], read)
}

// busy reports whether so much is there that more is likely to follow at once.
func (r *reader) busy() bool { return r.end-r.start >= busySize }

// next returns the next whole frame, and its body: the frame without the length
// in front. frame is nil when more must be read first. Both are valid until the
// next took.
func (r *reader) next() (frame, body []byte, err error) {
	b := r.buf[r.start:r.end]
	size, n := binary.Uvarint(b)
	switch {
	case n < 0, n == 0 && len(b) >= binary.MaxVarintLen64:
		return nil, nil, errors.New("the length of a frame is no 64-bit varint")
	case n == 0:
		return nil, nil, nil
	case size > uint64(r.max) && r.early:
		return nil, nil, fmt.Errorf("a frame of %d bytes before Init is over the limit of %d bytes: this is not Kapacitor, or its stream is out of step", size, r.max)
	case size > uint64(r.max):
		return nil, nil, fmt.Errorf("a frame of %d bytes is over the limit of %d bytes: raise --max-frame, unless the stream is out of step", size, r.max)
	case uint64(len(b)-n) < size:
		return nil, nil, nil
	}
	total := n + int(size)
	r.start += total
	return b[:total:total], b[n:total:total], nil
}

// atEnd says what the end of the stream means where it came: nil between two
// frames.
func (r *reader) atEnd() error {
	if n := r.end - r.start; n > 0 {
		return fmt.Errorf("read input: it ends within a frame, after %d bytes of it", n)
	}
	return nil
}

// close ends the goroutine, at once or with the read that is under way.
func (r *reader) close() {
	close(r.want)
	if !r.reading {
		<-r.stopped
	}
}
