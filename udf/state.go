package udf

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

// timestampMemory is how long, in seconds of the points' time, a resolved
// alert keeps its last timestamp: BigPanda drops an event that is not later
// than the last one of its alert (BigPanda, docs/deduplication), so one that
// opens again within the second must know it.
const timestampMemory = 60

// state is what BigPanda was told: the level of every series that is not OK,
// and the last timestamp of every alert of theirs. Its size follows the number
// of active alerts (P7).
type state struct {
	series  map[string]*series   // by series key; none is OK
	alerts  map[string]*alert    // by Identity.Key
	graves  map[string]tombstone // by series key: resolved, and not yet forgotten
	burials burials              // those of series that opened again do nothing
	names   []names              // the first are none
	newest  int64                // the newest point time seen, in Unix seconds
	now     moment               // when the points at hand came
	pending []outbox.Level       // not yet in the outbox
}

// A series is what was last told of a series that is not OK.
type series struct {
	level  Level
	fresh  bool   // seen is later than the outbox knows
	lasted uint32 // from the change of the level to told, in seconds: it was told repeatedly
	told   int64  // time of the point that was told, in Unix nanoseconds
	seen   moment // when the last point came, of whatever time
	alert  *alert
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

// name returns the index of an identity's names.
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

// A tombstone is what was last told of a series that went OK.
type tombstone struct {
	alert *alert
	last  int64 // the timestamp that it was told with
}

// A burial is the forgetting of a tombstone and of its alert, each unless it
// was told of again by then.
type burial struct {
	series string
	tombstone
}

// burials are a heap, the one that was told longest ago first: times of different
// alerts come in any order, and one far ahead must not hold up the forgetting of
// all others.
type burials []burial

func (b burials) Len() int           { return len(b) }
func (b burials) Less(i, j int) bool { return b[i].last < b[j].last }
func (b burials) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *burials) Push(x any)        { *b = append(*b, x.(burial)) }

func (b *burials) Pop() any {
	last := len(*b) - 1
	x := (*b)[last]
	(*b)[last] = burial{} // which holds texts
	*b = (*b)[:last]
	return x
}

// appendSeriesKey joins what makes a series: ids may repeat across groups, and
// groups may hold several ids.
func appendSeriesKey(b, group, id []byte) []byte {
	return append(append(append(b, group...), 0), id...)
}

func newState() *state {
	return &state{
		series: make(map[string]*series),
		alerts: make(map[string]*alert),
		graves: make(map[string]tombstone),
		names:  make([]names, 1),
		newest: math.MinInt64,
	}
}

// saw takes note of a point's time, in Unix nanoseconds, and forgets what was
// resolved long enough before it. It does so here and not at the end of a piece
// of input: both members of an HA pair must forget at the same point (P10).
func (s *state) saw(t int64) {
	s.newest = max(s.newest, unix(t))
	if len(s.burials) > 0 && s.newest > s.burials[0].last+timestampMemory {
		s.bury()
	}
}

// tell records that BigPanda is told of a series: it fixes the payload's
// identity and timestamp, and returns the alert's key. shared reports that
// another open series makes the same alert.
func (s *state) tell(key string, level Level, pointTime int64, p *bigpanda.Payload) (alertKey string, shared bool) {
	p.Timestamp = unix(pointTime)
	since := p.Timestamp
	known, open := s.series[key]
	var a *alert
	if open {
		a = known.alert
		if known.level == level {
			since = min(since, known.since())
		}
	} else {
		identity := p.Identity()
		a = s.alert(identity.Key())
		if shared = a.open > 0; !shared {
			a.names = s.name(identity)
		}
	}
	if p.Timestamp <= a.last {
		p.Timestamp = a.last + 1
	}
	a.last = p.Timestamp
	// Even an alert that opens may need it: its primary property may be the
	// timestamp.
	identity := s.identity(a)
	identity.Apply(p)

	if level == OK {
		if open {
			a.open--
			delete(s.series, key)
		}
		t := tombstone{a, a.last}
		s.graves[key] = t
		heap.Push(&s.burials, burial{key, t})
	} else {
		delete(s.graves, key)
		if !open {
			a.open++
			known = &series{alert: a}
			s.series[key] = known
		}
		*known = series{level: level, lasted: seconds(unix(pointTime) - since), told: pointTime, seen: s.now, alert: a}
	}
	s.pending = append(s.pending, record{level, pointTime, since, int64(s.now.unix), a.last, identity}.level(key))
	return a.key, shared
}

