package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// faultState is the faults in force. A request asks it once for what concerns
// it, and gets a channel that tells when that has changed:
//
//	set/close ──▶ lifted is done ──▶ who hangs or waits asks anew
//
// A count that is used up ends the faults for the requests to come, and lets
// go of nobody.
type faultState struct {
	mu      sync.Mutex
	faults  Faults // Count is what is left of it
	limiter *rate.Limiter
	lifted  context.Context // of which closed is the parent
	lift    context.CancelFunc
	closed  context.Context
	close   context.CancelFunc // from then on next gives no active fault that waits
}

func (s *faultState) set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.limiter = f, nil
	if f.Rate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(f.Rate), int(math.Ceil(f.Rate)))
	}
	s.lift()
	s.lifted, s.lift = context.WithCancel(s.closed)
}

// activeFault is what the faults in force mean for one request.
type activeFault struct {
	Faults                 // the zero value if they do not concern it
	key    string          // of the fault that makes the answer; "": none does
	limit  string          // that the request is over, for the reason
	lifted <-chan struct{} // closed when the faults in force are others
}

// next returns the active fault for a request, and counts it.
func (s *faultState) next(body []byte, alerts int, now time.Time) activeFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults
	if s.closed.Err() != nil {
		f.Latency, f.Hang = 0, false
	}
	if f.Match != "" && !bytes.Contains(body, []byte(f.Match)) {
		return activeFault{lifted: s.lifted.Done()}
	}
	st := activeFault{Faults: f, lifted: s.lifted.Done()}
	over := func(key string, status int, format string, limit any) {
		st.key, st.Status, st.limit = key, cmp.Or(f.Status, status), fmt.Sprintf(": more than "+format, limit)
	}
	switch {
	case f.MaxAlerts > 0 && alerts > f.MaxAlerts:
		over("max_alerts", 413, "%d alerts", f.MaxAlerts)
	case f.MaxBytes > 0 && len(body) > f.MaxBytes:
		over("max_bytes", 413, "%d bytes", f.MaxBytes)
	case s.limiter != nil:
		if !s.limiter.AllowN(now, 1) {
			over("rate", 429, "%g requests a second", f.Rate)
			if f.RetryAfter == 0 && !f.NoRetryAfter {
				st.RetryAfter = time.Duration((1 - s.limiter.TokensAt(now)) / f.Rate * float64(time.Second))
			}
		}
	case f.MaxAlerts > 0 || f.MaxBytes > 0:
	case f.Hang:
		st.key = "hang"
	case f.Drop:
		st.key = "drop"
	case f.Status > 0:
		st.key = "status"
	case f.Body != "":
		st.key = "body"
	}
	if s.faults.Count > 0 {
		if s.faults.Count--; s.faults.Count == 0 {
			s.faults, s.limiter = Faults{}, nil
		}
	}
	return st
}
