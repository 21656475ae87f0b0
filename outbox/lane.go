package outbox

import (
	"cmp"
	"slices"
)

// A line is the changes of one alert. It is ready, and in its lane's heap,
// when it has a queued change and none in flight.
type line struct {
	alert, lane string
	queued      []Change // ascending by ID
	flying      []Change
	at          int // in its lane's heap, -1 when not there
}

func (l *line) ready() bool { return len(l.queued) > 0 && len(l.flying) == 0 }

// pop removes the oldest queued change.
func (l *line) pop() Change {
	c := l.queued[0]
	l.queued[0] = Change{} // or the array would keep the payload
	l.queued = l.queued[1:]
	return c
}

// newest returns the newest change, queued or in flight.
func (l *line) newest() Change {
	return slices.MaxFunc(slices.Concat(l.flying, l.queued), byID)
}

// recall takes a change out of the flight.
func (l *line) recall(id uint64) Change {
	i := slices.IndexFunc(l.flying, func(c Change) bool { return c.ID == id })
	c := l.flying[i]
	l.flying = slices.Delete(l.flying, i, i+1)
	return c
}

// push puts changes that were in flight back in their places.
func (l *line) push(changes []Change) {
	// All of them at once: an alert that flaps has many behind them to move.
	l.queued = slices.Concat(changes, l.queued)
	if !slices.IsSortedFunc(l.queued, byID) {
		slices.SortFunc(l.queued, byID)
	}
}

// A lane is a heap of ready lines, the one with the oldest change first.
type lane struct{ ready []*line }

// head is the ID of the lane's oldest ready change.
func (h *lane) head() uint64 { return h.ready[0].queued[0].ID }

// The methods that container/heap wants.

func (h *lane) Len() int           { return len(h.ready) }
func (h *lane) Less(i, j int) bool { return h.ready[i].queued[0].ID < h.ready[j].queued[0].ID }
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

func byID(a, b Change) int { return cmp.Compare(a.ID, b.ID) }
