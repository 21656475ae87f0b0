package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
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
	faults  Faults
	left    int // of faults.Count
	limiter *rate.Limiter
	lifted  context.Context // of which closed is the parent
	lift    context.CancelFunc
	closed  context.Context
	close   context.CancelFunc // from then on next gives no active fault that waits
}

func (s *faultState) init() {
	s.closed, s.close = context.WithCancel(context.Background())
	s.lifted, s.lift = context.WithCancel(s.closed)
}

func (s *faultState) set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.left, s.limiter = f, f.Count, nil
	if f.Rate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(f.Rate), int(math.Ceil(f.Rate)))
	}
	s.lift()
	s.lifted, s.lift = context.WithCancel(s.closed)
}

func (s *faultState) get() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults
	f.Count = s.left
	return f
}

// activeFault is what the faults in force mean for one request.
type activeFault struct {
	Faults                 // the zero value if they do not concern it
	key    string          // of the fault that makes the answer; "": none does
	wait   time.Duration   // with key "rate": until a request is let through
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
	switch {
	case f.MaxAlerts > 0 && alerts > f.MaxAlerts:
		st.key = "max_alerts"
	case f.MaxBytes > 0 && len(body) > f.MaxBytes:
		st.key = "max_bytes"
	case s.limiter != nil:
		if !s.limiter.AllowN(now, 1) {
			st.key = "rate"
			st.wait = time.Duration((1 - s.limiter.TokensAt(now)) / f.Rate * float64(time.Second))
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
	if s.left > 0 {
		if s.left--; s.left == 0 {
			s.faults, s.limiter = Faults{}, nil
		}
	}
	return st
}

// answer makes the answer of an active fault that has a key, neither hangs nor
// drops; taken is what became of the alerts before it.
func (st activeFault) answer(taken Request) answer {
	limit, status := "", 200
	switch st.key {
	case "rate":
		limit, status = fmt.Sprintf(": more than %g requests a second", st.Rate), 429
		if st.RetryAfter == 0 && !st.NoRetryAfter {
			st.RetryAfter = st.wait
		}
	case "max_alerts":
		limit, status = fmt.Sprintf(": more than %d alerts", st.MaxAlerts), 413
	case "max_bytes":
		limit, status = fmt.Sprintf(": more than %d bytes", st.MaxBytes), 413
	}
	taken.Status, taken.RetryAfter = cmp.Or(st.Status, status), seconds(st.RetryAfter)
	taken.Reason = fmt.Sprintf("the fault %q%s", st.key, limit)
	return answer{Request: taken, body: []byte(st.Body)}
}

// seconds writes a duration for Retry-After, rounded up; "" for none.
func seconds(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
