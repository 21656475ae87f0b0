package udf

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/cenkalti/backoff/v5"
)

// inARow is how often BigPanda may refuse a single alert of an app key, with
// none accepted in between, or ask a batch of it to come later, before that is
// no longer taken for the alert's or the batch's own fault.
const inARow = 10

// lanes are the app keys. One is held while it is not known whether BigPanda
// takes its alerts:
//
//	open ──hold──▶ shut ──time──▶ due ──claim──▶ a probe ──accepted──▶ open
//	                 ▲                               │
//	                 └────────────failed─────────────┘
type lanes struct {
	log   *slog.Logger
	alarm *alarm

	mu    sync.Mutex
	byKey map[string]*lane // only ever grows: there are few app keys
}

type lane struct {
	held    bool
	since   time.Time // when it was
	why     string
	probing bool
	until   time.Time // of held: when it is due
	backoff *backoff.ExponentialBackOff
	said    complaint

	accepted int // requests

	// Since the last one was accepted:
	refused int // single alerts
	alone   int // single alerts that failed
}

func (l *lanes) init(log *slog.Logger, a *alarm) {
	l.log, l.alarm, l.byKey = log, a, make(map[string]*lane)
}

// get returns a lane. l is locked.
func (l *lanes) get(key string) *lane {
	if l.byKey[key] == nil {
		l.byKey[key] = new(lane)
	}
	return l.byKey[key]
}

// held reports whether a lane's alerts are held, apart from one that tries.
func (l *lanes) held(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.get(key).held
}

// shut reports whether nothing of a lane may be sent now.
func (l *lanes) shut(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.get(key).shut()
}

func (l *lane) shut() bool { return l.held && (l.probing || time.Now().Before(l.until)) }

// due reports whether there is a held lane that may be tried.
func (l *lanes) due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.byKey {
		if lane.held && !lane.shut() {
			return true
		}
	}
	return false
}

// claim asks to send a lane's alerts: free says whether that may be, and probe
// that only one of them may be tried, to be followed by accepted, failed or
// leave.
func (l *lanes) claim(key string) (probe, free bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.get(key)
	switch {
	case !lane.held:
		return false, true
	case lane.shut():
		return false, false
	}
	lane.probing = true
	return true, true
}

// hold keeps a lane's alerts back until one is accepted.
func (l *lanes) hold(key string, why *bigpanda.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holdLocked(key, why)
}

func (l *lanes) holdLocked(key string, why *bigpanda.Error) {
	lane := l.get(key)
	lane.why = why.Error()
	l.complain(key, why)
	// A request that was under way when the lane was held says nothing new.
	if lane.held {
		return
	}
	lane.held, lane.since = true, time.Now()
	lane.backoff = newBackoff(retryInitial, retryMax)
	if why.Class != bigpanda.Retry {
		lane.backoff = newBackoff(holdInitial, holdMax)
	}
	l.again(lane, why)
}

// failed ends a probe that was not accepted.
func (l *lanes) failed(key string, why *bigpanda.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.get(key)
	switch {
	case !lane.held: // another request was accepted meanwhile
	case why.Class == bigpanda.Refused && lane.refused < inARow:
		// It is held for something else, which is over: this is an answer.
		l.open(key, lane)
	default:
		l.complain(key, why)
		l.again(lane, why)
	}
}

// complain logs why a lane is held. What may concern all lanes is logged
// elsewhere.
func (l *lanes) complain(key string, why *bigpanda.Error) {
	if why.Class == bigpanda.Retry || why.Class == bigpanda.Hold {
		return
	}
	if l.get(key).said.met(why.Reason) {
		l.log.Error("the alerts of an app key are held", "app_key", key, "reason", why.Reason, "error", why)
	}
}

func (l *lanes) again(lane *lane, why *bigpanda.Error) {
	wait := max(lane.backoff.NextBackOff(), why.RetryAfter)
	lane.probing, lane.until = false, time.Now().Add(wait)
	l.alarm.ringAfter(wait)
}

// report tells which app keys are held, and why.
func (l *lanes) report() (all []outbox.Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(l.byKey)) {
		if lane := l.byKey[key]; lane.held {
			all = append(all, outbox.Held{AppKey: key, Reason: lane.why, Since: lane.since})
		}
	}
	return all
}

// leave ends a probe that came to nothing.
func (l *lanes) leave(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.get(key).probing = false
	l.alarm.ring()
}

// accepted says that BigPanda took an alert of a lane.
func (l *lanes) accepted(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.get(key)
	lane.accepted++
	lane.refused, lane.alone = 0, 0
	if lane.held {
		l.open(key, lane)
	}
}

// count returns how many requests of an app key BigPanda accepted so far.
func (l *lanes) count(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.get(key).accepted
}

func (l *lanes) open(key string, lane *lane) {
	if lane.said.over() {
		l.log.Info("the alerts of an app key are no longer held", "app_key", key)
	}
	lane.held, lane.probing = false, false
	l.alarm.ring()
}

// refused counts a single alert that BigPanda refused, and reports whether the
// fault is taken for the alert's own. If not, its lane is held.
func (l *lanes) refused(key string, why *bigpanda.Error) (own bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.get(key)
	if lane.held {
		return false // a request that was under way when the lane was held
	}
	if lane.refused++; lane.refused < inARow {
		return true
	}
	l.holdLocked(key, why)
	return false
}

// failedAlone counts an alert that failed by itself, and reports whether the
// fault is taken for its own: it is for the first, since with one alert there
// is nothing to compare, and for some more where others passed.
func (l *lanes) failedAlone(key string, othersPass bool) (own bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.get(key)
	lane.alone++
	return !lane.held && (lane.alone == 1 || othersPass && lane.alone < inARow)
}
