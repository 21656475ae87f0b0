package udf

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// named names n alerts of app key x.
func named(name string, n int) (alerts []string) {
	for i := range n {
		alerts = append(alerts, fmt.Sprintf("x/%s%d", name, i))
	}
	return alerts
}

// bad answers what holds one of the alerts that are called so.
func bad(e *bigpanda.Error) rule {
	return func(r request) *bigpanda.Error {
		if slices.ContainsFunc(r.alerts, func(p string) bool { return strings.HasPrefix(p, "x/bad") }) {
			return e
		}
		return nil
	}
}

// good is how many of the good alerts have arrived.
func (r *senderRig) good() (n int) {
	for alert := range r.count {
		if strings.HasPrefix(alert, "x/good") && r.api.has(alert+"#1") {
			n++
		}
	}
	return n
}

// mayBeDead is how many alerts of an app key may be dead letters after requests:
// nine for each time that one was accepted, and nine before.
func mayBeDead(requests []request) int {
	times := 1
	for _, q := range requests {
		if q.answer == nil {
			times++
		}
	}
	return times * (retry.InARow - 1)
}

// Alerts that BigPanda does not take, whatever their number, do not hold up those
// behind them. Those that are refused make no more dead letters than one by one
// they could.
func TestBadBeforeGood(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		code      int
		bad, good int
		shuffled  bool
		requests  int // at most
	}{
		{"50 of 500", 500, 50, 450, false, 60},
		{"200 of 300", 500, 200, 100, false, 60},
		{"600 of 700", 400, 600, 100, false, 60},
		{"2,000 of 2,050", 400, 2000, 50, false, 100},
		{"100 of 500, anywhere", 500, 100, 400, true, 700},
		{"100 of 500, anywhere", 400, 100, 400, true, 700},
		{"600 of 700", 500, 600, 100, false, 60},
		{"5,000 of 5,050", 500, 5000, 50, false, 100},
		{"5,000 of 5,050", 400, 5000, 50, false, 150},
		{"50 of 500, by a firewall", 403, 50, 450, false, 60},
	}
	for _, tt := range tests {
		tt.bad = min(tt.bad, test.Volume(5000, 700))
		for _, connections := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s, %d, connections %d", tt.name, tt.code, connections), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSenderRig(t)
					r.api.latency = 10 * time.Millisecond
					r.api.answer(bad(status(tt.code)))
					alerts := slices.Concat(named("bad", tt.bad), named("good", tt.good))
					if tt.shuffled {
						rand.Shuffle(len(alerts), func(i, j int) { alerts[i], alerts[j] = alerts[j], alerts[i] })
					}
					r.append(alerts...)
					r.start(rigOptions{Connections: connections})
					defer r.stop()
					r.within(30*time.Second, "all good ones have arrived", func() bool { return r.good() == tt.good })
					if n := len(r.api.sent()); n > tt.requests {
						t.Errorf("it took %d requests", n)
					}
					time.Sleep(10 * time.Minute)
					if dead, most := r.queue.Stats().Dead, mayBeDead(r.api.sent()); dead > most {
						t.Errorf("%d dead letters, want at most %d", dead, most)
					}
					if s := r.queue.Stats(); s.Queued+s.Dead != tt.bad {
						t.Errorf("%+v, want %d queued or dead", s, tt.bad)
					}
				})
			})
		}
	}
}

// Good alerts that come one by one later free more and more of the bad ones: in
// the end each of those is dead, or on its own schedule, and nobody waits.
func TestBadAreSortedOut(t *testing.T) {
	t.Parallel()
	for _, code := range []int{500, 400} {
		for _, connections := range []int{1, 4} {
			t.Run(fmt.Sprintf("%d, connections %d", code, connections), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
					r.api.answer(bad(status(code)))
					r.append(named("bad", 200)...)
					time.Sleep(time.Minute)
					for n, alert := range named("good", 60) {
						time.Sleep(5 * time.Second)
						r.append(alert)
						within := 2 * retry.HeldMax
						if n > 30 {
							within = time.Second
						}
						r.within(within, fmt.Sprint("good one ", n, " has arrived"), func() bool { return r.good() == n+1 })
					}
					if dead := r.queue.Stats().Dead; code == 400 && dead != 200 {
						t.Errorf("%d dead letters", dead)
					}
					r.api.answer(nil)
					// Those on their own schedules are tried one by one.
					r.drain(2*retry.FailureMax + 30*time.Second)
				})
			})
		}
	}
}

// An API that is down altogether sees single alerts, now and then, however many
// are known to have failed by themselves before, and whether they are new.
func TestOutageAmongBad(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 4} {
		for _, code := range []int{500, 401} {
			t.Run(fmt.Sprintf("%d, connections %d", code, connections), func(t *testing.T) {
				inBubble(t, rigOptions{Connections: connections}, func(t *testing.T, r *senderRig) {
					r.api.answer(bad(status(500)))
					r.append(named("bad", 300)...)
					for n := range 30 {
						r.append(fmt.Sprint("x/good", n))
						time.Sleep(30 * time.Second)
					}
					r.api.answer(always(status(code)))
					began := time.Since(r.api.start)
					for n := range 360 {
						time.Sleep(10 * time.Second)
						r.append(fmt.Sprint("x/later", n))
					}
					first, last := 0, 0
					for _, q := range r.api.sent() {
						switch after := q.at - began; {
						case after < 0:
						case after < time.Minute:
							first++
						default:
							last++
							if len(q.alerts) > 1 {
								t.Errorf("%v after it began: %d alerts at once", after, len(q.alerts))
							}
						}
					}
					if first > 20+10*connections || last > 600 {
						t.Errorf("%d requests in the first minute of an outage, %d in the next 59", first, last)
					}
					r.api.answer(nil)
					r.drain(2*retry.HeldMax + time.Minute)
					r.complete()
				})
			})
		}
	}
}

