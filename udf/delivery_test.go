package udf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"
)

// The outcome classes, with an API that comes to its senses after a while (P5).
func TestDeliveryOutcomes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		failure *bigpanda.Error
		lasts   time.Duration
		soon    time.Duration // by when all has arrived, from the end of the failure
		log     string        // one line says so
		over    string        // and one that it is over
	}{
		{"no connection", status(0), time.Minute, 2 * retry.FailureMax, "delivery fails and is tried again", "alerts are delivered again"},
		{"500", status(500), time.Minute, 2 * retry.FailureMax, "delivery fails and is tried again", "alerts are delivered again"},
		{"503 for a second", status(503), time.Second, 5 * time.Second, "delivery fails and is tried again", "alerts are delivered again"},
		{"503 for hours", status(503), 3 * time.Hour, 2 * retry.FailureMax, "delivery fails and is tried again", "alerts are delivered again"},
		{"429", status(429), time.Minute, 4 * retry.FailureMax, "delivery fails and is tried again", "alerts are delivered again"},
		{"401", status(401), time.Minute, 2 * retry.HeldMax, "all alerts are held", "alerts are no longer held"},
		{"401 for hours", status(401), 3 * time.Hour, 2 * retry.HeldMax, "all alerts are held", "alerts are no longer held"},
		{"403", status(403), time.Minute, 2 * retry.HeldMax, "all alerts are held", "alerts are no longer held"},
		{"404", status(404), time.Minute, 2 * retry.HeldMax, "the alerts of an app key are held", "the alerts of an app key are no longer held"},
		{"404 for hours", status(404), 3 * time.Hour, 2 * retry.HeldMax, "the alerts of an app key are held", "the alerts of an app key are no longer held"},
	}
	for _, tt := range tests {
		for _, connections := range []int{1, 4} {
			t.Run(fmt.Sprint(tt.name, ", connections ", connections), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections, BatchSize: 50}, func(t *testing.T, r *senderRig) {
					r.api.answer(always(tt.failure))
					r.append(many("x", 100)...)
					time.Sleep(tt.lasts / 2)
					r.append(many("x", 120)...)
					time.Sleep(tt.lasts / 2)
					if r.api.delivered() > 0 {
						t.Fatal("the test's API accepts what it should not")
					}
					r.api.answer(nil)
					// 340 alerts, some of them in pieces as they were suspected.
					r.drain(tt.soon + 5*time.Second)
					r.complete()
					if n, most := r.lines(tt.log), 1+int(tt.lasts/retry.LogAgain); n < 1 || n > most {
						t.Errorf("%d lines say %q, want 1 to %d", n, tt.log, most)
					}
					r.wantLines(1, `"`+tt.over+`"`)
				})
			})
		}
	}
}

func TestDeliveryBacksOff(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 4} {
		for _, failure := range []*bigpanda.Error{status(0), status(503), status(429), status(401), status(404)} {
			t.Run(fmt.Sprint(failure.Status, ", connections ", connections), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
					r.api.answer(always(failure))
					r.append(many("x", 300)...)
					time.Sleep(time.Hour)
					// The longest wait is on average 15 s, or 30 s.
					first, last := 0, 0
					for _, q := range r.api.sent() {
						switch {
						case q.at < time.Minute:
							first++
						case q.at > 30*time.Minute:
							last++
						}
					}
					if first < 4 || first > 20*connections {
						t.Errorf("%d requests in the first minute of an outage", first)
					}
					if last < 30 || last > 250 {
						t.Errorf("%d requests in the second half hour of an outage", last)
					}
				})
			})
		}
	}
}

func TestDeliveryRetryAfter(t *testing.T) {
	t.Parallel()
	for _, code := range []int{429, 503, 401, 404} {
		for _, connections := range []int{1, 4} {
			t.Run(fmt.Sprint(code, ", connections ", connections), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
					const wait = 3 * time.Minute
					first := true
					r.api.answer(func(request) *bigpanda.Error {
						if first {
							first = false
							return statusAfter(code, wait)
						}
						return nil
					})
					r.append("x/a", "x/b")
					r.drain(time.Hour)
					requests := r.api.sent()
					if gap := requests[1].at - requests[0].at; gap < wait {
						t.Errorf("the next request came after %v, BigPanda had asked for %v", gap, wait)
					}
					r.complete()
				})
			})
		}
	}
}

