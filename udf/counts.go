package udf

import "bigpanda-udf/counters"

// counts are what became of the points: what others ask for, and what the log alone
// tells.
type counts struct {
	counters.Input
	resent, unseen int
	ahead          int // changes dated now
	sharedAlerts   int
}

// publish lets count see what was counted. mu is locked.
func (h *Handler) publish() {
	h.counted.Lock()
	defer h.counted.Unlock()
	h.counted.Input, h.counted.Active = h.counts.Input, h.state.active
}

// count adds what was counted up to the last Commit.
func (h *Handler) count(all *counters.Counters) {
	h.counted.Lock()
	defer h.counted.Unlock()
	all.Input.Add(h.counted.Input)
}

// Counts returns what has been counted so far. No other method may be called
// meanwhile.
func (h *Handler) Counts() counters.Input { return h.counts.Input }
