package outbox

import (
	"container/heap"
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

	mu     sync.Mutex
	closed bool
	lastID uint64
	bytes  int64            // of all payloads, queued and in flight
	full   int64            // the bytes above which changes are given up
	alerts map[string]*line // every alert that has a change queued or in flight
	flying map[uint64]*line // whose change is in flight
	lanes  map[string]*lane // every lane that has a ready line
	dead   []DeadLetter
	stats  Stats
	wake   chan struct{} // closed, and made anew, when something becomes ready or the outbox empties
}

// NewMemory returns an empty outbox that gives up intermediate changes when
// the payloads are together larger than limit bytes; 0 means
// DefaultMemoryLimit.
func NewMemory(limit int64) *Memory {
	if limit == 0 {
		limit = DefaultMemoryLimit
	}
	return &Memory{
		limit:  limit,
		full:   limit,
		alerts: make(map[string]*line),
		flying: make(map[uint64]*line),
		lanes:  make(map[string]*lane),
		wake:   make(chan struct{}),
	}
}

// Levels returns no levels: a memory outbox is always new.
func (m *Memory) Levels() (levels []Level, isNew bool, err error) { return nil, true, nil }

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
		l := m.alerts[c.Alert]
		if l == nil {
			l = &line{alert: c.Alert, lane: c.Lane, at: -1}
			m.alerts[c.Alert] = l
		}
		l.queued = append(l.queued, c)
		m.bytes += int64(len(c.Payload))
		m.stats.Queued++
		m.settle(l)
	}
	if m.bytes > m.full {
		m.giveUp()
	}
}

// giveUp drops intermediate changes, the oldest first, until a tenth of the
// limit is free. It looks at every alert, so it must not be called at each
// Append to a full outbox: where the newest changes alone are too large, it
// leaves as much room above them.
func (m *Memory) giveUp() {
	var intermediate []Change
	for _, l := range m.alerts {
		if n := len(l.queued); n > 1 {
			intermediate = append(intermediate, l.queued[:n-1]...)
		}
	}
	slices.SortFunc(intermediate, byID)
	for _, c := range intermediate {
		if m.bytes <= m.limit-m.room() {
			break
		}
		l := m.alerts[c.Alert]
		l.pop()
		m.bytes -= int64(len(c.Payload))
		m.stats.Queued--
		m.stats.GivenUp++
		m.settle(l)
	}
	m.full = max(m.limit, m.bytes+m.room())
}

// room is what giveUp makes, in bytes.
func (m *Memory) room() int64 { return m.limit / 10 }

// Next takes the oldest changes of one lane for delivery, in the order of
// change: at most max of them, and no more than MaxBatchBytes unless the first
// alone is larger. It takes no change of an alert that is in flight, and none
// of a lane that skip reports true for; skip may be nil and must not call the
// outbox. It waits until there is a change to take; the error is ctx's, or
// ErrClosed. What it returns is in flight until Ack, Dead or Release.
func (m *Memory) Next(ctx context.Context, max int, skip func(lane string) bool) ([]Change, error) {
	for {
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			return nil, ErrClosed
		}
		taken := m.take(max, skip)
		wake := m.wake
		m.mu.Unlock()
		if len(taken) > 0 {
			return taken, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *Memory) take(max int, skip func(lane string) bool) []Change {
	var oldest *lane
	for name, l := range m.lanes {
		if (oldest == nil || l.head() < oldest.head()) && (skip == nil || !skip(name)) {
			oldest = l
		}
	}
	if oldest == nil {
		return nil
	}
	var taken []Change
	var touched []*line
	size := 0
	for len(taken) < max && len(oldest.ready) > 0 {
		l := oldest.ready[0]
		size += len(l.queued[0].Payload)
		if size > MaxBatchBytes && len(taken) > 0 {
			break
		}
		if len(l.flying) == 0 {
			touched = append(touched, l)
		}
		c := l.pop()
		taken = append(taken, c)
		l.flying = append(l.flying, c)
		m.flying[c.ID] = l
		// Until the piece is full the line stays in the heap with its next
		// change, which may be the next oldest of the lane.
		if len(l.queued) > 0 {
			heap.Fix(oldest, 0)
		} else {
			heap.Pop(oldest)
		}
	}
	for _, l := range touched {
		m.settle(l)
	}
	m.stats.InFlight += len(taken)
	return taken
}

// Ack removes delivered changes. IDs that are not in flight are ignored.
func (m *Memory) Ack(ids ...uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.land(id)
	}
	return nil
}

