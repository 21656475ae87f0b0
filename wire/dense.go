package wire

import "time"

// Kapacitor writes its points one by one. Where a function sleeps in its read,
// each of these writes wakes it, and that costs Kapacitor as much as all else of
// the write. So while points come densely, the reader sleeps by itself for a
// moment before each read: what is written meanwhile wakes nobody, and one read
// brings all of it.
const (
	// denseWait is how long that is, and so how much later a frame is seen at
	// most. An idle Go process cannot sleep for less.
	denseWait = time.Millisecond
	// denseRate is how many bytes in a microsecond are dense: some 20,000 points
	// in a second. When fewer come, there is little to be saved.
	denseRate = 4
	// denseWindow is how long they must come so. A single large frame, as a
	// snapshot is, comes in less.
	denseWindow = 250 * time.Microsecond
	// bulkRead is how much the reads of a window bring on average when points do
	// not come one by one: then there is always more, and nobody is woken.
	bulkRead = 32 << 10
	// sparseRead is how much a read must bring after a wait, so that there is
	// another: a fourth of what is dense.
	sparseRead = 1 << 10
)

// A density is how densely input comes. Its owner is the goroutine that reads.
type density struct {
	dense bool
	since time.Time // when the window began; zero: it has not
	bytes int       // that have come in it
	reads int
}

// read takes note of what one Read has brought by now.
func (d *density) read(n int, now time.Time) {
	if d.dense {
		d.dense = n >= sparseRead
		return
	}
	if d.since.IsZero() {
		d.since = now // what this Read waited for says nothing of what follows
		return
	}
	d.bytes += n
	d.reads++
	if took := now.Sub(d.since); took >= denseWindow {
		d.dense = int64(d.bytes) >= denseRate*took.Microseconds() && d.bytes < bulkRead*d.reads
		d.since, d.bytes, d.reads = now, 0, 0
	}
}
