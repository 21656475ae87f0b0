package udf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

func TestSenderBatches(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options rigOptions
		alerts  []string
		want    []string // alerts of each request
	}{
		{"one alert", rigOptions{Connections: 1}, []string{"x/a"}, []string{"[x/a#1]"}},
		{"all of an app key in order of change", rigOptions{Connections: 1},
			[]string{"x/b", "x/a", "x/b", "x/a"}, []string{"[x/b#1 x/a#1 x/b#2 x/a#2]"}},
		{"one request for each app key, the oldest first", rigOptions{Connections: 1},
			[]string{"y/a", "x/a", "y/b", "x/b"}, []string{"[y/a#1 y/b#1]", "[x/a#1 x/b#1]"}},
		{"no more than the batch size", rigOptions{Connections: 1, BatchSize: 2},
			[]string{"x/a", "x/b", "x/c", "x/d", "x/e"}, []string{"[x/a#1 x/b#1]", "[x/c#1 x/d#1]", "[x/e#1]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, tt.options, func(t *testing.T, r *senderRig) {
				r.append(tt.alerts...)
				r.drain(time.Minute)
				var got []string
				for _, q := range r.api.sent() {
					got = append(got, fmt.Sprint(q.alerts))
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got requests %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestSenderConnections(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3, 8} {
		inBubble(t, rigOptions{Connections: connections, BatchSize: 5}, func(t *testing.T, r *senderRig) {
			r.append(many("x", 200)...)
			r.drain(time.Minute)
			r.complete()
			if _, most := r.api.underWay(); most != connections {
				t.Errorf("%d requests were under way at once, want %d", most, connections)
			}
		})
	}
}

// P5: one alert's changes leave one request at a time, whatever the number of
// connections.
func TestSenderKeepsOrder(t *testing.T) {
	t.Parallel()
	inBubble(t, rigOptions{Connections: 4, BatchSize: 3}, func(t *testing.T, r *senderRig) {
		for range 50 {
			r.append("x/a", "x/b", "y/c", "x/a")
			time.Sleep(7 * time.Millisecond)
		}
		r.drain(time.Minute)
		r.complete()
	})
}

func TestSenderRate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		rate float64
		rule rule
	}{
		{"all accepted", 4, nil},
		{"less than one a second", 0.5, nil},
		{"all fail", 2, always(status(503))},
		{"all held", 2, always(status(401))},
		{"some fail", 5, func(r request) *bigpanda.Error {
			if int(r.at/time.Second)%3 == 0 {
				return status(500)
			}
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, rigOptions{Connections: 4, BatchSize: 2, Rate: tt.rate}, func(t *testing.T, r *senderRig) {
				r.api.latency = 3 * time.Second
				r.api.answer(tt.rule)
				r.append(many("x", 100)...)
				time.Sleep(2 * time.Minute)
				r.api.answer(nil)
				r.drain(10 * time.Minute)
				least := time.Duration(float64(time.Second) / tt.rate)
				requests := r.api.sent()
				slices.SortFunc(requests, func(a, b request) int { return int(a.at - b.at) })
				for i := 1; i < len(requests); i++ {
					if gap := requests[i].at - requests[i-1].at; gap < least {
						t.Fatalf("request %d came %v after the one before, want at least %v", i, gap, least)
					}
				}
				r.complete()
			})
		})
	}
}

// P5: whatever the sender does when it is stopped, what it held is released,
// and the next one delivers it.
func TestSenderStops(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options rigOptions
		rule    rule
		latency time.Duration
	}{
		{"during requests", rigOptions{BatchSize: 3}, nil, time.Hour},
		{"between tries", rigOptions{}, always(statusAfter(503, time.Hour)), 0},
		{"while all requests fail", rigOptions{}, always(status(503)), 0},
		{"while everything is held", rigOptions{BatchSize: 3}, always(status(401)), 0},
		{"while an app key is held", rigOptions{}, always(status(404)), 0},
		{"after ten refused", rigOptions{BatchSize: 3}, poison("x/a", status(400)), 0},
		{"while it is asked to wait", rigOptions{}, always(statusAfter(429, time.Hour)), 0},
		{"with an alert on its own schedule", rigOptions{}, poison("x/4", status(500)), 0},
		{"while an alert fails in pieces", rigOptions{Connections: 1}, poison("x/4", status(500)), time.Second},
		{"while it waits for the rate limit", rigOptions{BatchSize: 1, Rate: 0.001}, nil, 0},
		{"while there is nothing to do", rigOptions{}, nil, 0},
	}
	for _, tt := range tests {
		for _, after := range []time.Duration{0, time.Second, 20 * time.Second, 10 * time.Minute} {
			t.Run(fmt.Sprint(tt.name, " ", after), func(t *testing.T) {
				inBubble(t, tt.options, func(t *testing.T, r *senderRig) {
					r.api.latency = tt.latency
					r.api.answer(tt.rule)
					r.append(many("x", 10)...)
					r.append(many("x", 5)...)
					r.append(many("y", 10)...)
					time.Sleep(after)
					r.stop()

					r.api.answer(nil)
					r.api.latency = time.Millisecond
					r.start(rigOptions{})
					r.drain(time.Minute)
					r.complete()
				})
			})
		}
	}
}

