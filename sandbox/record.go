package sandbox

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// keepBytes bounds the memory of what is kept, whatever its number: the texts
// of the events and, a quarter as much, of the incidents. Events of a common
// size, some 100,000 of them, stay well below.
const keepBytes = 256 << 20

// record is what came. Each step costs about the same however much is kept, so the
// lock is held briefly. Memory is bounded by the rings: seen holds nothing but what
// a kept event points at. incidents has a bound of its own.
type record struct {
	mu       sync.Mutex
	events   ring[Event]
	requests ring[Request]
	seen     map[Payload]uint64 // the last event with this payload

	incidents incidents
	bytes     int // of events: their weights
	keepBytes int
	life      uint64        // of which Server, from which reset on: no two alike
	stats     Stats         // Statuses is never handed out
	changed   chan struct{} // closed at the next change
}

func (r *record) init(events, requests int) {
	r.events.keep, r.requests.keep = events, requests
	r.keepBytes = keepBytes
	r.incidents.init(keepIncidents)
	r.changed = make(chan struct{})
	r.reset()
}

func (r *record) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = rand.Uint64()
	r.events.clear()
	r.bytes = 0
	r.requests.clear()
	r.incidents.clear()
	r.seen = make(map[Payload]uint64)
	r.stats = Stats{Statuses: make(map[int]int), Waiting: r.stats.Waiting}
	r.notify()
}

// notify wakes who waits. The caller holds mu.
func (r *record) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// take enters the alerts of a request at once, none of another between them,
// and returns the seq of the first and how many are duplicates.
func (r *record) take(items []item, now time.Time) (first uint64, duplicates int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = r.events.next()
	for _, it := range items {
		e := it.Event
		e.Seq, e.Received = r.events.next(), now
		if !it.dated {
			e.Timestamp = now.Unix()
		}
		r.judge(&e)
		if e.Duplicate {
			duplicates++
		}
		r.bytes += e.weight()
		if old, full := r.events.add(e); full {
			r.forget(old)
		}
		for r.bytes > r.keepBytes && len(r.events.kept) > 1 {
			old, _ := r.events.drop()
			r.forget(old)
		}
	}
	r.notify()
	return first, duplicates
}

// judge sets the flags of an event and brings its incident up to date. The caller
// holds mu.
func (r *record) judge(e *Event) {
	r.stats.Events++
	_, e.Duplicate = r.seen[e.Payload]
	r.seen[e.Payload] = e.Seq
	if e.Duplicate {
		r.stats.Duplicates++
	}
	if e.Dropped != "" {
		r.stats.Dropped++
		return
	}
	if r.incidents.enter(e); e.Stale {
		r.stats.Stale++
	}
}

// forget drops what hangs on an event that is no longer kept. The caller
// holds mu.
func (r *record) forget(e Event) {
	r.bytes -= e.weight()
	if r.seen[e.Payload] == e.Seq {
		delete(r.seen, e.Payload)
	}
}

// answered enters a request, which gets its Seq.
func (r *record) answered(q *Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q.Seq = r.requests.next()
	r.requests.add(*q)
	r.stats.Requests++
	r.stats.Statuses[q.Status]++
	r.notify()
}

// waiting counts a request that begins (1) or ceases (-1) to wait.
func (r *record) waiting(by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Waiting += by
	r.notify()
}

// after returns what a list of the record has after seq, at most limit of it; 0: all.
func after[T any](r *record, list interface{ after(uint64, int) []T }, seq uint64, limit int) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return list.after(seq, limit)
}

// poke has who waits look again, as what is not in the record has changed.
func (r *record) poke() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notify()
}

// Incidents returns the incidents that are kept, in the order of their last
// events.
func (s *Server) Incidents() []Incident { return after(&s.record, &s.record.incidents, 0, 0) }

// Alerts returns Incidents sorted by key.
func (s *Server) Alerts() []Incident {
	alerts := append([]Incident{}, s.Incidents()...) // no null in JSON
	slices.SortFunc(alerts, func(a, b Incident) int { return strings.Compare(a.Key, b.Key) })
	return alerts
}

// Stats returns the counts of the record.
func (s *Server) Stats() Stats {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	return s.record.copyStats()
}

// copyStats returns stats that the caller may keep. The caller holds mu.
func (r *record) copyStats() Stats {
	s := r.stats
	s.Statuses = maps.Clone(s.Statuses)
	s.Incidents, s.IncidentsDropped = len(r.incidents.byKey), r.incidents.dropped
	return s
}

// WaitFor blocks until cond is true of the record. It is asked at once, and
// again whenever the record has changed, on the caller's goroutine and under
// no lock: it may ask the Server for Events, Alerts or others. The error is
// that ctx has ended first.
func (s *Server) WaitFor(ctx context.Context, cond func(Stats) bool) error {
	r := &s.record
	for {
		r.mu.Lock()
		changed, stats := r.changed, r.copyStats()
		r.mu.Unlock()
		if cond(stats) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the sandbox's record (now %+v): %w", stats, context.Cause(ctx))
		}
	}
}
