package udf

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
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
	series  map[string]series    // by seriesKey; none is OK
	alerts  map[string]*alert    // by Identity.Key
	graves  map[string]tombstone // by seriesKey: resolved, and not yet forgotten
	burials []burial             // ascending by last; those of series that opened again do nothing
	newest  int64                // the newest point time seen, in Unix seconds
	pending []outbox.Level       // not yet in the outbox
}

// A series is what was last told of a series that is not OK.
type series struct {
	level Level
	told  int64 // time of the point that was told, in Unix nanoseconds
	alert *alert
}

// An alert is what BigPanda takes for one.
type alert struct {
	identity bigpanda.Identity // as it was when the alert opened
	last     int64             // the newest timestamp sent, in Unix seconds
	open     int               // how many series make it
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

// seriesKey joins what makes a series: ids may repeat across groups, and
// groups may hold several ids.
func seriesKey(group, id string) string { return group + "\x00" + id }

func newState() *state {
	return &state{
		series: make(map[string]series),
		alerts: make(map[string]*alert),
		graves: make(map[string]tombstone),
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
	known, open := s.series[key]
	a := known.alert
	if !open {
		identity := p.Identity()
		if a = s.alerts[identity.Key()]; a == nil {
			a = &alert{last: math.MinInt64}
			s.alerts[identity.Key()] = a
		}
		shared = a.open > 0
		if !shared {
			a.identity = identity
		}
	}
	if p.Timestamp <= a.last {
		p.Timestamp = a.last + 1
	}
	a.last = p.Timestamp
	// Even an alert that opens may need it: its primary property may be the
	// timestamp.
	a.identity.Apply(p)

	if level == OK {
		if open {
			a.open--
			delete(s.series, key)
		}
		t := tombstone{a, a.last}
		s.graves[key] = t
		// Times of different alerts come in any order, and one far ahead must
		// not hold up the forgetting of all others.
		after, _ := slices.BinarySearchFunc(s.burials, t.last+1, byLast)
		s.burials = slices.Insert(s.burials, after, burial{key, t})
	} else {
		delete(s.graves, key)
		if !open {
			a.open++
		}
		s.series[key] = series{level: level, told: pointTime, alert: a}
	}
	s.pending = append(s.pending, record{Level: level, Told: pointTime, Last: a.last, Identity: a.identity}.level(key))
	return a.identity.Key(), shared
}

func byLast(b burial, last int64) int { return cmp.Compare(b.last, last) }

// bury forgets the alerts that were resolved long enough ago.
func (s *state) bury() {
	n := 0
	for ; n < len(s.burials) && s.newest > s.burials[n].last+timestampMemory; n++ {
		b := s.burials[n]
		if s.graves[b.series] == b.tombstone {
			delete(s.graves, b.series)
			s.pending = append(s.pending, outbox.Level{Key: b.series, Time: b.last})
		}
		// Not with the tombstone alone: that is gone if the series opened again
		// as another alert.
		if b.alert.open == 0 && b.alert.last == b.last {
			delete(s.alerts, b.alert.identity.Key())
		}
	}
	s.burials = s.burials[n:]
}

// records returns everything that a restart must know, by series key, but for
// some alerts.
func (s *state) records(without map[string]bool) []outbox.Level {
	all := make([]outbox.Level, 0, len(s.series)+len(s.graves))
	add := func(key string, r record) {
		if len(without) == 0 || !without[r.Identity.Key()] {
			all = append(all, r.level(key))
		}
	}
	for key, t := range s.graves {
		add(key, record{Level: OK, Last: t.last, Identity: t.alert.identity})
	}
	for key, known := range s.series {
		add(key, record{known.level, known.told, known.alert.last, known.alert.identity})
	}
	slices.SortFunc(all, func(a, b outbox.Level) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// restore takes over what records gave. A record that cannot be read is left
// out; the last such error is returned.
func (s *state) restore(levels []outbox.Level) error {
	var failed error
	for _, l := range levels {
		var r record
		err := json.Unmarshal(l.Value, &r)
		if err == nil && (r.Level > Critical || r.Identity.AppKey == "") {
			err = errors.New("it is no level of an alert")
		}
		if err != nil {
			failed = fmt.Errorf("read level of %q: %w", l.Key, err)
			continue
		}
		key := r.Identity.Key()
		a := s.alerts[key]
		if a == nil {
			a = &alert{identity: r.Identity, last: r.Last}
			s.alerts[key] = a
		}
		a.last = max(a.last, r.Last)
		if r.Level == OK {
			t := tombstone{a, r.Last}
			s.graves[l.Key] = t
			s.burials = append(s.burials, burial{l.Key, t})
			continue
		}
		a.open++
		s.series[l.Key] = series{level: r.Level, told: r.Told, alert: a}
	}
	slices.SortFunc(s.burials, func(a, b burial) int { return cmp.Compare(a.last, b.last) })
	return failed
}

// A record is what is kept of a series in the outbox and in a snapshot.
type record struct {
	Level    Level             `json:"level"`
	Told     int64             `json:"told,omitempty"`
	Last     int64             `json:"last"`
	Identity bigpanda.Identity `json:"identity"`
}

func (r record) level(key string) outbox.Level {
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // numbers and strings only
	}
	return outbox.Level{Key: key, Time: r.Last, Value: value}
}

// unix returns the second of a point's time in Unix nanoseconds.
func unix(nanoseconds int64) int64 { return time.Unix(0, nanoseconds).Unix() }
