package outbox

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
)

// A ticket is a queued change, as the schedule sees it.
type ticket struct {
	id   uint64
	size int // of the payload, in bytes
}

// schedule says which changes may leave next: the oldest of each alert that
// has none in flight, alerts of one lane together. It has no lock of its own.
type schedule struct {
	alerts map[string]*line // every alert that has a ticket queued or in flight
	flying map[uint64]*line // whose ticket is in flight
	lanes  map[string]*lane // every lane that has a ready line
	wake   chan struct{}    // closed, and made anew, when something may have become ready or done

	postponed uint64 // how often something was
}

func newSchedule() schedule {
	return schedule{
		alerts: make(map[string]*line),
		flying: make(map[uint64]*line),
		lanes:  make(map[string]*lane),
		wake:   make(chan struct{}),
	}
}

// A line is the tickets of one alert. It is ready, and in its lane's heap,
// when it has a queued ticket and none in flight.
type line struct {
	alert, lane string
	queued      []ticket // ascending by id
	flying      []ticket
	at          int    // in its lane's heap, -1 when not there
	postponed   uint64 // when, as the schedule counts; 0: not
}

func (l *line) ready() bool { return len(l.queued) > 0 && len(l.flying) == 0 }

// newest returns the newest ticket, queued or in flight.
func (l *line) newest() ticket { return slices.MaxFunc(slices.Concat(l.flying, l.queued), byID) }

// add queues a ticket in its place. It reports false for one that is queued
// already.
func (s *schedule) add(alert, lane string, t ticket) bool {
	l := s.alerts[alert]
	if l == nil {
		l = &line{alert: alert, lane: lane, at: -1}
		s.alerts[alert] = l
	}
	i, found := slices.BinarySearchFunc(l.queued, t, byID)
	if found {
		return false
	}
	l.queued = slices.Insert(l.queued, i, t)
	s.settle(l)
	return true
}

// before says which of two ready lines leaves first: one that was not postponed,
// then the one that was longest ago, then the one with the oldest ticket.
func (l *line) before(other *line) bool {
	if l.postponed != other.postponed {
		return l.postponed < other.postponed
	}
	return l.queued[0].id < other.queued[0].id
}

// take puts up to max tickets of one lane in flight, and no more than
// MaxBatchBytes unless the first alone is larger. It returns their ids: the
// oldest first, or when only alerts that were postponed are left, some of these.
func (s *schedule) take(max int, skip func(lane string) bool) []uint64 {
	var oldest *lane
	for name, l := range s.lanes {
		if (oldest == nil || l.ready[0].before(oldest.ready[0])) && (skip == nil || !skip(name)) {
			oldest = l
		}
	}
	if oldest == nil {
		return nil
	}
	var ids []uint64
	var touched []*line
	size := 0
	postponed := oldest.ready[0].postponed > 0
	for len(ids) < max && len(oldest.ready) > 0 {
		l := oldest.ready[0]
		t := l.queued[0]
		if l.postponed > 0 != postponed {
			break
		}
		if size += t.size; size > MaxBatchBytes && len(ids) > 0 {
			break
		}
		if len(l.flying) == 0 {
			touched = append(touched, l)
		}
		ids = append(ids, t.id)
		l.queued = l.queued[1:]
		l.flying = append(l.flying, t)
		s.flying[t.id] = l
		// Until the piece is full the line stays in the heap with its next
		// ticket, which may be the next oldest of the lane.
		if len(l.queued) > 0 {
			heap.Fix(oldest, 0)
		} else {
			heap.Pop(oldest)
		}
	}
	for _, l := range touched {
		s.settle(l)
	}
	return ids
}

// land ends the flight of a ticket that is done with. It returns nil for one
// that is not in flight.
func (s *schedule) land(id uint64) (*line, ticket) {
	l := s.flying[id]
	if l == nil {
		return nil, ticket{}
	}
	t := s.recall(l, id)
	l.postponed = 0
	s.settle(l)
	return l, t
}

