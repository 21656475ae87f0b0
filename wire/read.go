package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// pieceSize is how many bytes one read brings at most, and so, but for a
	// frame that is larger, how much one Commit covers. A pipe gives 64 KiB at
	// a time; a socket can give more.
	pieceSize = 256 << 10
	// keepSize is the size up to which a buffer that a large frame needed is
	// kept for the next ones.
	keepSize = 1 << 20
	// maxEmptyReads is how many reads in a row may bring neither bytes nor an
	// error before the stream counts as broken.
	maxEmptyReads = 100
)

// A reader cuts a stream into frames. Reading itself is done by a goroutine of
// its own, one read at a time and only on demand, so that a caller can stop
// waiting for it. All methods belong to one goroutine.
//
//	buf:  | handled |  frame  |  frame  | part of one | free |
//	      0       start                              end    len
type reader struct {
	max        int // largest length of a frame, in bytes
	buf        []byte
	start, end int
	err        error // came with bytes; returned by the next begin
	empty      int   // reads in a row that brought nothing
	reading    bool  // a read is under way and owns buf[end:]

	want    chan []byte   // where to read to
	got     chan readDone // capacity 1, so that pump never waits for a caller that left
	stopped chan struct{} // closed when pump has ended
}

// readDone is the outcome of one Read.
type readDone struct {
	n   int
	err error
}

func newReader(in io.Reader, max int) *reader {
	r := &reader{
		max:     max,
		buf:     make([]byte, pieceSize),
		want:    make(chan []byte),
		got:     make(chan readDone, 1),
		stopped: make(chan struct{}),
	}
	go r.pump(in)
	return r
}

func (r *reader) pump(in io.Reader) {
	defer close(r.stopped)
	for b := range r.want {
		n, err := in.Read(b)
		r.got <- readDone{n, err}
	}
}

// begin starts one read of at most limit bytes. Its outcome comes on the channel
// and is to be handed to took; until then no other method but close may be
// called. An error is the one that the last read brought along with its bytes.
func (r *reader) begin(limit int) (<-chan readDone, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.makeRoom()
	r.reading = true
	r.want <- r.buf[r.end:min(len(r.buf), r.end+limit)]
	return r.got, nil
}

// took takes over what a read brought.
func (r *reader) took(res readDone) error {
	r.reading = false
	r.end += res.n
	if res.n > 0 {
		r.empty = 0
		r.err = res.err
		return nil
	}
	if res.err == nil {
		if r.empty++; r.empty >= maxEmptyReads {
			return io.ErrNoProgress
		}
	}
	return res.err
}

// makeRoom moves the part of a frame that is left to the front of the buffer. A
// buffer that is full doubles: it never grows by what a frame says of itself.
func (r *reader) makeRoom() {
	part := r.buf[r.start:r.end]
	switch {
	case len(r.buf) > keepSize && len(part) < pieceSize/2:
		r.buf = make([]byte, pieceSize)
		copy(r.buf, part)
	case r.start > 0:
		copy(r.buf, part)
	case r.end == len(r.buf):
		// A whole frame would have been handled, so this one is longer than
		// the buffer, and the largest one is longer than that.
		r.buf = make([]byte, min(2*len(r.buf), r.max+binary.MaxVarintLen64))
		copy(r.buf, part)
	}
	r.start, r.end = 0, len(part)
}

// next returns the next whole frame, and its body: the frame without the length
// in front. frame is nil when more must be read first. Both are valid until the
// next begin.
func (r *reader) next() (frame, body []byte, err error) {
	b := r.buf[r.start:r.end]
	size, n := binary.Uvarint(b)
	switch {
	case n < 0, n == 0 && len(b) >= binary.MaxVarintLen64:
		return nil, nil, errors.New("the length of a frame is no 64-bit varint")
	case n == 0:
		return nil, nil, nil
	case size > uint64(r.max):
		return nil, nil, fmt.Errorf("a frame of %d bytes is over the limit of %d bytes", size, r.max)
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
