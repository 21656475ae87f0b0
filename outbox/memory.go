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

// memoryDeadLetters is how many dead letters a memory outbox keeps, the newest.
const memoryDeadLetters = 100

// Memory is an outbox that lives and dies with its process. Safe for
// concurrent use.
type Memory struct {
	limit int64

	mu       sync.Mutex
	closed   bool
	lastID   uint64
	bytes    int64             // of all payloads, queued and in flight
	full     int64             // the bytes above which changes are given up
	changes  map[uint64]Change // queued and in flight
	schedule schedule
	dead     []DeadLetter
	stats    Stats
}

// NewMemory returns an empty outbox that gives up intermediate changes when
// the payloads are together larger than limit bytes; 0 means
// DefaultMemoryLimit.
func NewMemory(limit int64) *Memory {
	if limit == 0 {
		limit = DefaultMemoryLimit
	}
	return &Memory{limit: limit, full: limit, changes: make(map[uint64]Change), schedule: newSchedule()}
}

// Levels has no levels: a memory outbox is always new.
func (m *Memory) Levels(func(Level) bool) (isNew bool, err error) { return true, nil }

// Append queues the changes, which get their IDs in their order. The levels
// are not kept: there is nobody left to read them after the process.
func (m *Memory) Append(changes []Change, _ []Level) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	for _, c := range changes {
		m.lastID++
		c.ID = m.lastID
		m.changes[c.ID] = c
		m.bytes += int64(len(c.Payload))
		m.schedule.add(c.Alert, c.AppKey, entry{c.ID, len(c.Payload)})
	}
	m.schedule.awake()
	if m.bytes > m.full {
		m.giveUp()
	}
}

// Put queues changes that have their IDs from elsewhere: each one's is new, and
// higher than those of the alert that were put before. None is given up, whatever the
// limit; who puts them sees to their size.
func (m *Memory) Put(changes ...Change) {
	m.do(func() {
		for _, c := range changes {
			m.changes[c.ID] = c
			m.bytes += int64(len(c.Payload))
			m.schedule.add(c.Alert, c.AppKey, entry{c.ID, len(c.Payload)})
		}
	})
}

// Change returns a change that is queued or in flight.
func (m *Memory) Change(id uint64) (c Change, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok = m.changes[id]
	return c, ok
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
		if m.bytes <= m.limit-m.room() {
			break
		}
		m.schedule.drop(c.Alert, c.ID)
		m.forget(c)
		m.stats.GivenUp++
	}
	m.full = max(m.limit, m.bytes+m.room())
}

// room is what giveUp makes, in bytes.
func (m *Memory) room() int64 { return m.limit / 10 }

func (m *Memory) forget(c Change) {
	delete(m.changes, c.ID)
	m.bytes -= int64(len(c.Payload))
	m.full = max(m.limit, min(m.full, m.bytes+m.room()))
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
		if m.closed {
			return false, ErrClosed
		}
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

// Dead removes a change that was refused for good and keeps it, with the
// answer, among the newest dead letters.
func (m *Memory) Dead(id uint64, status int, answer string) error {
	m.do(func() {
		c, ok := m.complete(id)
		if !ok {
			return
		}
		m.stats.Dead++
		m.dead = append(m.dead, DeadLetter{Change: c, Status: status, Answer: answer})
		m.dead = m.dead[max(0, len(m.dead)-memoryDeadLetters):]
	})
	return nil
}

// complete ends the flight of a change that is done with.
func (m *Memory) complete(id uint64) (Change, bool) {
	if l, _ := m.schedule.complete(id); l == nil {
		return Change{}, false
	}
	c := m.changes[id]
	m.forget(c)
	return c, true
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
	return m.schedule.await(ctx, &m.mu, func() (bool, error) {
		if m.closed && len(m.changes) > 0 {
			return false, ErrClosed
		}
		return len(m.changes) == 0, nil
	})
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

// DeadLetters returns the newest dead letters, oldest first.
func (m *Memory) DeadLetters() []DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.dead)
}

// Close ends every Next, and every Drain while something is left, which
// Undelivered still returns. It may be called twice.
func (m *Memory) Close() error {
	m.do(func() { m.closed = true })
	return nil
}
