package udf

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

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

// records are everything that a restart must know, each with the key of its
// alert: what is open, and then what is resolved, the last one first. There are
// size of them.
func (s *state) records() iter.Seq2[outbox.Level, string] {
	return func(yield func(outbox.Level, string) bool) {
		for key, known := range s.series {
			if !yield(s.record(known).level(key), known.alert.key) {
				return
			}
		}
		for e := s.order.Back(); e != nil; e = e.Prev() {
			r := e.Value.(*resolution)
			if !yield(s.resolvedLevel(r), r.alert.key) {
				return
			}
		}
	}
}

func (s *state) size() int { return s.order.Len() + len(s.series) }

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
		// When it was told is not kept: it may be within the minute.
		s.remember(resolution{key: l.Key, alert: a, last: r.Last, at: s.now.unix})
		return nil
	}
	a.open++
	s.active[r.Level]++
	s.series[l.Key] = &series{
		level: r.Level, lasted: seconds(unix(r.Told) - r.since()), told: r.Told, last: r.Told, seen: moment{unix: seconds(r.seen())}, alert: a, again: l.Again,
	}
	return nil
}

// restored brings what was resolved into its order, which the outbox does not
// keep.
func (s *state) restored() {
	var all []*resolution
	for e := s.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*resolution))
	}
	slices.SortFunc(all, func(a, b *resolution) int { return cmp.Compare(a.last, b.last) })
	for _, r := range all {
		s.order.MoveToBack(s.resolved[r.key])
	}
}

// Last is part of outbox.Known: the newest timestamp that was sent for an alert, 0
// for one that is not remembered.
func (s *state) Last(alert string) int64 {
	if a := s.alerts[alert]; a != nil {
		return a.last
	}
	return 0
}

// Seen is part of outbox.Known: when the last point of an open series came.
func (s *state) Seen(key string) int64 {
	if known := s.series[key]; known != nil {
		return int64(known.seen.unix)
	}
	return 0
}

// amend takes over the level of a series that is in the store already.
func (s *state) amend(l outbox.Level) {
	if known, open := s.series[l.Key]; open {
		s.close(l.Key, known)
	}
	if err := s.restore(l); err != nil {
		s.drop(l.Key) // it was never told, as after a restart
	}
}
