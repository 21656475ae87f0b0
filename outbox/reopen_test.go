package outbox

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/test"

	bolt "go.etcd.io/bbolt"
)

func TestAllIsThereAfterClose(t *testing.T) { // P5
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a", "x/b", "a2")
	r.Append([]Change{aChange(2, "a")}, []Level{{Key: "s", Time: 2, Value: []byte("v")}, {Key: "gone", Time: 2, Value: []byte("v")}})
	r.Append(nil, []Level{{Key: "gone", Time: 3}})
	inFlight := r.next(1)
	r.close()
	if len(inFlight) != 1 {
		t.Fatalf("got %s", payloadsOf(inFlight))
	}

	r = openIn(t, dir)
	levels, isNew, err := readAll(r)
	if err != nil || isNew || len(levels) != 1 || levels[0].Key != "s" || levels[0].Time != 2 || string(levels[0].Value) != "v" {
		t.Errorf("levels: %v, new %v, %v", levels, isNew, err)
	}
	if got := r.Stats(); got != (Stats{Queued: 4}) {
		t.Errorf("stats: %+v", got)
	}
	r.want("a#1 a2#1 a#2")
	if got := r.next(10); len(got) != 1 || got[0].AppKey != "x" || got[0].Alert != "x/b" || got[0].Level != "CRITICAL" || got[0].Time != 1 {
		t.Errorf("got %+v", got)
	}
}

// What Append has returned for is there after a kill, and level and change of
// one commit are there together (P4, P5).
func TestKilled(t *testing.T) {
	t.Parallel()
	if dir, ok := isChild(); ok {
		r := openIn(t, dir).adopted()
		n := r.Stats().Queued
		for {
			n++
			r.Append([]Change{aChange(n, fmt.Sprint("alert", n%7))}, []Level{{Key: "s", Time: int64(n), Value: fmt.Append(nil, n)}})
			fmt.Println("appended", n)
		}
	}
	dir := t.TempDir()
	returned := 0
	for round := range 5 {
		c := child(t, dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for enough := 5 + rand.IntN(40); enough > 0 && lines.Scan(); {
			if _, err := fmt.Sscanf(lines.Text(), "appended %d", &returned); err == nil {
				enough--
			}
		}
		c.Process.Kill()
		for lines.Scan() { // what it has still said
			fmt.Sscanf(lines.Text(), "appended %d", &returned)
		}
		c.Wait()
		if returned < 5*(round+1) {
			t.Fatalf("round %d: the child has appended %d", round, returned)
		}
		r := openIn(t, dir)
		levels, isNew, err := readAll(r)
		queued := r.Stats().Queued
		if err != nil || isNew || len(levels) != 1 || string(levels[0].Value) != fmt.Sprint(queued) {
			t.Fatalf("round %d: %d changes are queued, and the levels are %v, %v, new %v", round, queued, levels, err, isNew)
		}
		if queued < returned || queued > returned+1 {
			t.Fatalf("round %d: Append has returned %d times, and %d changes are there", round, returned, queued)
		}
		r.close()
	}
	r := openIn(t, dir)
	all := r.drain()
	inOrder(t, all)
	if len(all) < returned {
		t.Errorf("%d of %d are left", len(all), returned)
	}
}

func TestIDsNeverRepeat(t *testing.T) { // P5
	t.Parallel()
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		clock []time.Duration // at each change, from the start
	}{
		{"a clock that stands", []time.Duration{0, 0, 0, 0}},
		{"a clock that goes back", []time.Duration{0, -time.Hour, -24 * time.Hour, 0}},
		{"a clock that jumps ahead, and is put right", []time.Duration{0, 100 * 365 * 24 * time.Hour, time.Second, 2 * time.Second}},
		{"a clock before 1970", []time.Duration{-100 * 365 * 24 * time.Hour, -100 * 365 * 24 * time.Hour, 0, -time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := test.MemoryDir(t)
			var last uint64
			for i, at := range tt.clock {
				r := openIn(t, dir, func(o *Options) { o.Now = func() time.Time { return start.Add(at) } })
				r.put(i+1, "a", "b", "a")
				got := r.next(10)
				if len(got) != 3 {
					t.Fatalf("got %s", payloadsOf(got))
				}
				for _, c := range got {
					if c.ID <= last {
						t.Fatalf("at %v: ID %d after %d", at, c.ID, last)
					}
					last = c.ID
				}
				r.ack(got) // the queue is empty at the next start
				r.close()
			}
		})
	}
}

