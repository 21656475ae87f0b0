package retry

import (
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Isolated holds the alerts that are tried on schedules of their own. It is used
// by all of a sender's workers: mu guards what stands below it.
type Isolated[T any] struct {
	wakeup *Wakeup

	mu       sync.Mutex
	all      []*Alert[T]
	trying   bool                        // one was taken, and is not done with
	cooldown time.Time                   // before this time none is taken
	idle     *backoff.ExponentialBackOff // since an alert was accepted, isolated or not
}

// An Alert is one that is isolated. It belongs to Isolated, or to who took it.
type Alert[T any] struct {
	Change  T
	Backoff *backoff.ExponentialBackOff // goes on with the waits that it has had so far
	Said    LogLimiter
	due     time.Time
	tried   bool // since it was isolated
}

// NewIsolated returns that of a sender whose workers wait with w.
func NewIsolated[T any](w *Wakeup) *Isolated[T] {
	return &Isolated[T]{wakeup: w, idle: NewBackoff(FailureInitial, FailureMax)}
}

// Add puts an alert on its schedule, for its next wait and for as long as BigPanda
// asked to wait. It reports false when all places are taken.
func (s *Isolated[T]) Add(a *Alert[T], atLeast time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= MaxIsolated {
		return false
	}
	a.due = time.Now().Add(max(a.Backoff.NextBackOff(), atLeast))
	if a.tried {
		s.all = append(s.all, a)
	} else {
		// It may be good, and does not wait for those that are known.
		s.all = slices.Insert(s.all, 0, a)
	}
	s.wakeup.at(a.due)
	return true
}

// Take removes an alert whose time has come; nil: there is none, and none before
// the last one that was taken is done with.
func (s *Isolated[T]) Take() *Alert[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	i := slices.IndexFunc(s.all, func(a *Alert[T]) bool { return !now.Before(a.due) })
	if i < 0 || s.trying || now.Before(s.cooldown) {
		return nil
	}
	a := s.all[i]
	s.all = slices.Delete(s.all, i, i+1)
	s.trying, a.tried = true, true
	return a
}

// Done says that the one that was taken is done with, and leaves the connection to
// others for as long as it took: several that BigPanda never answers must not use
// up all the time of a single connection. To wait for a breaker may take far longer
// than a request, and does not count. While nothing is accepted the cooldown is
// longer each time: in an outage, many may be isolated.
func (s *Isolated[T]) Done(took time.Duration, accepted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := min(took, MaxCooldown)
	if !accepted {
		wait = max(wait, s.idle.NextBackOff())
	}
	s.trying, s.cooldown = false, time.Now().Add(wait)
	s.wakeup.at(s.cooldown)
}

// Accepted says that BigPanda took an alert.
func (s *Isolated[T]) Accepted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.Reset()
}

// Empty removes and returns the changes of all of them.
func (s *Isolated[T]) Empty() (changes []T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		changes = append(changes, a.Change)
	}
	s.all = nil
	return changes
}
