package udf

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"
)

// Ten single alerts refused in a row: the app key is held, and there are no
// more dead letters before one is accepted. Other app keys go on.
func TestAppKeyTenRefused(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 4} {
		for _, size := range []int{1, 7, 500} {
			t.Run(fmt.Sprintf("connections %d, batches of %d", connections, size), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections, BatchSize: size}, func(t *testing.T, r *senderRig) {
					r.api.answer(appKeyRule("x", status(400)))
					r.append(many("x", 100)...)
					r.append(many("y", 10)...)
					time.Sleep(time.Minute)
					dead := len(r.queue.DeadLetters())
					if dead == 0 || dead >= retry.InARow {
						t.Fatalf("%d dead letters", dead)
					}
					if n := r.queue.Stats().Queued; n != 100-dead {
						t.Fatalf("%d are left", n)
					}
					before := len(r.api.sent())
					for range 20 {
						time.Sleep(30 * time.Second)
						r.append("x/1", "y/1")
						r.within(time.Second, "the other app key goes on", func() bool { return r.queue.Stats().Queued <= 100-dead+r.count["x/1"]-1 })
					}
					tries := make(map[string]bool)
					for _, q := range r.api.sent()[before:] {
						if q.appKey == "x" {
							if len(q.alerts) != 1 {
								t.Errorf("a try with %d alerts", len(q.alerts))
							}
							tries[q.alerts[0]] = true
						}
					}
					if len(tries) < 5 {
						t.Errorf("in 10 minutes these were tried: %v", tries)
					}
					if n := len(r.queue.DeadLetters()); n != dead {
						t.Errorf("%d dead letters, there were %d", n, dead)
					}
					r.wantLines(dead, "dead letter")

					r.api.answer(nil)
					r.drain(2*retry.HeldMax + 10*time.Second)
					if n := r.api.delivered(); n != 100+10+40-dead {
						t.Errorf("%d were delivered, and %d are dead", n, dead)
					}
					r.wantLines(1, "the alerts of an app key are no longer held")
				})
			})
		}
	}
}

// One that is accepted in between shows that the fault is the others'.
func TestAppKeyNineRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 1, BatchSize: 1}, func(t *testing.T, r *senderRig) {
		r.api.answer(func(q request) *bigpanda.Error {
			if q.has("x/good") {
				return nil
			}
			return status(400)
		})
		for range 5 {
			r.append(many("x", 9)...)
			r.append("x/good")
		}
		r.drain(time.Minute)
		if n := r.queue.Stats().Dead; n != 45 {
			t.Errorf("%d dead letters, want 45", n)
		}
		r.wantLines(0, "held")
	})
}

// What makes an app key held by refusals is told from it being held for
// another reason: then a refusal is an answer like any other.
func TestAppKeyRefusedAfterOutage(t *testing.T) {
	t.Parallel()
	for _, before := range []int{503, 404, 401} {
		inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
			r.api.answer(always(status(before)))
			r.append("x/a", "x/b", "x/c")
			time.Sleep(10 * time.Minute)
			r.api.answer(always(status(400)))
			r.drain(2*retry.HeldMax + 2*retry.FailureMax)
			r.wantLines(3, "dead letter")
		})
	}
}

// 404 holds one app key; whether it is back is tried with one alert at a time.
func TestAppKeyNotFound(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 4} {
		inBubble(t, rigOptions{Connections: connections, BatchSize: 10}, func(t *testing.T, r *senderRig) {
			r.api.answer(appKeyRule("x", status(404)))
			r.append(many("x", 100)...)
			for range 50 {
				time.Sleep(10 * time.Second)
				r.append("y/a", "z/a")
				r.within(time.Second, "others go on", func() bool { return r.queue.Stats().Queued == 100 })
			}
			var tries []request
			for _, q := range r.api.sent() {
				if q.appKey == "x" && q.at > r.api.latency {
					tries = append(tries, q)
				}
			}
			if first := tries[0].at; first > r.api.latency+2*retry.HeldInitial {
				t.Errorf("the first try came only after %v: those under way at once count once", first)
			}
			for i, q := range tries {
				if len(q.alerts) != 1 {
					t.Errorf("a try with more than one alert: %v", q)
				}
				if i > 0 && q.at < tries[i-1].at+r.api.latency {
					t.Errorf("two tries at once:\n%v\n%v", tries[i-1], q)
				}
			}
			r.wantLines(1, "the alerts of an app key are held")
			r.api.answer(nil)
			r.drain(2*retry.HeldMax + 10*time.Second)
			r.complete()
		})
	}
}

// A worker that is between two tries when its app key is held goes no further.
func TestAppKeyHeldMeanwhile(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 2, BatchSize: 10}, func(t *testing.T, r *senderRig) {
		r.api.answer(poison("x/0", statusAfter(503, 5*time.Second)))
		r.append(many("x", 10)...)
		time.Sleep(2 * time.Second)
		r.api.answer(always(status(404)))
		before := len(r.api.sent())
		r.append("x/a")
		time.Sleep(time.Minute)
		for _, q := range r.api.sent()[before:] {
			if len(q.alerts) != 1 {
				t.Errorf("not a try with one alert: %v", q)
			}
		}
		r.api.answer(nil)
		r.drain(2 * retry.HeldMax)
		r.complete()
	})
}

