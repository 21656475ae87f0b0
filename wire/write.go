package wire

import (
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// writeSize is how many bytes one Write is given at most. A piece is one
	// Write; a larger answer is several, so that it is seen to move.
	writeSize = 1 << 20
	// keepSize is the size up to which a buffer that a large answer needed is
	// kept for the next ones.
	keepSize = 1 << 20
	// spareBuffers is how many empty buffers are kept: one is being filled, one
	// written, and one waits.
	spareBuffers = 2
)

// A writer has a goroutine of its own write what it is given, in order, so that
// the giver never waits. put, cut and finish belong to one goroutine.
type writer struct {
	wake    chan struct{} // capacity 1: there is something to do
	moved   chan struct{} // capacity 1: output was taken, or broke
	stopped chan struct{} // closed when pump has ended

	mu      sync.Mutex // guards all below
	queue   [][]byte   // what is to be written, oldest first; pump has taken out what it writes
	spare   [][]byte   // empty buffers
	size    int        // bytes that were put and not yet taken
	err     error      // of the Write that failed; nothing is accepted after it
	noMore  bool       // nothing more is accepted
	lost    int        // bytes that were put after that
	closing bool       // pump ends when the queue is empty
	givenUp bool       // pump ends with the Write that it is in
}

func newWriter(out io.Writer) *writer {
	w := &writer{
		wake:    make(chan struct{}, 1),
		moved:   make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
	go w.pump(out)
	return w
}

// put hands p over to be written and returns an empty buffer to go on with. p is
// no longer the caller's. It is thrown away if out is broken or cut.
func (w *writer) put(p []byte) []byte {
	if len(p) == 0 {
		return p
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noMore {
		w.lost += len(p)
		return reusable(p)
	}
	if w.err != nil {
		return reusable(p)
	}
	w.size += len(p)
	// While nothing is taken small pieces share a buffer: what waits then costs
	// about its own size, and goes out in fewer writes.
	if last := len(w.queue) - 1; last >= 0 && len(w.queue[last])+len(p) <= pieceSize {
		w.queue[last] = append(w.queue[last], p...)
		return reusable(p)
	}
	w.queue = append(w.queue, p)
	signal(w.wake)
	if n := len(w.spare); n > 0 {
		p = w.spare[n-1]
		w.spare = w.spare[:n-1]
		return p
	}
	return make([]byte, 0, pieceSize)
}

// waiting returns how many bytes were put and not yet taken. Those of a Write
// that is under way count. It is 0 once out is broken.
func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// cut makes the output end, between two pieces, with what was put so far.
func (w *writer) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noMore = true
}

// finish waits until all was taken, out broke, or d is over. It returns how many
// bytes were given up, and why out broke. Nothing may be put afterwards.
func (w *writer) finish(d time.Duration) (lost int, err error) {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	signal(w.wake)
	select {
	case <-w.stopped:
	case <-time.After(d):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.givenUp = true
	w.queue = nil
	if w.err != nil {
		return 0, w.err
	}
	return w.size + w.lost, nil
}

func (w *writer) pump(out io.Writer) {
	defer close(w.stopped)
	for {
		b, ok := w.take()
		if !ok {
			return
		}
		for part := range slices.Chunk(b, writeSize) {
			n, err := out.Write(part)
			if err == nil && n < len(part) {
				err = io.ErrShortWrite
			}
			if !w.wrote(n, err) {
				return
			}
		}
		w.give(b)
	}
}

// take waits for the next buffer to write. ok is false when there is none and
// will be none.
func (w *writer) take() (b []byte, ok bool) {
	for {
		w.mu.Lock()
		if len(w.queue) > 0 {
			b = w.queue[0]
			w.queue[0] = nil
			w.queue = w.queue[1:]
			w.mu.Unlock()
			return b, true
		}
		end := w.closing
		w.mu.Unlock()
		if end {
			return nil, false
		}
		<-w.wake
	}
}

// wrote notes the outcome of a Write and tells whether to go on.
func (w *writer) wrote(n int, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.givenUp {
		return false
	}
	w.size -= n
	if err != nil {
		w.err = err
		w.queue, w.spare, w.size = nil, nil, 0
	}
	signal(w.moved)
	return err == nil
}

// give keeps a buffer that was written for the next piece.
func (w *writer) give(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b = reusable(b); b != nil && len(w.spare) < spareBuffers {
		w.spare = append(w.spare, b)
	}
}

// reusable empties a buffer, or drops one that a large answer has made large.
func reusable(b []byte) []byte {
	if cap(b) > keepSize {
		return nil
	}
	return b[:0]
}

// signal wakes the one who waits on c, or lets it not wait the next time.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
