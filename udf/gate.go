package udf

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/cenkalti/backoff/v5"
)

// A gate stands before every request. It spaces them out, where there is a
// rate limit; it is shut for a while after BigPanda asked for less; and while
// everything is held, it lets one at a time try whether what was wrong is
// mended.
type gate struct {
	log    *slog.Logger
	spaced time.Duration // from one request to the next

	mu       sync.Mutex
	next     time.Time // when the next request may start
	until    time.Time // how long it is shut
	held     bool      // until a request is accepted
	since    time.Time // when it was
	why      string
	probing  bool // a request is under way that tries
	tries    *backoff.ExponentialBackOff
	throttle *backoff.ExponentialBackOff
	said     complaint
	changed  chan struct{} // closed, and made anew, when who waits should look again
}

func (g *gate) init(log *slog.Logger, rate float64) {
	g.log = log
	if rate > 0 {
		g.spaced = time.Duration(float64(time.Second) / rate)
	}
	g.tries = newBackoff(holdInitial, holdMax)
	g.throttle = newBackoff(retryInitial, retryMax)
	g.changed = make(chan struct{})
}

// wait returns when a request may start. One that is a probe must end with
// open, failed or leave. The error is ctx's.
func (g *gate) wait(ctx context.Context) (probe bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		g.mu.Lock()
		shut := max(time.Until(g.until), time.Until(g.next))
		trying := g.held && g.probing
		if shut <= 0 && !trying {
			g.next = time.Now().Add(g.spaced)
			g.probing, probe = g.held, g.held
			g.mu.Unlock()
			return probe, nil
		}
		changed := g.changed
		g.mu.Unlock()

		var over <-chan time.Time
		if !trying {
			over = time.After(shut)
		}
		select {
		case <-changed:
		case <-over:
		case <-ctx.Done():
		}
	}
}

// hold shuts the gate until a request is accepted.
func (g *gate) hold(why *bigpanda.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.said.met(why.Reason) {
		g.log.Error("all alerts are held", "reason", why.Reason, "error", why)
	}
	// A request that was under way when the gate was shut says nothing new.
	g.why = why.Error()
	if !g.held {
		g.held, g.since = true, time.Now()
		g.again(why)
	}
}

// report tells whether everything is held, and why.
func (g *gate) report() []outbox.Held {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.held {
		return nil
	}
	return []outbox.Held{{Reason: g.why, Since: g.since}}
}

// failed says that BigPanda did not accept a request, and that this may have
// nothing to do with what was in it.
func (g *gate) failed(probe bool, why *bigpanda.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.held && probe:
		g.again(why)
	case !g.held && why.Reason == bigpanda.ReasonThrottled:
		wait := why.RetryAfter
		if time.Until(g.until) <= 0 { // else it is paused already
			wait = max(wait, g.throttle.NextBackOff())
		}
		if until := time.Now().Add(wait); until.After(g.until) {
			g.until = until
		}
	}
}

// again sets the time of the next try.
func (g *gate) again(why *bigpanda.Error) {
	g.until = time.Now().Add(max(g.tries.NextBackOff(), why.RetryAfter))
	g.change()
}

// leave ends a request that came to nothing.
func (g *gate) leave(probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		g.change()
	}
}

// open says that BigPanda takes alerts.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.throttle.Reset()
	if !g.held {
		return
	}
	if g.said.over() {
		g.log.Info("alerts are no longer held")
	}
	g.held, g.until = false, time.Time{}
	g.tries.Reset()
	g.change()
}

func (g *gate) change() {
	g.probing = false
	close(g.changed)
	g.changed = make(chan struct{})
}
