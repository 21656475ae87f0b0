package udf

import (
	"fmt"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"
)

// What becomes of an alert on its own schedule, by the answer that it gets in
// the end. The queue holds two more changes of it.
func TestIsolatedEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer *bigpanda.Error
		first  bool // that answer is for the first of its changes alone
		dead   int
		left   int
		log    string
	}{
		{"it is accepted", nil, false, 0, 0, "an alert that is sent alone fails"},
		{"it is refused: its next changes go on", status(400), true, 1, 0, "dead letter"},
		{"they are all refused", status(400), false, 3, 0, "dead letter"},
		{"its app key is not found", status(404), false, 0, 3, "app key are held"},
		{"it alone is not authorized: nothing is held", status(401), false, 0, 3, "reason=token"},
		{"it goes on failing", status(0), false, 0, 3, "reason=network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
				r.api.answer(poison("x/bad", status(500)))
				r.append("x/bad")
				time.Sleep(time.Minute)
				r.append("x/bad", "x/bad")
				r.api.answer(func(q request) *bigpanda.Error {
					if q.has("x/bad") && (!tt.first || q.alerts[0] == "x/bad#1") {
						return tt.answer
					}
					return nil
				})
				time.Sleep(3 * time.Minute)
				if s := r.queue.Stats(); s.Dead != tt.dead || s.Queued != tt.left {
					t.Errorf("%+v, want %d dead and %d left", s, tt.dead, tt.left)
				}
				if r.lines(tt.log) == 0 {
					t.Errorf("the log does not say %q:\n%s", tt.log, r.log.String())
				}
				r.append("y/a")
				r.within(time.Second, "others go on", func() bool { return r.api.has("y/a#1") })
				r.wantLines(0, "all alerts are held")

				r.api.answer(nil)
				r.drain(2*retry.HeldMax + time.Second)
			})
		})
	}
}

// Alerts that BigPanda never answers take up to half of the time of a single
// connection, however many they are.
func TestIsolatedHang(t *testing.T) {
	t.Parallel()
	const timeout = 30 * time.Second
	inBubble(t, rigOptions{Connections: 1}, func(t *testing.T, r *senderRig) {
		bad := func(q request) bool { return q.has("x/0") || q.has("x/1") || q.has("x/2") || q.has("x/3") }
		r.api.delay(func(q request) time.Duration {
			if bad(q) {
				return timeout
			}
			return r.api.latency
		})
		r.api.answer(func(q request) *bigpanda.Error {
			if bad(q) {
				return &bigpanda.Error{Class: bigpanda.Retry, Reason: bigpanda.ReasonTimeout}
			}
			return nil
		})
		for i := range 10 {
			r.append(fmt.Sprint("x/", i))
			r.append(many("y", 10)...)
			time.Sleep(10 * time.Minute)
		}
		time.Sleep(time.Hour)
		if n := r.queue.Stats().Queued; n != 4 {
			t.Errorf("%d are left", n)
		}
		for range 50 {
			time.Sleep(17 * time.Second)
			r.append("x/9", "y/9")
			r.within(timeout+time.Second, "others go on", func() bool { return r.queue.Stats().Queued == 4 })
		}
		r.api.delay(nil)
		r.api.answer(nil)
		r.drain(3 * time.Minute)
		r.complete()
	})
}

func TestIsolatedRetryAfter(t *testing.T) {
	t.Parallel()
	const wait = 5 * time.Minute
	inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
		r.api.answer(poison("x/bad", statusAfter(503, wait)))
		r.append("x/bad")
		time.Sleep(10 * wait)
		var last time.Duration
		for i, q := range r.api.sent() {
			if i > 0 && q.at < last+wait {
				t.Errorf("a try came %v after the last", q.at-last)
			}
			last = q.at
		}
		if n := len(r.api.sent()); n < 8 {
			t.Errorf("%d tries", n)
		}
	})
}

// An isolated alert that waits long while everything is held makes the others
// wait no longer for it.
func TestIsolatedWaitWhileHeld(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 2}, func(t *testing.T, r *senderRig) {
		bad := func(q request) *bigpanda.Error {
			if q.has("x/0") || q.has("y/0") || q.has("z/0") {
				return status(500)
			}
			return nil
		}
		r.api.answer(bad)
		r.append("x/0", "y/0", "z/0")
		time.Sleep(time.Minute)
		r.api.answer(always(status(401)))
		r.append("x/1", "y/1", "z/1")
		time.Sleep(time.Hour)
		r.api.answer(nil)
		r.drain(2*retry.HeldMax + 3*retry.MaxCooldown + 2*retry.FailureMax)
		r.complete()
	})
}
