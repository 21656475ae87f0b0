package udf

import (
	"context"
	"sync"
	"time"
)

// An alarm ends the wait for the queue when there may be something else to do:
// a lane is no longer shut, or a parked alert's time has come.
type alarm struct {
	mu   sync.Mutex
	wait context.Context // nil until somebody waits
	end  context.CancelFunc
}

// context returns a child of ctx that ends when the alarm rings next. All who
// wait at once give the same ctx.
func (a *alarm) context(ctx context.Context) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wait == nil || a.wait.Err() != nil {
		a.wait, a.end = context.WithCancel(ctx)
	}
	return a.wait
}

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wait != nil {
		a.end()
		a.wait = nil
	}
}

// ringAfter rings after d.
func (a *alarm) ringAfter(d time.Duration) { time.AfterFunc(d, a.ring) }