// Dead removes a change that was refused for good and keeps it, with the
// answer, among the newest dead letters.
func (m *Memory) Dead(id uint64, status int, answer string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.land(id)
	if !ok {
		return nil
	}
	m.stats.Dead++
	if len(m.dead) == memoryDeadLetters {
		m.dead = slices.Delete(m.dead, 0, 1)
	}
	m.dead = append(m.dead, DeadLetter{Change: c, Status: status, Answer: answer})
	return nil
}

// land ends the flight of a change that is done with.
func (m *Memory) land(id uint64) (Change, bool) {
	l := m.flying[id]
	if l == nil {
		return Change{}, false
	}
	c := m.recall(l, id)
	m.bytes -= int64(len(c.Payload))
	m.full = max(m.limit, min(m.full, m.bytes+m.room()))
	m.stats.Queued--
	m.settle(l)
	if m.stats.Queued == 0 {
		m.awake()
	}
	return c, true
}

// Release puts changes that were not delivered back in their places.
func (m *Memory) Release(ids ...uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	back := make(map[*line][]Change)
	for _, id := range ids {
		if l := m.flying[id]; l != nil {
			back[l] = append(back[l], m.recall(l, id))
		}
	}
	for l, changes := range back {
		l.push(changes)
		m.settle(l)
	}
}

// recall takes a change out of flight.
func (m *Memory) recall(l *line, id uint64) Change {
	delete(m.flying, id)
	m.stats.InFlight--
	return l.recall(id)
}

// Drain waits until nothing is queued or in flight. It returns ctx's error, or
// ErrClosed, when that comes first.
func (m *Memory) Drain(ctx context.Context) error {
	for {
		m.mu.Lock()
		queued, closed, wake := m.stats.Queued, m.closed, m.wake
		m.mu.Unlock()
		switch {
		case queued == 0:
			return nil
		case closed:
			return ErrClosed
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stats returns what is held now.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// Undelivered returns the newest change of each alert that is queued or in
// flight, ascending by ID.
func (m *Memory) Undelivered() []Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Change, 0, len(m.alerts))
	for _, l := range m.alerts {
		all = append(all, l.newest())
	}
	slices.SortFunc(all, byID)
	return all
}

// DeadLetters returns the newest dead letters, oldest first.
func (m *Memory) DeadLetters() []DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.dead)
}

// Close ends every Next and Drain; what is queued is lost with the process.
// Flights may still end after it. It may be called twice.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.awake()
	return nil
}

func (m *Memory) awake() {
	close(m.wake)
	m.wake = make(chan struct{})
}

// settle brings a line to where its state says it belongs: in its lane's heap
// when it is ready, nowhere when it is empty.
func (m *Memory) settle(l *line) {
	ln := m.lanes[l.lane]
	switch {
	case l.ready() && l.at < 0:
		if ln == nil {
			ln = &lane{}
			m.lanes[l.lane] = ln
		}
		heap.Push(ln, l)
		m.awake()
	case l.ready():
		heap.Fix(ln, l.at)
	case l.at >= 0:
		heap.Remove(ln, l.at)
	}
	if ln != nil && len(ln.ready) == 0 {
		delete(m.lanes, l.lane)
	}
	if len(l.queued) == 0 && len(l.flying) == 0 {
		delete(m.alerts, l.alert)
	}
}