// seconds fits into what a series has for them.
func seconds(n int64) uint32 { return uint32(max(0, min(n, math.MaxUint32))) }

// record is what is kept of an open series.
func (s *state) record(known *series) record {
	return record{known.level, known.told, known.since(), int64(known.seen.unix), known.alert.last, s.identity(known.alert)}
}

// alert returns the alert that has a key.
func (s *state) alert(key string) *alert {
	a := s.alerts[key]
	if a == nil {
		a = &alert{key: key, last: math.MinInt64}
		s.alerts[key] = a
	}
	return a
}

// bury forgets the alerts that were resolved long enough ago.
func (s *state) bury() {
	for len(s.burials) > 0 && s.newest > s.burials[0].last+timestampMemory {
		b := heap.Pop(&s.burials).(burial)
		if s.graves[b.series] == b.tombstone {
			delete(s.graves, b.series)
			s.pending = append(s.pending, outbox.Level{Key: b.series, Time: b.last})
		}
		// Not with the tombstone alone: that is gone if the series opened again
		// as another alert.
		if b.alert.open == 0 && b.alert.last == b.last {
			delete(s.alerts, b.alert.key)
		}
	}
}

// records are everything that a restart must know, each with the key of its
// alert: what is open, and then what is resolved, which matters for a minute
// only. There are size of them.
func (s *state) records() iter.Seq2[outbox.Level, string] {
	return func(yield func(outbox.Level, string) bool) {
		for key, known := range s.series {
			if !yield(s.record(known).level(key), known.alert.key) {
				return
			}
		}
		for key, t := range s.graves {
			if !yield(record{Level: OK, Last: t.last, Identity: s.identity(t.alert)}.level(key), t.alert.key) {
				return
			}
		}
	}
}

func (s *state) size() int { return len(s.graves) + len(s.series) }

// restore takes over one of what records gave. restored is to be called after
// the last one.
func (s *state) restore(l outbox.Level) error {
	var r record
	err := json.Unmarshal(l.Value, &r)
	if err == nil && !r.valid() {
		err = errors.New("it is no level of an alert")
	}
	if err != nil {
		return fmt.Errorf("read level of %q: %w", l.Key, err)
	}
	a := s.alert(r.Identity.Key())
	if a.open == 0 {
		a.names = s.name(r.Identity)
	}
	a.last = max(a.last, r.Last)
	if r.Level == OK {
		t := tombstone{a, r.Last}
		s.graves[l.Key] = t
		s.burials = append(s.burials, burial{l.Key, t})
		return nil
	}
	a.open++
	s.series[l.Key] = &series{
		level: r.Level, lasted: seconds(unix(r.Told) - r.since()), told: r.Told, seen: moment{unix: seconds(r.seen())}, alert: a,
	}
	return nil
}

func (s *state) restored() {
	heap.Init(&s.burials)
}

// A record is what is kept of a series in the outbox and in a snapshot.
type record struct {
	Level    Level             `json:"level"`
	Told     int64             `json:"told,omitempty"`  // time of the point, in Unix nanoseconds
	Since    int64             `json:"since,omitempty"` // of the point that changed the level, in Unix seconds
	Seen     int64             `json:"seen,omitempty"`  // when a point came last, in Unix seconds
	Last     int64             `json:"last"`            // the newest timestamp sent, in Unix seconds
	Identity bigpanda.Identity `json:"identity"`
}

func (r record) valid() bool { return r.Level <= Critical && r.Identity.AppKey != "" }

// Earlier programs kept neither of the two, but the point that they told of had
// come, and had that level.
func (r record) since() int64 { return cmp.Or(r.Since, unix(r.Told)) }
func (r record) seen() int64  { return cmp.Or(r.Seen, unix(r.Told)) }

func (r record) level(key string) outbox.Level {
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // numbers and strings only
	}
	return outbox.Level{Key: key, Time: r.Last, Value: value}
}

// unix returns the second of a point's time in Unix nanoseconds.
func unix(nanoseconds int64) int64 { return time.Unix(0, nanoseconds).Unix() }