// P5: what is queued during an outage arrives in order for each alert, and
// what was intermediate, too.
func TestDeliveryOutage(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 4} {
		inBubble(t, rigOptions{Connections: connections, BatchSize: 20}, func(t *testing.T, r *senderRig) {
			r.append("x/0", "y/0", "z/0")
			r.drain(time.Minute)
			r.api.answer(always(status(0)))
			for range 60 {
				time.Sleep(time.Second)
				r.append(many("x", 10)...)
				r.append("y/0", "z/0", "y/0")
			}
			r.api.answer(nil)
			r.drain(2*retry.FailureMax + 10*time.Second)
			r.complete()
		})
	}
}

// An alert that always fails, among many that do not: it holds back only
// itself (P5).
func TestDeliveryPoison(t *testing.T) {
	t.Parallel()
	failures := map[string]*bigpanda.Error{
		"500": status(500), "network": status(0), "503 with Retry-After": statusAfter(503, 2*time.Second),
		"403": status(403), // by a firewall that does not like its text
	}
	for name, failure := range failures {
		for _, connections := range []int{1, 4} {
			for _, at := range []int{0, 499, 1000} {
				t.Run(fmt.Sprintf("%s, connections %d, alert %d", name, connections, at), func(t *testing.T) {
					inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
						poisonous(t, r, failure, fmt.Sprint("x/", at))
					})
				})
			}
		}
	}
}

func poisonous(t *testing.T, r *senderRig, failure *bigpanda.Error, bad string) {
	t.Helper()
	r.api.answer(poison(bad, failure))
	r.append(many("x", 1001)...)
	r.append(bad) // a later change of the same alert
	r.within(3*time.Minute, "all good ones have arrived", func() bool { return r.queue.Stats().Queued == 2 })
	for i, alert := range many("x", 1001) {
		if arrived := r.api.has(alert + "#1"); arrived != (alert != bad) {
			t.Fatalf("alert %d: arrived: %v", i, arrived)
		}
	}

	// One that stood alone for long may have everything held, until something
	// to compare comes. From then on it is tried alone, and slowly, and nobody
	// waits for it.
	time.Sleep(2 * time.Minute)
	r.append("x/1", "y/1")
	r.within(5*time.Minute, "good ones arrive", func() bool { return r.queue.Stats().Queued == 2 })
	time.Sleep(time.Minute)
	before := len(r.api.sent())
	tries := 0
	for range 60 {
		time.Sleep(10 * time.Second)
		r.append("x/1", "y/1")
		at := time.Now()
		r.within(time.Minute, "a good one arrives", func() bool { return r.queue.Stats().Queued == 2 })
		if took := time.Since(at); took > 3*time.Second {
			t.Errorf("a good one took %v", took)
		}
	}
	for _, q := range r.api.sent()[before:] {
		if q.has(bad) {
			tries++
			if len(q.alerts) > 1 {
				t.Errorf("the bad one took others along: %v", q)
			}
		}
	}
	if tries < 10 || tries > 120 {
		t.Errorf("in 10 minutes it was tried %d times", tries)
	}
	if n := r.lines("an alert that is sent alone fails"); n < 1 || n > 2 {
		t.Errorf("in 12 minutes %d lines say that it fails", n)
	}

	r.api.answer(nil)
	r.drain(2*retry.FailureMax + 5*time.Second)
	r.complete()
}

// Before anything else came, there is nothing to tell it from an outage by.
func TestDeliveryPoisonComesFirst(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 4} {
		inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
			r.api.answer(poison("x/bad", status(500)))
			r.append("x/bad")
			time.Sleep(10 * time.Minute)
			r.append(many("x", 1000)...)
			r.append("x/bad", "x/1")
			r.within(time.Second, "all good ones have arrived", func() bool { return r.queue.Stats().Queued == 2 })
			r.api.answer(nil)
			r.drain(time.Minute)
			r.complete()
		})
	}
}

func TestDeliverySeveralPoisons(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 4} {
		inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
			bad := []string{"x/0", "x/1", "x/2", "x/300", "x/700", "y/3"}
			r.api.answer(func(q request) *bigpanda.Error {
				for _, alert := range bad {
					if q.has(alert) {
						return status(500)
					}
				}
				return nil
			})
			r.append(many("x", 1000)...)
			r.append(many("y", 1000)...)
			r.within(10*time.Minute, "all good ones have arrived", func() bool { return r.queue.Stats().Queued == len(bad) })
			time.Sleep(time.Minute)
			for range 20 {
				time.Sleep(10 * time.Second)
				r.append(many("x", 100)[10:]...)
				r.within(10*time.Second, "good ones arrive", func() bool { return r.queue.Stats().Queued == len(bad) })
			}
			r.api.answer(nil)
			r.drain(time.Minute)
			r.complete()
		})
	}
}

