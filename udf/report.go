package udf

import (
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

// lastAnswers are the newest of BigPanda's answers, for whoever asks how it
// goes.
type lastAnswers struct {
	mu      sync.Mutex
	success time.Time
	failure time.Time
	why     string
}

func (l *lastAnswers) accepted(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.success = now
}

func (l *lastAnswers) failed(now time.Time, why *bigpanda.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure, l.why = now, why.Error()
}

// Report tells how delivery goes: what is held and why, and what BigPanda
// answered last.
func (s *Sender) Report() outbox.Delivery {
	var d outbox.Delivery
	s.last.mu.Lock()
	d.LastSuccess, d.LastErrorTime, d.LastError = s.last.success, s.last.failure, s.last.why
	s.last.mu.Unlock()
	d.Held = append(s.gate.report(), s.lanes.report()...)
	return d
}
