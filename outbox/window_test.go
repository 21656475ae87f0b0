package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"bigpanda-udf/test"
)

// Queued changes stay on disk: memory follows the window alone (P7).
func TestMemoryOfAMillion(t *testing.T) {
	many := rounds(1_000_000, 100_000)
	dir := test.MemoryDir(t)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	r := openIn(t, dir)
	n := 0
	fill := func(upTo int) {
		var changes []Change
		for ; n < upTo; n++ {
			changes = append(changes, aChange(n/10_000+1, fmt.Sprint("alert", n%10_000)))
			if len(changes) == 20_000 || n == upTo-1 {
				r.Append(changes, nil)
				changes = nil
			}
		}
		r.Release(idsOf(r.next(100))...)
	}
	fill(1000)
	few := heap() - before
	fill(many)
	lot := heap() - before
	t.Logf("heap: %d kB with 1,000 queued, %d kB with %d", few>>10, lot>>10, many)
	if lot > few+8<<20 {
		t.Errorf("the heap has %d bytes with 1,000 changes queued, and %d with %d", few, lot, many)
	}
	r.close()
	r = openIn(t, dir)
	opened := time.Now()
	for range 100 {
		r.ack(r.next(100))
	}
	t.Logf("10,000 left after %v", time.Since(opened))
	if lot = heap() - before; lot > few+8<<20 {
		t.Errorf("the heap has %d bytes after a start with %d queued", lot, many)
	}
	if s := r.Stats(); s.Queued != many-10_000 {
		t.Errorf("stats: %+v", s)
	}
}

// An alert that is not acknowledged, with more changes than the window holds,
// does not hold back others, and keeps its order (P5).
func TestStuckAlertLeavesRoom(t *testing.T) {
	t.Parallel()
	r := openIn(t, test.MemoryDir(t)).small(32, 4)
	for n := range 500 {
		r.put(n+1, "stuck", fmt.Sprint("other", n%5), "stuck")
		r.mu.Lock()
		loaded := r.reader("k").loaded
		r.mu.Unlock()
		if loaded > 32 {
			t.Fatalf("%d changes are in memory", loaded)
		}
	}
	stuck := r.next(1)
	if payloadsOf(stuck) != "stuck#1" {
		t.Fatalf("got %s", payloadsOf(stuck))
	}
	var others []Change
	for len(others) < 500 {
		got := r.next(7)
		r.ack(got)
		others = append(others, got...)
	}
	inOrder(t, others)
	for _, c := range others {
		if c.Alert == "stuck" {
			t.Fatal("an alert left while it was in flight")
		}
	}
	r.put(501, "stuck")
	r.ack(stuck)
	all := append(stuck, r.drain()...)
	if len(all) != 1001 {
		t.Fatalf("%d of 1001 changes of the stuck alert have left", len(all))
	}
	for i := 1; i < len(all); i++ {
		if all[i].ID <= all[i-1].ID {
			t.Fatalf("change %d after %d", all[i].ID, all[i-1].ID)
		}
	}
}

// Alerts that are postponed make room for those behind them, as far as the window
// goes.
func TestPostponedLeaveRoom(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	for name, reopen := range map[string]bool{"queued by this process": false, "queued by one before": true} {
		t.Run(name, func(t *testing.T) {
			r := openIn(t, dir).small(32, 4)
			for n := range 15 {
				r.put(1, fmt.Sprint("bad", n))
			}
			r.put(1, "good")
			if reopen {
				r.close()
				r = openIn(t, dir).small(32, 4)
			}
			for range 15 {
				r.Postpone(idsOf(r.next(1))...)
			}
			if got := r.next(100); payloadsOf(got) != "good#1" {
				t.Errorf("got %s", payloadsOf(got))
			} else {
				r.ack(got)
			}
			if all := r.drain(); len(all) != 15 {
				t.Errorf("%d of 15 have left", len(all))
			}
			r.close()
		})
	}
}

// An app key that is held, with more changes than the window holds, does not hold
// back another (P5).
func TestHeldAppKeyLeavesRoom(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	for name, reopen := range map[string]bool{"queued by this process": false, "queued by one before": true} {
		t.Run(name, func(t *testing.T) {
			r := openIn(t, dir).small(32, 4)
			for n := range 100 {
				r.put(n+1, "held/a", "held/b", fmt.Sprint("held/c", n))
			}
			r.put(1, "free/a", "free/b")
			if reopen {
				r.close()
				r = openIn(t, dir).small(32, 4)
			}
			got := r.next(100, "held")
			if payloadsOf(got) != "free/a#1 free/b#1" {
				t.Errorf("got %s", payloadsOf(got))
			}
			r.ack(got)
			all := r.drain()
			inOrder(t, all)
			if len(all) != 300 {
				t.Errorf("%d of 300 have left", len(all))
			}
			r.close()
		})
	}
}

func TestReleaseOfEverything(t *testing.T) { // P5
	t.Parallel()
	r := openIn(t, test.MemoryDir(t)).small(32, 4)
	for n := range 60 {
		r.put(n+1, "a", "b", "x/c")
	}
	var inFlight []Change
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		got, err := r.Next(ctx, 5, nil)
		cancel()
		if err != nil {
			break
		}
		inFlight = append(inFlight, got...)
	}
	rand.Shuffle(len(inFlight), func(i, j int) { inFlight[i], inFlight[j] = inFlight[j], inFlight[i] })
	r.Release(idsOf(inFlight)...)
	all := r.drain()
	inOrder(t, all)
	if len(all) != 180 {
		t.Errorf("%d of 180 have left", len(all))
	}
}