// BigPanda fails for one app key alone: others do not wait for it (P5).
func TestDeliveryAppKeyFails(t *testing.T) {
	t.Parallel()
	for _, failure := range []*bigpanda.Error{status(500), status(0), status(404), status(403), status(429), statusAfter(429, 5*time.Second)} {
		for _, connections := range []int{1, 4} {
			t.Run(fmt.Sprint(failure.Status, " ", failure.RetryAfter, ", connections ", connections), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections, BatchSize: 50}, func(t *testing.T, r *senderRig) {
					r.api.answer(appKeyRule("x", failure))
					r.append(many("x", 300)...) // more than all connections take at once
					r.append(many("y", 100)...)
					r.append(many("z", 100)...)
					r.within(4*time.Minute, "the others have arrived", func() bool { return r.queue.Stats().Queued == 300 })
					for range 20 {
						time.Sleep(5 * time.Second)
						r.append("x/1", "y/1")
					}
					r.within(2*time.Minute, "the others have arrived", func() bool { return r.queue.Stats().Queued == 320 })
					r.api.answer(nil)
					r.drain(2*retry.HeldMax + 10*time.Second)
					r.complete()
				})
			})
		}
	}
}

// P5: an alert that is refused is split out and becomes a dead letter, once,
// with the answer.
func TestDeliveryRefused(t *testing.T) {
	t.Parallel()
	bad := map[string]bool{"x/0#1": true, "x/7#1": true, "x/8#1": true, "x/8#2": true, "x/499#1": true, "y/1#1": true}
	for _, connections := range []int{1, 4} {
		inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
			r.api.answer(func(q request) *bigpanda.Error {
				if slices.ContainsFunc(q.alerts, func(p string) bool { return bad[p] }) {
					return status(400)
				}
				return nil
			})
			r.append(many("x", 1000)...)
			r.append(many("y", 2)...)
			r.append(many("x", 10)...)
			r.append(many("x", 10)...)
			r.drain(time.Minute)
			dead := make(map[string]int)
			for _, d := range r.queue.DeadLetters() {
				dead[string(d.Payload)]++
				if d.Status != 400 || d.Answer != "answer 400" {
					t.Errorf("dead letter %s has answer %d %q", d.Payload, d.Status, d.Answer)
				}
			}
			for alert, n := range r.count {
				for i := range n {
					p := fmt.Sprintf("%s#%d", alert, i+1)
					if r.api.has(p) == bad[p] || dead[p] != map[bool]int{true: 1}[bad[p]] {
						t.Errorf("%s: arrived: %v, dead letters: %d", p, r.api.has(p), dead[p])
					}
				}
			}
			r.wantLines(len(bad), "dead letter")
			r.wantLines(1, "payload=x/7#1")
			if n := len(r.api.sent()); n > 120 {
				t.Errorf("it took %d requests to split out %d of 1,022", n, len(bad))
			}
			if at := r.api.sent(); at[len(at)-1].at > 10*time.Second {
				t.Errorf("it took %v", at[len(at)-1].at)
			}
		})
	}
}

// P5: when a change could not be delivered, no later one of its alert goes on,
// even if its app key is opened by another request at that moment.
func TestDeliveryNothingOvertakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSenderRig(t)
		s := newRigSender(r.queue, r.api, rigOptions{})
		r.append("x/a", "x/b", "x/a", "x/c")
		batch, err := r.queue.Next(t.Context(), 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := s.newDelivery("x")
		d.release(batch[:2])
		d.deliver(t.Context(), batch[2:])
		if got := r.api.sent(); len(got) != 1 || fmt.Sprint(got[0].alerts) != "[x/c#1]" {
			t.Errorf("sent %v", got)
		}
		if got := r.queue.Stats(); got.Queued != 3 || got.InFlight != 0 {
			t.Errorf("the queue has %+v", got)
		}
	})
}

// A dead letter shows in the log what was refused, but not all of it.
func TestDeliveryLogsPayloads(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
		r.api.answer(always(status(400)))
		r.append("x/a" + strings.Repeat("ä", 500_000))
		r.drain(time.Minute)
		r.wantLines(1, `payload="x/aää`)
		r.wantLines(1, "ää… (") // cut between two characters
		if n := len(r.log.String()); n > 4*maxLogged {
			t.Errorf("the log is %d bytes long", n)
		}
	})
}

// A request that is too large as a whole is none with a bad alert in it.
func TestDeliveryTooLarge(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 1}, func(t *testing.T, r *senderRig) {
		r.api.answer(func(q request) *bigpanda.Error {
			if len(q.alerts) > 100 {
				return status(413)
			}
			return nil
		})
		r.append(many("x", 1000)...)
		r.append(many("x", 1000)...)
		r.drain(time.Minute)
		r.complete()
		r.wantLines(0, "dead letter")
	})
}
