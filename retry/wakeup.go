package retry

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Wakeup ends the waits of a sender's workers when there may be something else
// to do. It has no timer: who waits does so until the next time that is known. The
// zero value is ready for use, by several goroutines: mu guards all of it.
type Wakeup struct {
	mu    sync.Mutex
	next  context.Context // ends with the next notify; nil until somebody waits
	end   context.CancelFunc
	times []time.Time // at which there may be something to do
}

// Context returns a child of ctx that ends when the workers are notified, or at
// the next of the times. It is taken before anything is looked at that they are
// notified of. All who wait at once give the same ctx.
func (w *Wakeup) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == nil || w.next.Err() != nil {
		w.next, w.end = context.WithCancel(ctx)
	}
	now := time.Now()
	w.times = slices.DeleteFunc(w.times, func(t time.Time) bool { return !t.After(now) })
	if len(w.times) == 0 {
		return w.next, func() {}
	}
	return context.WithDeadline(w.next, slices.MinFunc(w.times, time.Time.Compare))
}

// Notify ends the waits of all who wait now.
func (w *Wakeup) Notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next != nil {
		w.end()
		w.next = nil
	}
}

// at ends the waits of all who wait at t, and has those who wait now hear of it.
func (w *Wakeup) at(t time.Time) {
	w.mu.Lock()
	w.times = append(w.times, t)
	w.mu.Unlock()
	w.Notify()
}
