package udf

import (
	"sync"

	"bigpanda-udf/outbox"
)

// An Amendable is a Store that a person may look into, and resolve an alert in.
type Amendable interface {
	// Own has the owner asked whenever an alert is resolved, and Disown ends it.
	Own(outbox.Owner)
	Disown(outbox.Owner)
	// Refresh replaces the values of levels that were appended before by what
	// refreshed makes of them, unless that is nil, as far as it can: it is nothing
	// new of what BigPanda was told.
	Refresh(keys []string, refreshed func(outbox.Level) []byte)
}

// A turn is whose it is to know what BigPanda was told: the handler's for a
// piece of input, from its first look at the state to its Commit, or that of
// somebody who resolves an alert from outside. A nil turn is the handler's for
// good.
type turn struct {
	mu     sync.Mutex
	taken  bool // by the handler; its goroutine's
	store  Amendable
	loaded <-chan struct{}
	state  *state
}

// own returns the turn of a handler whose state is loaded when the channel is
// closed. It is called before anything is loaded.
func own(store Store, loaded <-chan struct{}, s *state) *turn {
	a, ok := store.(Amendable)
	if !ok {
		return nil
	}
	t := &turn{store: a, loaded: loaded, state: s}
	a.Own(t)
	return t
}

// take waits until it is the handler's turn.
func (t *turn) take() {
	if t != nil && !t.taken {
		t.lock()
	}
}

func (t *turn) lock() {
	t.mu.Lock()
	t.taken = true
}

// leave ends what take began.
func (t *turn) leave() {
	if t != nil && t.taken {
		t.taken = false
		t.mu.Unlock()
	}
}

// end is leave for good.
func (t *turn) end() {
	t.leave()
	if t != nil {
		t.store.Disown(t)
	}
}

// Amend is part of outbox.Owner.
func (t *turn) Amend(do func(last func(alert string) int64) []outbox.Level) {
	<-t.loaded
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range do(t.state.last) {
		t.state.amend(l)
	}
}

// last returns the newest timestamp that was sent for an alert, 0 for one that
// is not remembered.
func (s *state) last(alert string) int64 {
	if a := s.alerts[alert]; a != nil {
		return a.last
	}
	return 0
}

// amend takes over the level of a series that is in the store already.
func (s *state) amend(l outbox.Level) {
	if known, open := s.series[l.Key]; open {
		known.alert.open--
		delete(s.series, l.Key)
	}
	if err := s.restore(l); err != nil {
		s.drop(l.Key) // it was never told, as after a restart
	}
}