// Workers that wait for the queue when an app key opens, or is due, wake, also
// when the one that held it is busy.
func TestAppKeyWakesWorkers(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 4, BatchSize: 1}, func(t *testing.T, r *senderRig) {
		r.api.delay(func(q request) time.Duration {
			if q.appKey == "y" || q.at > time.Minute {
				return time.Hour
			}
			return r.api.latency
		})
		r.api.answer(appKeyRule("x", status(404)))
		r.append("x/0")
		time.Sleep(r.api.latency / 2)
		r.append(many("y", 3)...) // all connections are busy
		time.Sleep(10 * time.Second)
		r.api.answer(nil)
		r.within(2*retry.HeldMax, "it is tried by the only connection that is free", func() bool { return r.api.has("x/0#1") })
	})
	inBubble(t, rigOptions{Connections: 4, BatchSize: 1}, func(t *testing.T, r *senderRig) {
		r.api.delay(func(q request) time.Duration {
			if q.at < 5*time.Second {
				return r.api.latency
			}
			return 10 * time.Second
		})
		r.api.answer(always(status(404)))
		r.append("x/0")
		time.Sleep(5 * time.Second)
		r.api.answer(nil)
		r.within(retry.HeldMax, "it is tried", func() bool { now, _ := r.api.underWay(); return now == 1 })
		r.append(many("x", 5)[1:]...) // while the try is under way
		r.within(15*time.Second, "all connections are used when it opens", func() bool { now, _ := r.api.underWay(); return now == 4 })
		r.drain(time.Minute)
		r.complete()
	})
}

// An app key that is due while all of its alerts are in flight is no reason to
// turn round and round (the fake clock would stand still).
func TestAppKeyWithNothingToTry(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 3, BatchSize: 1}, func(t *testing.T, r *senderRig) {
		r.api.delay(func(q request) time.Duration {
			if q.has("x/1") {
				return time.Hour
			}
			return r.api.latency
		})
		r.api.answer(poison("x/0", status(404)))
		r.append("x/0", "x/1")
		time.Sleep(time.Second)
		r.api.answer(poison("x/1", status(503)))
		time.Sleep(2 * time.Hour)
		r.api.answer(nil)
		r.api.delay(nil)
		r.drain(2 * time.Hour)
		r.complete()
	})
}

// 404 and 200 in turns do not fill the log.
func TestAppKeyLog(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 1, BatchSize: 1}, func(t *testing.T, r *senderRig) {
		n := 0
		r.api.answer(func(request) *bigpanda.Error {
			if n++; n%2 == 1 {
				return status(404)
			}
			return nil
		})
		for range 600 {
			r.append(many("x", 4)...)
			time.Sleep(time.Second)
		}
		held, over := r.lines("app key are held"), r.lines("app key are no longer held")
		if held < 5 || held > 11 || over != held {
			t.Errorf("in 10 minutes %d lines say that it is held, %d that it is not", held, over)
		}
	})
}

func TestFirstOfEach(t *testing.T) {
	t.Parallel()
	r := newSenderRig(t)
	r.append("x/a", "x/b", "x/a", "x/c", "x/b")
	batch, err := r.queue.Next(t.Context(), 10, nil)
	if err != nil {
		t.Fatal(err)
	}
	orders := make(map[string]bool)
	for range 200 {
		var order []string
		firsts := firstOfEach(batch)
		if firsts[0].Alert != "x/c" {
			t.Fatalf("the first is of %s, not of the newest alert", firsts[0].Alert)
		}
		for _, c := range firsts {
			order = append(order, string(c.Payload))
		}
		orders[fmt.Sprint(order)] = true
		slices.Sort(order)
		if !slices.Equal(order, []string{"x/a#1", "x/b#1", "x/c#1"}) {
			t.Fatalf("got %v", order)
		}
	}
	if len(orders) != 2 {
		t.Errorf("of 2 orders there were %d", len(orders))
	}
}

// An app key that was corrected: what waits under the old one, which BigPanda does
// not know, is given up, but not before it takes alerts of the new one: the fault
// may be the address's or the token's.
func TestOutdatedAppKey(t *testing.T) {
	t.Parallel()
	hasLeft := func(appKey string) bool { return appKey == "wrong" || appKey == "old" }
	t.Run("given up", func(t *testing.T) {
		inBubble(t, rigOptions{AppKey: "right", HasLeft: hasLeft}, func(t *testing.T, r *senderRig) {
			r.api.answer(always(status(404)))
			r.append(many("wrong", 900)...)
			time.Sleep(10 * time.Minute)
			if n := len(r.queue.DeadLetters()); n != 0 {
				t.Fatalf("%d dead letters while nothing is accepted", n)
			}
			r.api.answer(appKeyRule("wrong", status(404)))
			r.append("right/1")
			r.within(2*retry.HeldMax+10*time.Second, "all are dead letters", func() bool { return r.queue.Stats().Dead == 900 && r.queue.Stats().Queued == 0 })
			if r.lines("no longer in force") == 0 || r.lines("payload=") > 0 {
				t.Error("the log has no line on it, or one for each alert")
			}
		})
	})
	t.Run("not one that BigPanda knows", func(t *testing.T) {
		inBubble(t, rigOptions{AppKey: "right", HasLeft: hasLeft}, func(t *testing.T, r *senderRig) {
			r.append("right/1", "old/1")
			r.drain(time.Minute)
			if n := r.api.delivered(); n != 2 {
				t.Errorf("%d were delivered", n)
			}
		})
	})
	t.Run("not the one in force, nor another task's, nor where none is known", func(t *testing.T) {
		another := func(string) bool { return false }
		for _, o := range []rigOptions{{AppKey: "wrong", HasLeft: hasLeft}, {AppKey: "right", HasLeft: another}, {}} {
			inBubble(t, o, func(t *testing.T, r *senderRig) {
				r.api.answer(appKeyRule("wrong", status(404)))
				r.append("right/1", "wrong/1")
				time.Sleep(10 * time.Minute)
				if n := r.queue.Stats().Queued; n != 1 || len(r.queue.DeadLetters()) > 0 {
					t.Errorf("%d are queued, and %d dead letters", n, len(r.queue.DeadLetters()))
				}
			})
		}
	})
}
