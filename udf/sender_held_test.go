package udf

import (
	"fmt"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"
)

// Everything is held: one request at a time tries, and when it is accepted,
// everything goes on.
func TestHeldHolds(t *testing.T) {
	t.Parallel()
	for _, code := range []int{401, 403} {
		for _, connections := range []int{1, 4} {
			t.Run(fmt.Sprint(code, ", connections ", connections), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections, BatchSize: 10}, func(t *testing.T, r *senderRig) {
					r.api.latency = time.Second
					r.api.answer(always(status(code)))
					r.append(many("x", 100)...)
					r.append(many("y", 100)...)
					time.Sleep(9 * time.Minute)
					// What was under way when the first was refused says nothing new.
					var tries []request
					for _, q := range r.api.sent() {
						if q.at >= r.api.latency {
							tries = append(tries, q)
						}
					}
					if first := tries[0].at; first > r.api.latency+2*retry.HeldInitial {
						t.Errorf("the first try came only after %v", first)
					}
					for i := 1; i < len(tries); i++ {
						if tries[i].at < tries[i-1].at+r.api.latency {
							t.Fatalf("two tries at once:\n%v\n%v", tries[i-1], tries[i])
						}
					}
					if len(tries) < 15 || len(tries) > 60 {
						t.Errorf("%d tries in 9 minutes", len(tries))
					}
					r.api.answer(nil)
					r.drain(2*retry.HeldMax + time.Minute)
					r.complete()
					r.wantLines(1, "all alerts are held")
					r.wantLines(1, `"alerts are no longer held"`)
					r.wantLines(0, "delivery fails")
				})
			})
		}
	}
}

// A try that fails in another way has told nothing.
func TestHeldStaysHeld(t *testing.T) {
	t.Parallel()
	for _, failure := range []*bigpanda.Error{status(0), status(503), statusAfter(429, time.Minute)} {
		inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
			r.api.latency = time.Second
			r.api.answer(always(status(401)))
			r.append("x/a", "y/a", "z/a")
			time.Sleep(time.Minute)
			began := time.Since(r.api.start)
			r.api.answer(always(failure))
			time.Sleep(10 * time.Minute)
			next := began
			for _, q := range r.api.sent() {
				if q.at < began {
					continue
				}
				if q.at < next {
					t.Errorf("a try came at %v, before %v", q.at, next)
				}
				next = q.at + r.api.latency + failure.RetryAfter
			}
			r.wantLines(0, "no longer held")
			r.api.answer(nil)
			r.drain(3 * time.Minute)
			r.complete()
		})
	}
}

// Any answer about the alerts themselves shows that what was wrong is corrected.
func TestHeldOpens(t *testing.T) {
	t.Parallel()
	for _, answer := range []*bigpanda.Error{nil, status(400), status(404)} {
		inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
			r.api.answer(always(status(401)))
			r.append("x/a", "x/b")
			time.Sleep(time.Minute)
			r.api.answer(appKeyRule("x", answer))
			time.Sleep(2 * retry.HeldMax)
			r.wantLines(1, `"alerts are no longer held"`)
			r.append("y/a")
			r.within(time.Second, "another app key goes on", func() bool { return r.api.has("y/a#1") })
		})
	}
}

// 429 with Retry-After pauses everything, and without it, for a while.
func TestHeldPauses(t *testing.T) {
	t.Parallel()
	const wait = 10 * time.Second
	inBubble(t, rigOptions{Connections: 4}, func(t *testing.T, r *senderRig) {
		r.api.answer(func(q request) *bigpanda.Error {
			if q.at == 0 {
				return statusAfter(429, wait)
			}
			return nil
		})
		r.append("x/a")
		for _, alert := range []string{"y/a", "z/a", "x/b"} {
			time.Sleep(time.Second)
			r.append(alert)
		}
		r.drain(time.Minute)
		requests := r.api.sent()
		if at := requests[1].at; at < wait || at > wait+time.Second {
			t.Errorf("BigPanda asked for %v, and the next request came at %v", wait, at)
		}
		r.complete()
		r.wantLines(1, "delivery fails and is tried again")
		r.wantLines(0, "held")
	})
}

// Four connections that are all asked to wait count once.
func TestHeldPausesGrow(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 4, BatchSize: 1}, func(t *testing.T, r *senderRig) {
		r.api.answer(func(q request) *bigpanda.Error {
			if q.at == 0 {
				return status(429)
			}
			return nil
		})
		r.append(many("x", 4)...)
		r.drain(r.api.latency + 2*retry.FailureInitial + time.Second)
		r.complete()
	})
}

// To be asked to come later has nothing to do with what is in a request: it is
// not taken to pieces.
func TestHeldPausesKeepBatches(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 1}, func(t *testing.T, r *senderRig) {
		n := 0
		r.api.answer(func(request) *bigpanda.Error {
			if n++; n < retry.InARow {
				return status(429)
			}
			return nil
		})
		r.append(many("x", 100)...)
		r.drain(2 * time.Minute)
		for _, q := range r.api.sent() {
			if len(q.alerts) != 100 {
				t.Errorf("a request of %d alerts", len(q.alerts))
			}
		}
	})
}

// When something was accepted, waits begin anew, as short as ever.
func TestHeldBeginsAnew(t *testing.T) {
	t.Parallel()
	tests := []struct {
		failure *bigpanda.Error
		first   time.Duration // the longest that the first wait can be
	}{
		{status(401), 2 * retry.HeldInitial},
		{status(404), 2 * retry.HeldInitial},
		{status(429), 2 * retry.FailureInitial},
		{status(503), 2 * retry.FailureInitial},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.failure.Status), func(t *testing.T) {
			inBubble(t, rigOptions{Connections: 1}, func(t *testing.T, r *senderRig) {
				for range 10 {
					r.api.answer(always(tt.failure))
					r.append("x/a", "x/b")
					before := len(r.api.sent())
					time.Sleep(10 * time.Minute)
					requests := r.api.sent()[before:]
					if wait := requests[1].at - requests[0].at; wait > tt.first+r.api.latency {
						t.Errorf("the first wait is %v", wait)
					}
					r.api.answer(nil)
					r.drain(2*retry.HeldMax + time.Second)
				}
			})
		})
	}
}

// A cause that comes and goes with every request does not fill the log.
func TestHeldLog(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 1, BatchSize: 1}, func(t *testing.T, r *senderRig) {
		n := 0
		r.api.answer(func(request) *bigpanda.Error {
			if n++; n%2 == 1 {
				return status(401)
			}
			return nil
		})
		for range 600 {
			r.append(many("x", 4)...)
			time.Sleep(time.Second)
		}
		if held, over := r.lines("all alerts are held"), r.lines("no longer held"); held < 5 || held > 11 || over != held {
			t.Errorf("in 10 minutes %d lines say that everything is held, %d that it is not", held, over)
		}
		r.api.answer(nil)
		r.drain(10 * time.Minute)
		r.complete()
	})
}

func TestHeldLogsEachCause(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
		r.append("x/a", "y/a")
		for _, code := range []int{401, 403, 401} {
			r.api.answer(always(status(code)))
			time.Sleep(5 * time.Minute)
		}
		r.wantLines(2, "reason=token")
		r.wantLines(1, "reason=forbidden")
	})
}
