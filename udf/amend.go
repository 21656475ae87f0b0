package udf

import (
	"sync"

	"bigpanda-udf/outbox"
)

// An Amendable is a Store that a person may look into, and resolve an alert in.
type Amendable interface {
	// Own has the owner asked whenever somebody does, and Disown ends it.
	Own(outbox.Owner)
	Disown(outbox.Owner)
}

// An inputLock guards what BigPanda was told, which is the handler's while it works
// on a piece of input, from its first look at the state to its Commit, and in
// between of those who look into the outbox or resolve an alert there. A nil
// inputLock is the handler's for good.
type inputLock struct {
	mu     sync.Mutex
	taken  bool // by the handler; its goroutine's
	store  Amendable
	loaded <-chan struct{}
	state  *state
}

// own returns the lock of a handler whose state is loaded when the channel is
// closed. It is called before anything is loaded.
func own(store Store, loaded <-chan struct{}, s *state) *inputLock {
	a, ok := store.(Amendable)
	if !ok {
		return nil
	}
	l := &inputLock{store: a, loaded: loaded, state: s}
	a.Own(l)
	return l
}

// take takes the lock, unless the handler has it.
func (l *inputLock) take() {
	if l != nil && !l.taken {
		l.mu.Lock()
		l.taken = true
	}
}

// leave ends what take began.
func (l *inputLock) leave() {
	if l != nil && l.taken {
		l.taken = false
		l.mu.Unlock()
	}
}

// end is leave for good.
func (l *inputLock) end() {
	l.leave()
	if l != nil {
		l.store.Disown(l)
	}
}

// Turn is part of outbox.Owner.
func (l *inputLock) Turn(do func(known outbox.Known) []outbox.Level) {
	<-l.loaded
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, level := range do(l.state) {
		l.state.amend(level)
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
		known.alert.open--
		delete(s.series, l.Key)
	}
	if err := s.restore(l); err != nil {
		s.drop(l.Key) // it was never told, as after a restart
	}
}