// postpone puts the alerts of changes that are in flight behind all others, for
// when they are ready again.
func (s *schedule) postpone(ids ...uint64) {
	s.postponed++
	for _, id := range ids {
		if l := s.flying[id]; l != nil {
			l.postponed = s.postponed
		}
	}
}

// release puts tickets that are in flight back in their places.
func (s *schedule) release(ids ...uint64) {
	back := make(map[*line][]ticket)
	for _, id := range ids {
		if l := s.flying[id]; l != nil {
			back[l] = append(back[l], s.recall(l, id))
		}
	}
	for l, tickets := range back {
		// All of them at once: an alert that flaps has many behind them to move.
		l.queued = slices.Concat(tickets, l.queued)
		if !slices.IsSortedFunc(l.queued, byID) {
			slices.SortFunc(l.queued, byID)
		}
		s.settle(l)
	}
}

// drop removes a ticket that is queued. It reports false for one that is not.
func (s *schedule) drop(alert string, id uint64) bool {
	l := s.alerts[alert]
	if l == nil {
		return false
	}
	i, found := slices.BinarySearchFunc(l.queued, ticket{id: id}, byID)
	if found {
		l.queued = slices.Delete(l.queued, i, i+1)
		s.settle(l)
	}
	return found
}

// empty drops all queued tickets of a line.
func (s *schedule) empty(l *line) {
	if l.at >= 0 {
		heap.Remove(s.lanes[l.lane], l.at)
	}
	l.queued = nil
	s.settle(l)
}

// clear forgets all tickets, also those in flight.
func (s *schedule) clear() {
	wake := s.wake
	*s = newSchedule()
	s.wake = wake
}

// recall takes a ticket out of its line's flight.
func (s *schedule) recall(l *line, id uint64) ticket {
	delete(s.flying, id)
	i := slices.IndexFunc(l.flying, func(t ticket) bool { return t.id == id })
	t := l.flying[i]
	l.flying = slices.Delete(l.flying, i, i+1)
	return t
}

// settle brings a line to where its state says it belongs: in its lane's heap
// when it is ready, nowhere when it is empty.
func (s *schedule) settle(l *line) {
	ln := s.lanes[l.lane]
	switch {
	case l.ready() && l.at < 0:
		if ln == nil {
			ln = &lane{}
			s.lanes[l.lane] = ln
		}
		heap.Push(ln, l)
	case l.ready():
		heap.Fix(ln, l.at)
	case l.at >= 0:
		heap.Remove(ln, l.at)
	}
	if ln != nil && len(ln.ready) == 0 {
		delete(s.lanes, l.lane)
	}
	if len(l.queued) == 0 && len(l.flying) == 0 {
		delete(s.alerts, l.alert)
	}
}

// await calls look until it is done or fails, and waits in between for the wake
// that it returns. The error is look's, or ctx's.
func await(ctx context.Context, look func() (done bool, wake <-chan struct{}, err error)) error {
	for {
		done, wake, err := look()
		if done || err != nil {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awake ends the waits of everybody who waits for a change.
func (s *schedule) awake() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// A lane is a heap of ready lines, in the order in which they leave.
type lane struct{ ready []*line }

func (h *lane) Len() int           { return len(h.ready) }
func (h *lane) Less(i, j int) bool { return h.ready[i].before(h.ready[j]) }
func (h *lane) Swap(i, j int) {
	h.ready[i], h.ready[j] = h.ready[j], h.ready[i]
	h.ready[i].at, h.ready[j].at = i, j
}
func (h *lane) Push(x any) {
	l := x.(*line)
	l.at = len(h.ready)
	h.ready = append(h.ready, l)
}
func (h *lane) Pop() any {
	l := h.ready[len(h.ready)-1]
	l.at = -1
	h.ready[len(h.ready)-1] = nil
	h.ready = h.ready[:len(h.ready)-1]
	return l
}

func byID(a, b ticket) int { return cmp.Compare(a.id, b.id) }
