package outboxtest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/outbox"
)

// A model is an outbox as one would write it without a thought of speed. Its
// IDs count from 1, whatever those of an outbox do.
type model struct {
	queued   []outbox.Change // ascending by ID
	inFlight []outbox.Change
	lastID   uint64
	dead     int
	givenUp  int

	postponed map[string]int // alerts, and when, in turn
	turn      int
}

func (m *model) next(max int, skip func(string) bool) (piece []outbox.Change) {
	flies := make(map[string]bool)
	for _, c := range m.inFlight {
		flies[c.Alert] = true
	}
	size := 0
	inOrder := slices.SortedStableFunc(slices.Values(m.queued), func(a, b outbox.Change) int {
		return cmp.Compare(m.postponed[a.Alert], m.postponed[b.Alert])
	})
	for _, c := range inOrder {
		c.Postponed = m.postponed[c.Alert] > 0
		if flies[c.Alert] || skip(c.AppKey) || len(piece) > 0 && c.AppKey != piece[0].AppKey {
			continue
		}
		if len(piece) > 0 && c.Postponed != piece[0].Postponed {
			break
		}
		size += len(c.Payload)
		if len(piece) == max || len(piece) > 0 && size > outbox.MaxBatchBytes {
			break
		}
		piece = append(piece, c)
	}
	m.inFlight = append(m.inFlight, piece...)
	m.queued = slices.DeleteFunc(m.queued, func(c outbox.Change) bool { return slices.Contains(ids(piece), c.ID) })
	return piece
}

// finish removes a change from what is in flight.
func (m *model) finish(id uint64) (outbox.Change, bool) {
	i := slices.IndexFunc(m.inFlight, func(c outbox.Change) bool { return c.ID == id })
	if i < 0 {
		return outbox.Change{}, false
	}
	c := m.inFlight[i]
	m.inFlight = slices.Delete(m.inFlight, i, i+1)
	return c, true
}

// done removes a change for good, and reports whether it was in flight.
func (m *model) done(id uint64) bool {
	c, ok := m.finish(id)
	delete(m.postponed, c.Alert)
	return ok
}

func (m *model) release(id uint64) {
	if c, ok := m.finish(id); ok {
		i := slices.IndexFunc(m.queued, func(q outbox.Change) bool { return q.ID > id })
		if i < 0 {
			i = len(m.queued)
		}
		m.queued = slices.Insert(m.queued, i, c)
	}
}

// intermediate returns what may be given up, oldest first: each queued change
// that is not the newest of its alert.
func (m *model) intermediate() (all []outbox.Change) {
	newest := make(map[string]uint64)
	for _, c := range m.queued {
		newest[c.Alert] = c.ID
	}
	for _, c := range m.queued {
		if c.ID < newest[c.Alert] {
			all = append(all, c)
		}
	}
	return all
}

func (m *model) stats() outbox.Stats {
	return outbox.Stats{Queued: len(m.queued) + len(m.inFlight), InFlight: len(m.inFlight), Dead: m.dead, GivenUp: m.givenUp}
}

func testModel(t *testing.T, open Open, length Length) {
	for _, limit := range []int64{noLimit, 20_000, 2000} {
		for seed := range uint64(length.Seeds) {
			t.Run(fmt.Sprintf("limit %d, seed %d", limit, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					walk(t, newBox(t, open, limit), limit, length.Steps, rand.New(rand.NewPCG(seed, uint64(limit))))
				})
			})
		}
	}
}

// walk does the same at random to an outbox and to its model.
func walk(t *testing.T, b *box, limit int64, steps int, r *rand.Rand) {
	m := &model{postponed: make(map[string]int)}
	taken := make(map[uint64]uint64) // the outbox's IDs of changes that have left, by the model's
	real := func(ids ...uint64) []uint64 {
		all := make([]uint64, len(ids))
		for i, id := range ids {
			all[i] = cmp.Or(taken[id], id)
		}
		return all
	}
	anID := func() uint64 {
		if len(m.inFlight) > 0 && r.IntN(10) > 0 {
			return m.inFlight[r.IntN(len(m.inFlight))].ID
		}
		return r.Uint64N(m.lastID + 2)
	}
	someIDs := func() (all []uint64) {
		for range r.IntN(6) {
			all = append(all, anID())
		}
		return all
	}
	for step := range steps {
		switch r.IntN(9) {
		case 0, 1, 2:
			var changes []outbox.Change
			for range r.IntN(8) {
				appKey := r.IntN(3)
				c := change(fmt.Sprintf("%d/%d", appKey, r.IntN(6)), "")
				c.Payload = make([]byte, r.IntN(200))
				if limit == noLimit && r.IntN(20) == 0 {
					c.Payload = make([]byte, outbox.MaxBatchBytes/3)
				}
				changes = append(changes, c)
			}
			for i := range changes {
				m.lastID++
				changes[i].Time = int64(m.lastID)
				c := changes[i]
				c.ID = m.lastID
				m.queued = append(m.queued, c)
			}
			b.Append(changes, nil)
			m.giveUp(t, b.Stats().GivenUp-m.givenUp, limit)
		case 3, 4:
			appKey := fmt.Sprint(r.IntN(4))
			skip := func(l string) bool { return l == appKey }
			max := 1 + r.IntN(12)
			want := m.next(max, skip)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			got, err := b.Next(ctx, max, skip)
			cancel()
			var numbers []uint64
			for _, c := range got {
				numbers = append(numbers, uint64(c.Time))
				taken[uint64(c.Time)] = c.ID
			}
			if (err != nil) != (want == nil) || !slices.Equal(numbers, ids(want)) {
				t.Fatalf("step %d: Next(%d) but app key %s: got %d, %v, want %d", step, max, appKey, numbers, err, ids(want))
			}
			last := make(map[string]uint64)
			for i, c := range got {
				if c.ID <= last[c.Alert] || i > 0 && !c.Postponed && c.ID <= got[i-1].ID {
					t.Fatalf("step %d: IDs that do not ascend: %d", step, ids(got))
				}
				if c.Postponed != want[i].Postponed {
					t.Fatalf("step %d: change %d: postponed: %v", step, c.ID, c.Postponed)
				}
				last[c.Alert] = c.ID
			}
		case 5:
			all := someIDs()
			b.ok(b.Ack(real(all...)...))
			for _, id := range all {
				m.done(id)
			}
		case 6:
			all := someIDs()
			b.Release(real(all...)...)
			for _, id := range all {
				m.release(id)
			}
		case 7:
			id := anID()
			b.ok(b.Dead(outbox.Change{ID: real(id)[0]}, 400, "no"))
			if m.done(id) {
				m.dead++
			}
		case 8:
			all := someIDs()
			b.Postpone(real(all...)...)
			m.turn++
			for _, id := range all {
				if i := slices.IndexFunc(m.inFlight, func(c outbox.Change) bool { return c.ID == id }); i >= 0 {
					m.postponed[m.inFlight[i].Alert] = m.turn
				}
			}
			for _, id := range all {
				m.release(id)
			}
		}
		b.stats(m.stats())
	}
}

