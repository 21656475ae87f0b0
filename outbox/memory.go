package outbox

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// DefaultMemoryLimit is the size of the payloads, in bytes, from which a
// memory outbox gives up intermediate changes: some 100,000 alerts of 600
// bytes. The newest change of every alert is kept beyond it.
const DefaultMemoryLimit = 64 << 20

// Memory is an outbox that lives and dies with its process. Safe for
// concurrent use.
type Memory struct {
	mu       sync.Mutex
	lastID   uint64
	bytes    int64 // of all payloads, queued and in flight
	limit    sizeLimit
	changes  map[uint64]Change // queued and in flight
	schedule schedule
	stats    Stats
}

// NewMemory returns an empty outbox that gives up intermediate changes when
// the payloads are together larger than size bytes; 0 means
// DefaultMemoryLimit.
func NewMemory(size int64) *Memory {
	size = cmp.Or(size, DefaultMemoryLimit)
	return &Memory{limit: sizeLimit{size, size}, changes: make(map[uint64]Change), schedule: newSchedule()}
}

// Levels has no levels: a memory outbox is always new.
func (m *Memory) Levels(func(Level) bool) (isNew bool, err error) { return true, nil }

// Append queues the changes, which get their IDs in their order. The levels
// are not kept: there is nobody left to read them after the process.
func (m *Memory) Append(changes []Change, _ []Level) {
	m.do(func() {
		if m.schedule.closed {
			return
		}
		for i := range changes {
			m.lastID++
			changes[i].ID = m.lastID
		}
		m.put(changes)
		if m.bytes > m.limit.full {
			m.giveUp()
		}
	})
}

// Put queues changes that have their IDs from elsewhere: each one's is new, and
// higher than those of the alert that were put before. None is given up, whatever the
// limit; who puts them sees to their size.
func (m *Memory) Put(changes ...Change) {
	m.do(func() { m.put(changes) })
}

func (m *Memory) put(changes []Change) {
	for _, c := range changes {
		m.changes[c.ID] = c
		m.bytes += int64(len(c.Payload))
		m.schedule.add(c.Alert, c.AppKey, entry{c.ID, len(c.Payload)})
	}
}

// giveUp drops intermediate changes, the oldest first, until a tenth of the
// limit is free. It looks at every alert, so it must not be called at each
// Append to a full outbox: where the newest changes alone are too large, it
// leaves as much room above them.
func (m *Memory) giveUp() {
	var intermediate []Change
	for _, l := range m.schedule.alerts {
		for _, e := range l.queued[:max(1, len(l.queued))-1] {
			intermediate = append(intermediate, m.changes[e.id])
		}
	}
	slices.SortFunc(intermediate, func(a, b Change) int { return cmp.Compare(a.ID, b.ID) })
	for _, c := range intermediate {
		if m.bytes <= m.limit.max-m.limit.room() {
			break
		}
		m.schedule.drop(c.Alert, c.ID)
		m.forget(c.ID)
		m.stats.GivenUp++
	}
	m.limit.full = max(m.limit.max, m.bytes+m.limit.room())
}

func (m *Memory) forget(id uint64) {
	m.bytes -= int64(len(m.changes[id].Payload))
	delete(m.changes, id)
	m.limit.follow(m.bytes)
}

// Next takes the oldest changes of one app key for delivery, in the order of
// change: at most max of them, and no more than MaxBatchBytes unless the first
// alone is larger. It takes no change of an alert that is in flight, and none
// of an app key that skip, which may be nil, reports true for. Alerts that were
// postponed come last, and in a piece of their own. It waits until
// there is one; the error is then ctx's, or ErrClosed. What it returns is in
// flight until Ack, Dead or Release.
func (m *Memory) Next(ctx context.Context, max int, skip func(appKey string) bool) (taken []Change, err error) {
	err = m.schedule.await(ctx, &m.mu, func() (bool, error) {
		for _, id := range m.schedule.take(max, skip) {
			c := m.changes[id]
			c.Postponed = m.schedule.inFlight[id].postponed > 0
			taken = append(taken, c)
		}
		return len(taken) > 0, nil
	})
	return taken, err
}

// do changes the outbox.
func (m *Memory) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	m.schedule.awake()
}

// Ack removes delivered changes. IDs that are not in flight are ignored.
func (m *Memory) Ack(ids ...uint64) error {
	m.do(func() {
		for _, id := range ids {
			m.complete(id)
		}
	})
	return nil
}

// Dead removes a change that was refused for good. With the process the answer would be
// gone anyway: it is in the log.
func (m *Memory) Dead(c Change, _ int, _ string) error {
	m.do(func() {
		if m.complete(c.ID) {
			m.stats.Dead++
		}
	})
	return nil
}

// complete ends the flight of a change that is done with.
func (m *Memory) complete(id uint64) bool {
	q, _ := m.schedule.complete(id)
	if q != nil {
		m.forget(id)
	}
	return q != nil
}

// Release puts changes that were not delivered back in their places.
func (m *Memory) Release(ids ...uint64) {
	m.do(func() { m.schedule.release(ids...) })
}

// Postpone releases changes, and lets all other alerts go before theirs until
// one of the alert's changes is delivered or dead.
func (m *Memory) Postpone(ids ...uint64) {
	m.do(func() {
		m.schedule.postpone(ids...)
		m.schedule.release(ids...)
	})
}

// Drain waits until nothing is queued or in flight. It returns ctx's error, or
// ErrClosed, when that comes first.
func (m *Memory) Drain(ctx context.Context) error {
	return m.schedule.await(ctx, &m.mu, func() (bool, error) { return len(m.changes) == 0, nil })
}

// Stats returns what is held now, and what became of changes so far.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Queued, s.InFlight = len(m.changes), len(m.schedule.inFlight)
	return s
}

// Undelivered returns the newest change of each alert that is queued or in
// flight, ascending by ID.
func (m *Memory) Undelivered() []Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Change, 0, len(m.schedule.alerts))
	for _, l := range m.schedule.alerts {
		all = append(all, m.changes[l.newest().id])
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Close ends every Next and Drain. What is left Undelivered still returns. It may be
// called twice.
func (m *Memory) Close() error {
	m.do(func() { m.schedule.closed = true })
	return nil
}