// However the window lies, and whenever the process ends, each alert's changes
// leave in their order, none twice but for what was in flight at an end, and
// none is forgotten (P5).
func TestSmallWindow(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds(15, test.Volume(5, 2))) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			dir := test.MemoryDir(t)
			open := func() *rig { return openIn(t, dir).adopted().small(4+r.IntN(24), 1+r.IntN(5)) }
			d := open()
			waiting := make(map[string][]int64)   // by alert: its changes, in flight and queued
			inFlight := make(map[string][]Change) // by alert
			number := make(map[string]int)        // of the last change of each alert
			steps := rounds(1000, 400)
			take := func(held string) bool {
				patience := 10 * time.Second
				if len(inFlight) > 0 || held != "" || d.Stats().Queued == 0 {
					patience = 2 * time.Millisecond // there may be nothing
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				got, err := d.Next(ctx, 1+r.IntN(12), func(appKey string) bool { return appKey == held })
				if err != nil {
					return false
				}
				before := make(map[string]bool)
				for alert := range inFlight {
					before[alert] = true
				}
				for _, c := range got {
					at := len(inFlight[c.Alert])
					if before[c.Alert] || c.AppKey == held || at >= len(waiting[c.Alert]) || waiting[c.Alert][at] != c.Time {
						t.Fatalf("got %s of %v; in flight %v, held %s", c.Payload, waiting[c.Alert], before[c.Alert], held)
					}
					inFlight[c.Alert] = append(inFlight[c.Alert], c)
				}
				return true
			}
			finish := func(alert string) {
				all := inFlight[alert]
				n := r.IntN(len(all) + 1)
				for _, c := range all[:n] {
					if r.IntN(10) == 0 {
						if err := d.Dead(c, 400, "no"); err != nil {
							t.Fatal(err)
						}
					} else {
						d.ack([]Change{c})
					}
				}
				if back := idsOf(all[n:]); r.IntN(3) == 0 {
					d.Postpone(back...)
				} else {
					d.Release(back...)
				}
				waiting[alert] = waiting[alert][n:]
				delete(inFlight, alert)
			}
			anyFlying := func() string {
				for alert := range inFlight {
					return alert
				}
				return ""
			}
			for range steps {
				switch r.IntN(10) {
				case 0, 1, 2:
					var words []Change
					for range r.IntN(10) {
						alert := fmt.Sprintf("%d/%d", r.IntN(2), min(r.IntN(12), r.IntN(12)))
						number[alert]++
						waiting[alert] = append(waiting[alert], int64(number[alert]))
						words = append(words, aChange(number[alert], alert))
					}
					d.Append(words, nil)
				case 3, 4, 5:
					take(fmt.Sprint(r.IntN(3)))
				case 6, 7, 8:
					if alert := anyFlying(); alert != "" {
						finish(alert)
					}
				case 9:
					if r.IntN(20) == 0 {
						d.close()
						d = open()
						clear(inFlight)
					}
				}
			}
			for alert := anyFlying(); alert != ""; alert = anyFlying() {
				finish(alert)
			}
			for d.Stats().Queued > 0 {
				if !take("") {
					t.Fatalf("nothing leaves, of %v, %+v", waiting, d.Stats())
				}
				for alert := anyFlying(); alert != ""; alert = anyFlying() {
					finish(alert)
				}
			}
			for alert, left := range waiting {
				if len(left) > 0 {
					t.Errorf("alert %s: never left: %v", alert, left)
				}
			}
			loaded := 0
			d.mu.Lock()
			for _, r := range d.readers {
				loaded += r.loaded
			}
			d.mu.Unlock()
			if loaded != 0 {
				t.Errorf("%d changes are held to be in memory", loaded)
			}
		})
	}
}

func TestManyUsers(t *testing.T) { // P5, for the race detector
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir, limit(200_000)).small(64, 4)
	const producers, changes = 4, 400
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []Change)
	for range 3 {
		go func() {
			var mine []Change
			for {
				got, err := r.Next(ctx, 20, nil)
				if err != nil {
					done <- mine
					return
				}
				keep := len(got) - len(got)/4
				r.Release(idsOf(got[keep:])...)
				r.Ack(idsOf(got[:keep])...)
				mine = append(mine, got[:keep]...)
			}
		}()
	}
	produced := make(chan bool)
	for p := range producers {
		go func() {
			for n := range changes {
				r.Append([]Change{aChange(n+1, fmt.Sprintf("%d/a%d", p%2, p)), aChange(n+1, fmt.Sprintf("%d/b%d", p%2, p))},
					[]Level{{Key: fmt.Sprint(p), Time: int64(n), Value: []byte("v")}})
				r.Stats()
				readAll(r)
			}
			produced <- true
		}()
	}
	for range producers {
		<-produced
	}
	if err := r.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	var all []Change
	for range 3 {
		all = append(all, <-done...)
	}
	slices.SortFunc(all, func(a, b Change) int { return int(a.ID) - int(b.ID) })
	inOrder(t, all)
	if s := r.Stats(); len(all)+s.GivenUp != producers*changes*2 {
		t.Errorf("%d of %d changes have left: %+v", len(all), producers*changes*2, s)
	}
}
