package retry

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"

	"github.com/cenkalti/backoff/v5"
)

// A Breaker holds the alerts of one scope, everything or an app key, while it is
// not known whether BigPanda takes them. It is used by all of a sender's workers:
// mu guards what stands below it.
type Breaker struct {
	everything       bool
	logHeld, logFree string // what the log says
	log              *slog.Logger
	wakeup           *Wakeup

	mu      sync.Mutex
	held    bool
	since   time.Time // when it was
	why     string
	cause   bigpanda.Reason
	probing bool      // a request is under way that tries
	due     time.Time // of held: when the next may
	backoff *backoff.ExponentialBackOff
	said    LogLimiter

	accepted int // requests

	// Since the last one was accepted:
	refused int // single alerts
	alone   int // single alerts that failed
}

// Held reports whether the alerts are held, apart from one that tries.
func (b *Breaker) Held() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// shut reports whether none of the alerts may even try. mu is locked.
func (b *Breaker) shut() bool { return b.held && (b.probing || time.Now().Before(b.due)) }

// Claim asks to send alerts: free says whether that may be, and probe that only
// one request may be tried, to be followed by Accepted, Failed or Leave.
func (b *Breaker) Claim() (probe, free bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut() {
		return false, false
	}
	b.probing = b.held
	return b.held, true
}

// Wait is Claim, when it is free. The error is that ctx has ended.
func (b *Breaker) Wait(ctx context.Context) (probe bool, err *bigpanda.Error) {
	for free := false; !free; {
		if ctx.Err() != nil {
			return false, canceled(ctx)
		}
		changed, cancel := b.wakeup.Context(ctx)
		if probe, free = b.Claim(); !free {
			<-changed.Done()
		}
		cancel()
	}
	return probe, nil
}

// Hold keeps the alerts back until one is accepted.
func (b *Breaker) Hold(why *bigpanda.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold(why)
}

// hold is Hold, with mu locked.
func (b *Breaker) hold(why *bigpanda.Error) {
	b.why, b.cause = why.Error(), why.Reason
	b.logCause(why)
	// A request that was under way when they were held says nothing new.
	if b.held {
		return
	}
	b.held, b.since = true, time.Now()
	b.backoff = NewBackoff(HeldInitial, HeldMax)
	if why.Class == bigpanda.Retry {
		b.backoff = NewBackoff(FailureInitial, FailureMax)
	}
	b.again(why)
}

// Failed ends a probe that was not accepted.
func (b *Breaker) Failed(why *bigpanda.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.held: // another request was accepted meanwhile
	case why.Class == bigpanda.Refused && b.refused < InARow:
		// They are held for something else, which is over: this is an answer.
		b.close()
	default:
		b.logCause(why)
		b.again(why)
	}
}

// again sets the time of the next probe. mu is locked.
func (b *Breaker) again(why *bigpanda.Error) {
	b.probing = false
	b.due = time.Now().Add(max(b.backoff.NextBackOff(), why.RetryAfter))
	b.wakeup.at(b.due)
}

// Leave ends a probe that came to nothing.
func (b *Breaker) Leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	b.wakeup.Notify()
}

// Accepted says that BigPanda takes alerts of the scope.
func (b *Breaker) Accepted() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accepted++
	b.refused, b.alone = 0, 0
	if b.held {
		b.close()
	}
}

// close lets the alerts go. mu is locked.
func (b *Breaker) close() {
	b.held, b.probing = false, false
	b.wakeup.Notify()
	if b.said.Over() {
		b.log.Info(b.logFree)
	}
}

// logCause logs why the alerts are held, but for what concerns another scope, where
// it is logged.
func (b *Breaker) logCause(why *bigpanda.Error) {
	if why.Class != bigpanda.Retry && (why.Class == bigpanda.Hold) == b.everything && b.said.Met(why.Reason) {
		b.log.Error(b.logHeld, "reason", why.Reason, "error", why)
	}
}

// Count returns how many requests BigPanda has accepted so far.
func (b *Breaker) Count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accepted
}

// Refused counts a single alert that BigPanda refused, and reports whether the
// fault is taken for the alert's own. If not, the scope is held.
func (b *Breaker) Refused(why *bigpanda.Error) (own bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held {
		return false // a request that was under way when it was
	}
	if b.refused++; b.refused < InARow {
		return true
	}
	b.hold(why)
	return false
}

// FailedAlone counts an alert that failed by itself, and reports whether the fault
// is taken for its own: it is for the first, since with one alert there is nothing
// to compare, and for some more where others passed.
func (b *Breaker) FailedAlone(othersPass bool) (own bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.alone++
	return !b.held && (b.alone == 1 || othersPass && b.alone < InARow)
}

// Breakers are those of a sender. They are used by all of its workers.
type Breakers struct {
	Everything *Breaker

	mu      sync.Mutex          // guards appKeys
	appKeys map[string]*Breaker // only ever grows: there are few
}

// NewBreakers returns those of a sender whose workers wait with w.
func NewBreakers(log *slog.Logger, w *Wakeup) *Breakers {
	all := &Breaker{everything: true, logHeld: "all alerts are held", logFree: "alerts are no longer held", log: log, wakeup: w}
	return &Breakers{Everything: all, appKeys: make(map[string]*Breaker)}
}

// Of returns the breaker of an app key.
func (s *Breakers) Of(appKey string) *Breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.appKeys[appKey]
	if b == nil {
		b = &Breaker{
			logHeld: "the alerts of an app key are held",
			logFree: "the alerts of an app key are no longer held",
			log:     s.Everything.log.With("app_key", appKey), wakeup: s.Everything.wakeup,
		}
		s.appKeys[appKey] = b
	}
	return b
}

// Shut reports whether nothing of an app key may be sent now.
func (s *Breakers) Shut(appKey string) bool {
	b := s.Of(appKey)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shut()
}

// Due reports whether there is a held app key that may be tried.
func (s *Breakers) Due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.appKeys {
		b.mu.Lock()
		due := b.held && !b.shut()
		b.mu.Unlock()
		if due {
			return true
		}
	}
	return false
}

// Held is what keeps alerts from being sent.
type Held struct {
	AppKey string // "" for all
	Reason string
	Cause  string // a bigpanda.Reason
	Since  time.Time
}

// Held tells what is held, and why.
func (s *Breakers) Held() (all []Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(appKey string, b *Breaker) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.held {
			all = append(all, Held{appKey, b.why, string(b.cause), b.since})
		}
	}
	add("", s.Everything)
	for _, key := range slices.Sorted(maps.Keys(s.appKeys)) {
		add(key, s.appKeys[key])
	}
	return all
}
