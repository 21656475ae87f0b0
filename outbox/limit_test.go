package outbox

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"bigpanda-udf/test"
)

func sized(n int, word string, bytes int) Change {
	c := aChange(n, word)
	c.Payload = append(c.Payload, strings.Repeat(".", bytes-len(c.Payload))...)
	return c
}

// limited waits until the limit is done with.
func (r *rig) limited() {
	r.t.Helper()
	until(r.t, "the limit has done its work", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return !r.givingUp
	})
}

// Beyond the limit intermediate changes go, the oldest of all app keys first; the
// newest of an alert and what is in flight never do (P5).
func TestLimit(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir, limit(100_000)).small(16, 3)
	r.Append([]Change{sized(1, "y/rare", 1000), sized(1, "inFlight", 1000), sized(2, "inFlight", 1000)}, nil)
	inFlight := r.next(2, "y")
	for n := range 48 {
		r.Append([]Change{sized(n+1, "a", 1000), sized(n+1, "x/b", 1000)}, nil)
	}
	r.limited()
	if s := r.Stats(); s.GivenUp != 0 {
		t.Fatalf("below the limit: %+v", s)
	}
	r.Append([]Change{sized(49, "a", 1000), sized(49, "x/b", 1000)}, nil)
	r.limited()
	r.log.has(t, 1, "the outbox is over its limit")
	r.log.has(t, 1, "intermediate changes were given up")
	r.log.has(t, 1, "changes=11 ")
	if s := r.Stats(); s != (Stats{Queued: 90, InFlight: 2, GivenUp: 11}) {
		t.Errorf("stats: %+v", s)
	}
	r.close()
	r = openIn(t, dir)
	all := r.drain()
	inOrder(t, all)
	first := make(map[string]int64)
	count := make(map[string]int)
	for _, c := range all {
		if count[c.Alert]++; count[c.Alert] == 1 {
			first[c.Alert] = c.Time
		}
	}
	// Of a and b 11 in turns.
	if count["y/rare"] != 1 || count["inFlight"] != len(inFlight) || first["a"] != 7 || first["x/b"] != 6 || count["a"] != 43 || count["x/b"] != 44 {
		t.Errorf("left are %v, from %v", count, first)
	}
}

// Where nothing can be given up the limit does not look again for each change.
func TestLimitOfNewestAlone(t *testing.T) { // P5
	t.Parallel()
	r := openIn(t, test.MemoryDir(t), limit(10_000))
	for n := range 100 {
		r.Append([]Change{sized(1, fmt.Sprint("alert", n), 1000)}, nil)
		r.limited()
	}
	if s := r.Stats(); s != (Stats{Queued: 100}) {
		t.Errorf("stats: %+v", s)
	}
	if n := r.log.count("over its limit"); n > 60 {
		t.Errorf("the log says %d times that there is too much", n)
	}
	// What is intermediate later does go.
	for n := range 30 {
		r.Append([]Change{sized(n+2, "alert0", 1000)}, nil)
		r.limited()
	}
	if s := r.Stats(); s.GivenUp < 20 {
		t.Errorf("stats: %+v", s)
	}
}

// Changes come and go while the limit is at work (P5).
func TestLimitBesideAppends(t *testing.T) {
	t.Parallel()
	r := openIn(t, test.MemoryDir(t), limit(2_000_000)).small(64, 4)
	const producers, alerts = 3, 20
	changes := test.Volume(300, 120)
	var producing sync.WaitGroup
	for p := range producers {
		producing.Go(func() {
			for n := range changes {
				var piece []Change
				for a := range alerts {
					piece = append(piece, sized(n+1, fmt.Sprintf("%d/%d", p, a), 500))
				}
				r.Append(piece, nil)
			}
		})
	}
	var delivered []Change
	for range 20 {
		got := r.next(50)
		r.ack(got)
		delivered = append(delivered, got...)
	}
	producing.Wait()
	r.limited()
	r.mu.Lock()
	bytes := r.bytes
	r.mu.Unlock()
	if bytes > 2_000_000 {
		t.Errorf("%d bytes are held", bytes)
	}
	delivered = append(delivered, r.drain()...)
	inOrder(t, delivered)
	last := make(map[string]int64)
	for _, c := range delivered {
		last[c.Alert] = c.Time
	}
	for alert, n := range last {
		if n != int64(changes) {
			t.Errorf("alert %s ends with change %d of %d", alert, n, changes)
		}
	}
	if s := r.Stats(); len(last) != producers*alerts || len(delivered)+s.GivenUp != producers*alerts*changes {
		t.Errorf("%d of %d alerts, %d changes delivered of %d: %+v", len(last), producers*alerts, len(delivered), producers*alerts*changes, s)
	}
}