// The API goes down in the middle of taking a batch to pieces.
func TestOutageWhileIsolating(t *testing.T) {
	t.Parallel()
	for after := range 15 {
		inBubble(t, rigOptions{Connections: 1}, func(t *testing.T, r *senderRig) {
			n := 0
			r.api.answer(func(q request) *bigpanda.Error {
				if n++; n > 4+after {
					return status(500)
				}
				return bad(status(500))(q)
			})
			r.append(slices.Concat(named("bad", 50), named("good", 400), named("bad", 100)[50:])...)
			time.Sleep(10 * time.Minute)
			if n := len(r.api.sent()); n > 150 {
				t.Errorf("%d requests in 10 minutes", n)
			}
			r.api.answer(nil)
			r.drain(2*retry.FailureMax + 30*time.Second)
			r.complete()
		})
	}
}

// A request for a later time is obeyed while a batch is taken to pieces, too.
func TestIsolateRetryAfter(t *testing.T) {
	t.Parallel()
	const wait = 2 * time.Second
	inBubble(t, rigOptions{Connections: 1}, func(t *testing.T, r *senderRig) {
		r.api.answer(bad(statusAfter(503, wait)))
		r.append(slices.Concat(named("good", 20), named("bad", 1), named("good", 40)[20:])...)
		r.within(time.Minute, "all good ones have arrived", func() bool { return r.good() == 40 })
		for i, q := range r.api.sent()[1:] {
			before := r.api.sent()[i]
			if before.answer != nil && q.at < before.at+wait {
				t.Errorf("%v came too soon after\n%v", q, before)
			}
		}
	})
}

// P5: an alert with several changes in the piece keeps its order, whichever of
// them is bad.
func TestIsolateKeepsOrder(t *testing.T) {
	t.Parallel()
	for seed := range rounds(30, 15) {
		random := rand.New(rand.NewPCG(seed, 3))
		inBubble(t, rigOptions{Connections: 1 + random.IntN(3)}, func(t *testing.T, r *senderRig) {
			refused, poisoned := make(map[string]bool), make(map[string]bool)
			for n := range 12 {
				refused[fmt.Sprintf("x/%d#%d", random.IntN(40), 1+n%6)] = true
				poisoned[fmt.Sprintf("x/%d#%d", random.IntN(40), 1+n%6)] = true
			}
			calm := false
			r.api.answer(func(q request) *bigpanda.Error {
				for _, p := range q.alerts {
					if refused[p] {
						return status(422)
					} else if poisoned[p] && !calm {
						return status(500)
					}
				}
				return nil
			})
			for range 6 {
				r.append(many("x", 40)...)
			}
			time.Sleep(time.Minute)
			r.api.mu.Lock()
			calm = true
			r.api.mu.Unlock()
			r.drain(5 * time.Minute)
			for _, alert := range many("x", 40) {
				var want []string
				for n := range 6 {
					if p := fmt.Sprintf("%s#%d", alert, n+1); !refused[p] {
						want = append(want, p)
					}
				}
				if got := r.api.deliveredOf(alert); !slices.Equal(got, want) {
					t.Errorf("of %s arrived %v, want %v", alert, got, want)
				}
			}
		})
	}
}

// The longest row, over HTTP and from an outbox on disk.
func TestBadBeforeGoodHTTP(t *testing.T) {
	t.Parallel()
	box := sandbox.New(sandbox.Options{Token: rigToken, Faults: sandbox.Faults{Status: 400, Match: `"bad`}})
	server := httptest.NewServer(box)
	log := slog.New(slog.DiscardHandler)
	client, err := bigpanda.NewClient(bigpanda.Options{URL: server.URL + sandbox.Path, Token: rigToken})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := outbox.Open(t.TempDir(), outbox.Options{
		Task: "t", Node: "n", URL: server.URL, Log: log, Fingerprint: func(key []byte) []byte { return key },
	})
	if err != nil {
		t.Fatal(err)
	}
	var changes []outbox.Change
	for n := range 2050 {
		host := fmt.Sprint("bad-", n)
		if n >= 2000 {
			host = fmt.Sprint("good-", n)
		}
		p := bigpanda.Payload{AppKey: "k", Status: "critical", Timestamp: 1,
			Properties: map[string]string{"host": host, "check": "c"}}
		changes = append(changes, outbox.Change{
			Alert: p.Identity().Key(), AppKey: p.AppKey, Time: 1, Level: "CRITICAL", Payload: p.Encode(),
		})
	}
	queue.Append(changes, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newRigSender(queue, client, rigOptions{Log: log}).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		queue.Close()
		client.Close()
		box.Close()
		server.Close()
	})
	for end := time.Now().Add(30 * time.Second); len(box.Alerts()) < 50; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of 50 good alerts have arrived, with %d requests", len(box.Alerts()), box.Stats().Requests)
		}
	}
	if dead := queue.Stats().Dead; dead == 0 || dead > 2*retry.InARow {
		t.Errorf("%d dead letters", dead)
	}
}
