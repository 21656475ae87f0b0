package outbox

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
)

// An entry is a queued change, as the schedule sees it.
type entry struct {
	id   uint64
	size int // of the payload, in bytes
}

// schedule says which changes may leave next: the oldest of each alert that
// has none in flight, alerts of one app key together. It has no lock of its own.
type schedule struct {
	alerts   map[string]*alertQueue // every alert that has an entry queued or in flight
	inFlight map[uint64]*alertQueue // whose entry is in flight
	ready    map[string]*readyHeap  // every app key that has a ready alert
	wake     chan struct{}          // closed, and made anew, when something may have become ready or done
	closed   bool                   // nothing leaves any more

	postponed uint64 // how often something was
}

func newSchedule() schedule {
	return schedule{
		alerts:   make(map[string]*alertQueue),
		inFlight: make(map[uint64]*alertQueue),
		ready:    make(map[string]*readyHeap),
		wake:     make(chan struct{}),
	}
}

// An alertQueue is the entries of one alert. It is ready, and in its app key's
// heap, when it has a queued entry and none in flight.
type alertQueue struct {
	alert, appKey string
	queued        []entry // ascending by id
	inFlight      []entry
	at            int    // in its app key's heap, -1 when not there
	postponed     uint64 // when, as the schedule counts; 0: not
}

func (q *alertQueue) isReady() bool { return len(q.queued) > 0 && len(q.inFlight) == 0 }

// newest returns the newest entry, queued or in flight.
func (q *alertQueue) newest() entry {
	return slices.MaxFunc(slices.Concat(q.inFlight, q.queued), byID)
}

// add queues an entry in its place. It reports false for one that is queued
// already.
func (s *schedule) add(alert, appKey string, e entry) bool {
	q := s.alerts[alert]
	if q == nil {
		q = &alertQueue{alert: alert, appKey: appKey, at: -1}
		s.alerts[alert] = q
	}
	i, found := slices.BinarySearchFunc(q.queued, e, byID)
	if found {
		return false
	}
	q.queued = slices.Insert(q.queued, i, e)
	s.reorder(q)
	return true
}

// before says which of two ready alerts leaves first: one that was not postponed,
// then the one that was longest ago, then the one with the oldest entry.
func (q *alertQueue) before(other *alertQueue) bool {
	if q.postponed != other.postponed {
		return q.postponed < other.postponed
	}
	return q.queued[0].id < other.queued[0].id
}

// take puts up to max entries of one app key in flight, and no more than
// MaxBatchBytes unless the first alone is larger. It returns their ids: the
// oldest first, or when only alerts that were postponed are left, some of these.
func (s *schedule) take(max int, skip func(appKey string) bool) []uint64 {
	var oldest *readyHeap
	for appKey, h := range s.ready {
		if (oldest == nil || (*h)[0].before((*oldest)[0])) && (skip == nil || !skip(appKey)) {
			oldest = h
		}
	}
	if oldest == nil {
		return nil
	}
	var ids []uint64
	var touched []*alertQueue
	size := 0
	postponed := (*oldest)[0].postponed > 0
	for len(ids) < max && oldest.Len() > 0 {
		q := (*oldest)[0]
		e := q.queued[0]
		if q.postponed > 0 != postponed {
			break
		}
		if size += e.size; size > MaxBatchBytes && len(ids) > 0 {
			break
		}
		if len(q.inFlight) == 0 {
			touched = append(touched, q)
		}
		ids = append(ids, e.id)
		q.queued = q.queued[1:]
		q.inFlight = append(q.inFlight, e)
		s.inFlight[e.id] = q
		// Until the piece is full the alert stays in the heap with its next
		// entry, which may be the next oldest of the app key.
		if len(q.queued) > 0 {
			heap.Fix(oldest, 0)
		} else {
			heap.Pop(oldest)
		}
	}
	for _, q := range touched {
		s.reorder(q)
	}
	return ids
}

// complete ends the flight of an entry that is done with. It returns nil for one
// that is not in flight.
func (s *schedule) complete(id uint64) (*alertQueue, entry) {
	q := s.inFlight[id]
	if q == nil {
		return nil, entry{}
	}
	e := s.recall(q, id)
	q.postponed = 0
	s.reorder(q)
	return q, e
}

// postpone puts the alerts of changes that are in flight behind all others, for
// when they are ready again.
func (s *schedule) postpone(ids ...uint64) {
	s.postponed++
	for _, id := range ids {
		if q := s.inFlight[id]; q != nil {
			q.postponed = s.postponed
		}
	}
}

// release puts entries that are in flight back in their places.
func (s *schedule) release(ids ...uint64) {
	for _, id := range ids {
		if q := s.inFlight[id]; q != nil {
			s.add(q.alert, q.appKey, s.recall(q, id))
		}
	}
}

// drop removes an entry that is queued. It reports false for one that is not.
func (s *schedule) drop(alert string, id uint64) bool {
	q := s.alerts[alert]
	if q == nil {
		return false
	}
	i, found := slices.BinarySearchFunc(q.queued, entry{id: id}, byID)
	if found {
		q.queued = slices.Delete(q.queued, i, i+1)
		s.reorder(q)
	}
	return found
}

// clear forgets all entries, also those in flight.
func (s *schedule) clear() {
	wake, closed := s.wake, s.closed
	*s = newSchedule()
	s.wake, s.closed = wake, closed
}

// recall takes an entry out of its alert's flight.
func (s *schedule) recall(q *alertQueue, id uint64) entry {
	delete(s.inFlight, id)
	i := slices.IndexFunc(q.inFlight, func(e entry) bool { return e.id == id })
	e := q.inFlight[i]
	q.inFlight = slices.Delete(q.inFlight, i, i+1)
	return e
}

// reorder brings an alert to where its state says it belongs: in its app key's heap
// when it is ready, nowhere when it is empty.
func (s *schedule) reorder(q *alertQueue) {
	h := s.ready[q.appKey]
	switch {
	case q.isReady() && q.at < 0:
		if h == nil {
			h = new(readyHeap)
			s.ready[q.appKey] = h
		}
		heap.Push(h, q)
	case q.isReady():
		heap.Fix(h, q.at)
	case q.at >= 0:
		heap.Remove(h, q.at)
	}
	if h != nil && h.Len() == 0 {
		delete(s.ready, q.appKey)
	}
	if len(q.queued) == 0 && len(q.inFlight) == 0 {
		delete(s.alerts, q.alert)
	}
}

// await calls look, with a lock held, until it is done or fails, and waits in between
// until it is worth another try. The error is look's, ctx's, or ErrClosed.
func (s *schedule) await(ctx context.Context, mu *sync.Mutex, look func() (done bool, err error)) error {
	locked := func() (done bool, wake <-chan struct{}, err error) {
		mu.Lock()
		defer mu.Unlock()
		if s.closed {
			return false, nil, ErrClosed
		}
		wake = s.wake // look may find itself that it is worth another try
		done, err = look()
		return done, wake, err
	}
	for {
		done, wake, err := locked()
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

// A readyHeap is the ready alerts of an app key, in the order in which they leave.
type readyHeap []*alertQueue

func (h readyHeap) Len() int           { return len(h) }
func (h readyHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *readyHeap) Push(x any) {
	q := x.(*alertQueue)
	q.at = len(*h)
	*h = append(*h, q)
}
func (h *readyHeap) Pop() any {
	last := len(*h) - 1
	q := (*h)[last]
	q.at = -1
	(*h)[last] = nil
	*h = (*h)[:last]
	return q
}

func byID(a, b entry) int { return cmp.Compare(a.id, b.id) }