// giveUp drops the n oldest intermediate changes and checks that this was
// called for.
func (m *model) giveUp(t *testing.T, n int, limit int64) {
	t.Helper()
	all := m.intermediate()
	if n > len(all) {
		t.Fatalf("%d changes were given up where only %d may be", n, len(all))
	}
	var held, spare int64
	for _, c := range slices.Concat(m.queued, m.inFlight) {
		held += int64(len(c.Payload))
	}
	if n > 0 && held <= limit {
		t.Fatalf("%d changes were given up with %d bytes held of %d", n, held, limit)
	}
	for _, c := range all[:n] {
		held -= int64(len(c.Payload))
	}
	for _, c := range all[n:] {
		spare += int64(len(c.Payload))
	}
	if held > limit && spare > limit {
		t.Fatalf("%d bytes are held, and %d of them in intermediate changes, with a limit of %d", held, spare, limit)
	}
	m.queued = slices.DeleteFunc(m.queued, func(c outbox.Change) bool { return slices.Contains(ids(all[:n]), c.ID) })
	m.givenUp += n
}

// testConcurrent has many goroutines use one outbox, and each change checked
// when it leaves.
func testConcurrent(t *testing.T, open Open) {
	const (
		producers, alerts, changes = 4, 8, 300 // alerts of each producer, changes of each alert
		consumers                  = 4
	)
	b := newBox(t, open, noLimit)
	type flight struct {
		owner atomic.Int32 // 1 + the consumer that has the alert
		done  int          // the last change that ended
	}
	flights := make(map[string]*flight)
	for p := range producers {
		for a := range alerts {
			flights[fmt.Sprintf("%d/%d", p, a)] = new(flight)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var producing, consuming sync.WaitGroup
	for p := range producers {
		producing.Go(func() {
			for n := range changes {
				var piece []outbox.Change
				for a := range alerts {
					c := change(fmt.Sprintf("%d/%d", p, a), "p")
					c.Time = int64(n + 1)
					piece = append(piece, c)
				}
				b.Outbox.Append(piece, nil)
			}
		})
	}
	for consumer := range consumers {
		consuming.Go(func() {
			r := rand.New(rand.NewPCG(uint64(consumer), 1))
			for {
				piece, err := b.Next(ctx, 1+r.IntN(20), func(string) bool { return false })
				if err != nil {
					return
				}
				for _, c := range piece {
					f := flights[c.Alert]
					if was := f.owner.Swap(int32(consumer + 1)); was != 0 && was != int32(consumer+1) {
						t.Errorf("alert %s is in flight twice", c.Alert)
					}
				}
				// Up to some change all have ended, the rest goes back.
				cut := r.IntN(len(piece) + 1)
				for _, c := range piece[:cut] {
					f := flights[c.Alert]
					if f.done++; int64(f.done) != c.Time {
						t.Errorf("alert %s: change %d left as number %d", c.Alert, c.Time, f.done)
					}
				}
				for _, c := range piece {
					flights[c.Alert].owner.Store(0)
				}
				b.Release(ids(piece[cut:])...)
				if cut > 0 && r.IntN(10) == 0 {
					b.ok(b.Dead(piece[0], 400, "no"))
				}
				b.ok(b.Ack(ids(piece[:cut])...))
			}
		})
	}
	producing.Wait()
	b.ok(b.Drain(t.Context()))
	cancel()
	consuming.Wait()
	for alert, f := range flights {
		if f.done != changes {
			t.Errorf("alert %s: %d of %d changes left", alert, f.done, changes)
		}
	}
	if s := b.Stats(); s.Queued != 0 || s.InFlight != 0 || s.GivenUp != 0 {
		t.Errorf("stats at the end: %+v", s)
	}
}