// Run may be called again, whatever it was stopped in.
func TestSenderRunsAgain(t *testing.T) {
	t.Parallel()
	rules := map[string]rule{
		"accepted": nil, "held": always(status(401)), "an app key held": always(status(404)),
		"failing": always(status(503)), "an alert on its own schedule": poison("x/3", status(500)),
	}
	for name, rule := range rules {
		for _, latency := range []time.Duration{time.Millisecond, 50 * time.Second} {
			t.Run(fmt.Sprint(name, " ", latency), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSenderRig(t)
					r.api.answer(rule)
					s := newRigSender(r.queue, r.api, rigOptions{Connections: 2})
					for range 5 {
						r.append(many("x", 10)...)
						r.run(s)
						time.Sleep(latency/2 + time.Minute)
						r.stop()
						r.api.latency = latency
					}
					r.api.latency = time.Millisecond
					r.api.answer(nil)
					r.run(s)
					defer r.stop()
					r.drain(3 * time.Minute)
					r.complete()
				})
			})
		}
	}
}

func TestSenderEndsWithItsQueue(t *testing.T) {
	t.Parallel()
	for _, rule := range []rule{nil, always(status(503)), always(status(401)), always(status(404)), poison("x/1", status(500))} {
		inBubble(t, rigOptions{}, func(t *testing.T, r *senderRig) {
			r.api.answer(rule)
			r.append(many("x", 10)...)
			time.Sleep(time.Second)
			r.queue.Close()
			select {
			case <-r.ended:
			case <-time.After(10 * time.Minute):
				t.Fatal("the sender goes on after its queue was closed")
			}
		})
	}
}

// A brokenQueue fails for a while.
type brokenQueue struct {
	*rigQueue
	until time.Time
	calls atomic.Int64
}

var errDisk = errors.New("disk failed")

func (q *brokenQueue) Next(ctx context.Context, max int, skip func(string) bool) ([]outbox.Change, error) {
	if time.Now().Before(q.until) {
		q.calls.Add(1)
		return nil, errDisk
	}
	return q.rigQueue.Next(ctx, max, skip)
}

func (q *brokenQueue) Ack(ids ...uint64) error { return errors.Join(q.rigQueue.Ack(ids...), q.err()) }
func (q *brokenQueue) Dead(c outbox.Change, status int, answer string) error {
	return errors.Join(q.rigQueue.Dead(c, status, answer), q.err())
}

func (q *brokenQueue) err() error {
	if time.Now().Before(q.until.Add(time.Minute)) {
		return errDisk
	}
	return nil
}

func TestSenderBrokenQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSenderRig(t)
		q := &brokenQueue{rigQueue: r.queue, until: time.Now().Add(time.Hour)}
		r.run(newRigSender(q, r.api, rigOptions{Connections: 1, BatchSize: 1, Log: slog.New(slog.NewTextHandler(&r.log, nil))}))
		r.append(many("x", 5)...)
		time.Sleep(time.Hour)
		if n := q.calls.Load(); n > 1000 || n < 100 {
			t.Errorf("in an hour the queue was asked %d times", n)
		}
		if n := r.lines("outbox cannot be read"); n < 1 || n > 7 {
			t.Errorf("an hour of failures makes %d lines", n)
		}
		r.drain(time.Minute)
		r.complete()
		r.wantLines(1, "cannot be removed from the outbox")
		time.Sleep(time.Minute)
		r.append("x/6")
		r.drain(time.Minute)
		r.wantLines(1, "the outbox works again")
		r.stop()
	})
}

func TestSenderWithoutLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newSenderRig(t)
		r.api.answer(always(status(401)))
		r.run(newRigSender(r.queue, r.api, rigOptions{}))
		r.append("x/a")
		time.Sleep(time.Minute)
		r.stop()
	})
}
