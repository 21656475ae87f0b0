package udf

import (
	"container/list"
	"math"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/counters"
	"bigpanda-udf/outbox"
)

// Of the alerts that were resolved, the last timestamp is remembered: BigPanda
// drops an event that is not later than the last one of its alert (BigPanda,
// docs/deduplication), and one that opens again may come within the second, or
// late. Those of a minute are, by the machine's clock, and besides so many, each
// until as many others were resolved after it: no clock of a point has a say.
const (
	resolvedMemory = time.Minute
	maxResolved    = 1000
	// maxForgotten is how many are forgotten at once: points wait for it.
	maxForgotten = 1000
)

// state is what BigPanda was told: the level of every series that is not OK,
// and the last timestamp of every alert of theirs, and of alerts that were
// resolved. Its size follows the number of active alerts (P7).
type state struct {
	series   map[string]*series        // by series key; none is OK
	alerts   map[string]*alert         // by Identity.Key
	resolved map[string]*list.Element  // by the key of the level in the outbox
	order    *list.List                // of *resolution, what was resolved first in front
	names    []names                   // the first are none
	newest   int64                     // the newest point time seen, in Unix seconds
	active   [len(counters.Levels)]int // series, by level
	now      moment                    // when the points at hand came
	pending  []outbox.Level            // not yet in the outbox
}

// A series is what was last told of a series that is not OK.
type series struct {
	level     Level
	again     bool   // it is to be told again, at whatever level
	grown     bool   // the duration has, since the incident was told
	incidents uint8  // in a row that were short and soon after each other
	lasted    uint32 // from the change of the level to told, in seconds: it was told repeatedly
	told      int64  // time of the point that was told, in Unix nanoseconds
	last      int64  // time of the newest point, in Unix nanoseconds
	seen      moment // when the last point came, of whatever time
	alert     *alert
}

// since returns the time of the point that changed the level, in Unix seconds.
func (s *series) since() int64 { return unix(s.told) - int64(s.lasted) }

// An alert is what BigPanda takes for one.
//
// There may be a million of them: what makes up the identity is kept once, as
// the key, and the names, which most alerts share.
type alert struct {
	key   string // Identity.Key(), as it was when the alert opened
	last  int64  // the newest timestamp sent, in Unix seconds
	open  uint32 // how many series make it
	names uint32 // of its properties when it opened, an index of state.names
}

// names are those of an alert's primary and secondary property.
type names struct{ primary, secondary string }

// maxNames is how many different names are remembered: they may come with the
// data. An identity without them does as well, under other names.
const maxNames = 1000

func (s *state) name(i bigpanda.Identity) uint32 {
	n := names{i.Primary, i.Secondary}
	at := slices.Index(s.names, n)
	if at < 0 && len(s.names) < maxNames {
		at = len(s.names)
		s.names = append(s.names, names{strings.Clone(n.primary), strings.Clone(n.secondary)})
	}
	return uint32(max(0, at))
}

// identity returns what an alert was when it opened.
func (s *state) identity(a *alert) bigpanda.Identity {
	n := s.names[a.names]
	return bigpanda.ParseKey(a.key, n.primary, n.secondary)
}

// A resolution is what is remembered of a series that went OK, or of an alert
// which that series no longer makes.
type resolution struct {
	key   string // of the level in the outbox
	alert *alert
	last  int64  // the timestamp that was told
	at    uint32 // when, in Unix seconds of the machine's clock
}

// appendSeriesKey joins what makes a series: ids may repeat across groups, and
// groups may hold several ids.
func appendSeriesKey(b, group, id []byte) []byte {
	return append(append(append(b, group...), 0), id...)
}

func newState() *state {
	return &state{
		series:   make(map[string]*series),
		alerts:   make(map[string]*alert),
		resolved: make(map[string]*list.Element),
		order:    list.New(),
		names:    make([]names, 1),
		newest:   math.MinInt64,
	}
}

// saw takes note of a point's time, in Unix nanoseconds.
func (s *state) saw(t int64) { s.newest = max(s.newest, unix(t)) }