// IDs are near the time of the change, so that those of several processes put
// changes in one order.
func TestIDsFollowTheClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	r := openIn(t, test.MemoryDir(t), func(o *Options) { o.Now = func() time.Time { return now } })
	r.put(1, "a", "b")
	now = now.Add(time.Minute)
	r.put(2, "a")
	ids := idsOf(r.next(10))
	if want := []uint64{uint64(now.Add(-time.Minute).UnixNano()), uint64(now.Add(-time.Minute).UnixNano()) + 1, uint64(now.UnixNano())}; !slices.Equal(ids, want) {
		t.Errorf("got %d, want %d", ids, want)
	}
}

func TestAfterCloseNothingIsTouched(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a")
	inFlight := r.next(1)
	r.close()
	other := openIn(t, dir) // has the lock now
	for range 3 {
		r.put(2, "late")
		if err := r.Ack(inFlight[0].ID); err != ErrClosed {
			t.Errorf("Ack: %v", err)
		}
		if err := r.Dead(inFlight[0], 400, "no"); err != ErrClosed {
			t.Errorf("Dead: %v", err)
		}
		r.Release(inFlight[0].ID)
		if _, _, err := readAll(r); err != ErrClosed {
			t.Errorf("Levels: %v", err)
		}
	}
	r.log.has(t, 0, "level=ERROR")
	other.put(3, "b")
	other.want("a#1 b#3")
}

// A request that is under way at Close ends after it: what was taken over since
// it began is not looked at then.
func TestReleaseAfterClose(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir).small(32, 1).adopted()
	numbered := openIn(t, dir).adopted()
	numbered.put(1, "a", "x/b")
	r.put(2, "a", "x/b")
	inFlight := append(r.next(1), r.next(1)...)
	numbered.close()
	r.look(t.Context())
	over, cancel := context.WithCancel(t.Context())
	cancel()
	r.Next(over, 1, nil) // nothing can leave, but it has read what comes before
	r.close()
	r.Release(idsOf(inFlight)...)
	r.log.has(t, 0, "level=ERROR")
	r = openIn(t, dir)
	all := r.drain()
	if inOrder(t, all); len(all) != 4 {
		t.Errorf("got %s", payloadsOf(all))
	}
}

// Whoever reads the levels makes room for them at once: of few it is told their number, of
// many about how many they are, and of a damaged file no more than it may hold (P7).
func TestLevelCount(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 7, 999, test.Volume(20_000, 5000)} {
		r := openIn(t, test.MemoryDir(t))
		var levels []Level
		for i := range n {
			levels = append(levels, Level{Key: fmt.Sprint("series", i), Time: 1, Value: bytes.Repeat([]byte("v"), 100)})
		}
		r.Append(nil, levels)
		if got := r.LevelCount(); got < n-n/1000*100 || got > n+n/1000*100 {
			t.Errorf("of %d levels it says %d", n, got)
		}
	}
	r := openIn(t, test.MemoryDir(t))
	err := r.store.update(func(tx *bolt.Tx) error {
		for i := range uint64(2000) {
			if err := tx.Bucket(bucketLevels).Put(boltfile.EncodeID(i), []byte("v")); err != nil {
				return err
			}
		}
		return nil
	})
	if got := r.LevelCount(); err != nil || got > 100_000 {
		t.Errorf("of a damaged file it says %d, %v", got, err)
	}
}