// update takes note of what BigPanda is told of a series: it fixes the payload's
// identity and timestamp, and returns the alert's key. shared reports that another
// open series makes the same alert.
func (s *state) update(key string, e *event, p *bigpanda.Payload) (alertKey string, shared bool) {
	p.Timestamp = unix(e.time)
	since := p.Timestamp
	known, open := s.series[key]
	var a *alert
	if open {
		a = known.alert
		if known.level == e.level && !e.begins {
			since = min(since, known.since())
		}
	} else {
		identity := p.Identity()
		a = s.alert(identity.Key())
		if shared = a.open > 0; !shared {
			a.names = s.name(identity)
		}
		s.reopen(key, a)
	}
	if p.Timestamp <= a.last {
		p.Timestamp = a.last + 1
	}
	a.last = p.Timestamp
	// Even an alert that opens may need it: its primary property may be the
	// timestamp.
	identity := s.identity(a)
	identity.Apply(p)

	if e.level == OK {
		if open {
			s.close(key, known)
		}
		s.remember(resolution{key, a, a.last, s.now.unix})
	} else {
		if !open {
			a.open++
			known = &series{alert: a}
			s.series[key] = known
		} else {
			s.active[known.level]--
		}
		s.active[e.level]++
		*known = series{
			level: e.level, grown: known.grown && !e.begins, incidents: known.shortIncidents(e),
			lasted: seconds(unix(e.time) - since), told: e.time, last: max(known.last, e.time), seen: s.now, alert: a,
		}
	}
	s.pending = append(s.pending, record{e.level, e.time, since, int64(s.now.unix), a.last, identity}.level(key))
	return a.key, shared
}

// close forgets a series that is open.
func (s *state) close(key string, known *series) {
	known.alert.open--
	s.active[known.level]--
	delete(s.series, key)
}

func seconds(n int64) uint32 { return uint32(max(0, min(n, math.MaxUint32))) }

func (s *state) record(known *series) record {
	return record{known.level, known.told, known.since(), int64(known.seen.unix), known.alert.last, s.identity(known.alert)}
}

func (s *state) alert(key string) *alert {
	a := s.alerts[key]
	if a == nil {
		a = &alert{key: key, last: math.MinInt64}
		s.alerts[key] = a
	}
	return a
}

// remember puts a resolution behind all others.
func (s *state) remember(r resolution) {
	s.drop(r.key)
	s.resolved[r.key] = s.order.PushBack(&r)
}

func (s *state) drop(key string) {
	if known := s.resolved[key]; known != nil {
		s.order.Remove(known)
		delete(s.resolved, key)
	}
}

// reopen forgets that a series was told to be OK, since it has another level now. Of
// an alert that it made then, and does not now, the last timestamp is kept under a
// key of the alert's own.
func (s *state) reopen(key string, a *alert) {
	known := s.resolved[key]
	if known == nil {
		return
	}
	if r := known.Value.(*resolution); r.alert != a {
		own := *r
		own.key = alertLevel + r.alert.key
		s.remember(own)
		s.pending = append(s.pending, s.resolvedLevel(&own))
	}
	s.drop(key)
}

// alertLevel stands before the key of an alert where that has a level of its own
// in the outbox: a series key holds one zero byte, and no group or id begins with
// one.
const alertLevel = "\x00\x00"

func (s *state) resolvedLevel(r *resolution) outbox.Level {
	return record{Level: OK, Last: r.last, Identity: s.identity(r.alert)}.level(r.key)
}

// forget lets go of what was resolved long ago, where more than enough is
// remembered.
func (s *state) forget(now func() time.Time) {
	if s.order.Len() <= maxResolved {
		return
	}
	before := now().Add(-resolvedMemory).Unix()
	for range min(maxForgotten, s.order.Len()-maxResolved) {
		first := s.order.Front()
		r := first.Value.(*resolution)
		switch {
		case int64(r.at) > before:
			return
		case r.alert.open > 0 && r.alert.last == r.last:
			s.order.MoveToBack(first) // nothing else in the outbox tells this timestamp
			continue
		case r.alert.open == 0 && r.alert.last == r.last:
			delete(s.alerts, r.alert.key)
		}
		s.drop(r.key)
		s.pending = append(s.pending, outbox.Level{Key: r.key, Time: r.last})
	}
}

// noticeAppKey takes note of the app keys under which alerts were told before, and
// says that some are open under another one than that in force.
func (h *Handler) noticeAppKey() {
	open, of := 0, ""
	for key, alert := range h.state.alerts {
		key := bigpanda.AppKeyOf(key)
		if key == h.options.appKey {
			continue
		}
		if !h.left[key] {
			h.left[strings.Clone(key)] = true
		}
		if alert.open > 0 {
			open, of = open+int(alert.open), key
		}
	}
	if open > 0 {
		h.log.Warn("the app key has changed: alerts that are open under the old one are resolved there, and told under the new one, each with its next point",
			"app_key", h.options.appKey, "was", of, "open", open)
	}
}

// unix returns the second of a point's time in Unix nanoseconds.
func unix(nanoseconds int64) int64 { return time.Unix(0, nanoseconds).Unix() }
