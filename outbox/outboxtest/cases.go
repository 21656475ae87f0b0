package outboxtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/outbox"
)

func testOrder(_ *testing.T, b *box) {
	b.append("a", "b", "a", "c", "b", "a")
	b.want(100, "a#1 b#2 a#3 c#4 b#5 a#6")
	b.want(100, "")
}

func testIDs(t *testing.T, b *box) {
	b.append("a", "x/b")
	first := append(b.next(1), b.next(1)...)
	b.ok(b.Ack(ids(first)...))
	b.append("a", "a", "a")
	var last uint64
	for _, c := range append(first, b.next(10)...) {
		if c.ID <= last {
			t.Fatalf("change %s got ID %d after %d", c.Payload, c.ID, last)
		}
		last = c.ID
	}
	b.Release(last)
	if again := b.next(10); again != nil {
		t.Fatalf("%s left while others of its alert are in flight", payloadsOf(again))
	}
}

func testAppendCopies(t *testing.T, b *box) {
	want := outbox.Change{Alert: "a", AppKey: "k", Time: 5, Level: "OK", Payload: []byte("p")}
	changes := []outbox.Change{want}
	b.Append(changes, []outbox.Level{{Key: "s", Time: 5, Value: []byte("v")}})
	clear(changes)
	got := b.next(1)[0]
	want.ID = got.ID
	if got.ID == 0 || got.Alert != want.Alert || got.AppKey != want.AppKey || got.Time != want.Time ||
		got.Level != want.Level || !bytes.Equal(got.Payload, want.Payload) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	b.Append(nil, nil)
	b.stats(outbox.Stats{Queued: 1, InFlight: 1})
}

func testMax(_ *testing.T, b *box) {
	b.append("a", "b", "c", "d", "e")
	b.want(2, "a#1 b#2")
	b.want(2, "c#3 d#4")
	b.want(2, "e#5")
}

func testOldestAppKey(_ *testing.T, b *box) {
	b.append("x/a", "y/a", "x/b", "z/a", "y/b")
	first := b.want(100, "x/a#1 x/b#3")
	b.want(100, "y/a#2 y/b#5")
	b.append("x/c")
	b.want(100, "z/a#4")
	b.Release(ids(first)...)
	b.want(100, "x/a#1 x/b#3 x/c#1")
}

func testSkip(_ *testing.T, b *box) {
	b.append("x/a", "y/a", "z/a")
	b.want(100, "y/a#2", "x")
	b.want(100, "", "x", "z")
	b.want(100, "x/a#1")
	if got, err := b.Next(b.t.Context(), 100, nil); err != nil || payloadsOf(got) != "z/a#3" {
		b.t.Fatalf("Next with no skip: got %s, %v", payloadsOf(got), err)
	}
}

func testInFlight(_ *testing.T, b *box) {
	b.append("a", "b", "a", "b")
	a := b.want(1, "a#1")
	both := b.want(100, "b#2 b#4")
	b.want(100, "")
	b.ok(b.Ack(ids(a)...))
	b.want(100, "a#3")
	b.ok(b.Ack(ids(both)...))
	b.want(100, "")
}

func testAppendInFlight(_ *testing.T, b *box) {
	b.append("a")
	a := b.want(1, "a#1")
	b.append("b", "a")
	b.want(100, "b#1")
	b.want(100, "")
	b.ok(b.Dead(a[0], 400, "no"))
	b.want(100, "a#2")
}

func testPartlyDone(_ *testing.T, b *box) {
	b.append("a", "a", "a", "a")
	a := b.want(3, "a#1 a#2 a#3")
	b.ok(b.Ack(a[0].ID))
	b.want(100, "")
	b.ok(b.Ack(a[2].ID))
	b.want(100, "")
	b.Release(a[1].ID)
	b.want(100, "a#2 a#4")
}

func testRelease(_ *testing.T, b *box) {
	b.append("a", "b", "a", "c")
	got := b.want(3, "a#1 b#2 a#3")
	b.append("b", "a")
	b.stats(outbox.Stats{Queued: 6, InFlight: 3})
	b.Release(ids(got)...)
	b.stats(outbox.Stats{Queued: 6})
	b.want(100, "a#1 b#2 a#3 c#4 b#1 a#2")
}

func testReleaseBits(_ *testing.T, b *box) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {2, 0, 1}, {1, 2, 0}} {
		b := b.again(noLimit)
		b.append("a", "a", "a", "a")
		got := b.want(3, "a#1 a#2 a#3")
		for _, i := range order {
			b.want(100, "")
			b.Release(got[i].ID)
		}
		b.want(100, "a#1 a#2 a#3 a#4")
	}
}

func testPostpone(t *testing.T, b *box) {
	b.append("x/a", "x/b", "x/c", "y/d")
	b.Postpone(ids(b.want(2, "x/a#1 x/b#2"))...)
	b.append("x/e", "x/a")
	b.want(100, "x/c#3 x/e#1")
	b.want(100, "y/d#4")
	got := b.want(100, "x/a#1 x/b#2 x/a#2")
	for _, c := range got {
		if !c.Postponed {
			t.Errorf("%s does not say that it was postponed", c.Payload)
		}
	}
	b.Release(ids(got)...)
	b.want(100, "x/a#1 x/b#2 x/a#2") // still
}

func testPostponeAgain(t *testing.T, b *box) {
	b.append("a", "b", "c", "d")
	all := b.want(100, "a#1 b#2 c#3 d#4")
	b.Postpone(ids(all[2:])...)
	b.Postpone(ids(all[:2])...)
	c := b.want(1, "c#3")
	b.Postpone(ids(c)...)
	got := b.want(100, "d#4 a#1 b#2 c#3")
	b.Release(ids(got)...)
	b.ok(b.Ack(b.want(1, "d#4")[0].ID))
	b.append("e", "d") // which is no longer postponed
	if got := b.want(100, "e#1 d#2"); got[0].Postponed || got[1].Postponed {
		t.Errorf("what was not postponed says so: %+v", got)
	}
}

func testPostponeOrder(_ *testing.T, b *box) {
	b.append("a", "a", "b", "a")
	a := b.want(2, "a#1 a#2")
	b.Postpone(a[1].ID)
	b.want(100, "b#3")
	b.want(100, "")
	b.Release(a[0].ID)
	b.append("c")
	b.want(100, "c#1")
	b.want(100, "a#1 a#2 a#4")
}

func testAnyOrder(_ *testing.T, b *box) {
	b.append("a", "b", "c", "a", "b", "c")
	got := b.want(100, "a#1 b#2 c#3 a#4 b#5 c#6")
	for range 2 {
		b.ok(b.Ack(got[3].ID, got[3].ID))
		b.ok(b.Dead(got[4], 400, "no"))
		b.Release(got[2].ID, got[2].ID)
	}
	b.stats(outbox.Stats{Queued: 4, InFlight: 3, Dead: 1})
	// What has ended in one way does not end in another.
	b.ok(b.Ack(got[4].ID, got[2].ID))
	b.ok(b.Dead(got[3], 400, "no"))
	b.Release(got[3].ID, got[4].ID)
	b.stats(outbox.Stats{Queued: 4, InFlight: 3, Dead: 1})
	b.Release(got[5].ID, got[1].ID, got[0].ID)
	b.want(100, "a#1 b#2 c#3 c#6")
}

func testUnknownIDs(_ *testing.T, b *box) {
	b.append("a")
	b.ok(b.Ack(0, 99))
	b.ok(b.Ack())
	b.Release(0, 99)
	b.Release()
	b.ok(b.Dead(outbox.Change{ID: 99}, 400, "no"))
	first := b.want(1, "a#1")[0]
	b.Release(first.ID)
	b.ok(b.Ack(first.ID)) // not in flight: this must not lose it
	b.ok(b.Dead(first, 400, "no"))
	b.stats(outbox.Stats{Queued: 1})
	b.want(1, "a#1")
}

func testBatchBytes(t *testing.T, b *box) {
	sized := func(alert string, size int) outbox.Change {
		c := change(alert, "")
		c.Payload = bytes.Repeat([]byte{'.'}, size)
		return c
	}
	const half = outbox.MaxBatchBytes / 2
	b.Append([]outbox.Change{
		sized("a", half), sized("b", half), sized("c", 1), // the first two are just enough
		sized("d", 3*half),                 // larger alone than may be
		sized("e", half), sized("f", half), // and a change that fits does not go round one that does not
		sized("g", half+1), sized("h", 1),
	}, nil)
	for _, want := range []string{"ab", "c", "d", "ef", "gh"} {
		got := ""
		for _, c := range b.next(100) {
			got += c.Alert
		}
		if got != want {
			t.Fatalf("got alerts %s in a piece, want %s", got, want)
		}
	}
}

func testNextWaits(t *testing.T, b *box) {
	got := make(chan string)
	go func() { got <- payloadsOf(b.next(100, "x")) }()
	synctest.Wait()
	b.append("x/a")
	synctest.Wait()
	select {
	case s := <-got:
		t.Fatalf("got %q of an app key that is skipped", s)
	default:
	}
	b.append("a", "a")
	if s := <-got; s != "a#1 a#2" {
		t.Fatalf("got %q", s)
	}
}

func testNextWaitsForFlight(t *testing.T, b *box) {
	ends := map[string]func(id uint64){
		"Ack":     func(id uint64) { b.ok(b.Ack(id)) },
		"Dead":    func(id uint64) { b.ok(b.Dead(outbox.Change{ID: id}, 400, "no")) },
		"Release": func(id uint64) { b.Release(id) },
	}
	for name, end := range ends {
		b.append("a", "a")
		first := b.next(1)
		got := make(chan []outbox.Change)
		go func() { got <- b.next(100) }()
		synctest.Wait()
		end(first[0].ID)
		second := <-got
		if len(second) == 0 {
			t.Fatalf("%s does not wake Next", name)
		}
		b.ok(b.Ack(ids(second)...))
	}
}

func testAllNextWake(t *testing.T, b *box) {
	got := make(chan string)
	for range 3 {
		go func() { got <- payloadsOf(b.next(1)) }()
	}
	synctest.Wait()
	b.append("a", "b", "c")
	all := map[string]bool{<-got: true, <-got: true, <-got: true}
	if !all["a#1"] || !all["b#2"] || !all["c#3"] {
		t.Fatalf("got %v", all)
	}
}

func testNextContext(t *testing.T, b *box) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := b.Next(ctx, 1, nil)
		ended <- err
	}()
	synctest.Wait()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v", err)
	}
	b.append("a")
	b.want(1, "a#1") // what nobody got is still there
}

func testClose(t *testing.T, b *box) {
	b.append("a", "a")
	inFlight := b.want(1, "a#1")
	var ended sync.WaitGroup
	for range 3 {
		ended.Go(func() {
			if _, err := b.Next(t.Context(), 1, nil); !errors.Is(err, outbox.ErrClosed) {
				t.Errorf("Next that waits: got error %v", err)
			}
		})
		ended.Go(func() {
			if err := b.Drain(t.Context()); !errors.Is(err, outbox.ErrClosed) {
				t.Errorf("Drain that waits: got error %v", err)
			}
		})
	}
	synctest.Wait()
	b.ok(b.Close())
	ended.Wait()
	b.ok(b.Close())
	b.Append([]outbox.Change{change("b", "b")}, nil) // to nobody
	b.stats(outbox.Stats{Queued: 2, InFlight: 1})
	if _, err := b.Next(t.Context(), 1, nil); !errors.Is(err, outbox.ErrClosed) {
		t.Errorf("Next: got error %v", err)
	}
	// A request may still be under way.
	for _, err := range []error{b.Ack(inFlight[0].ID), b.Dead(inFlight[0], 400, "no")} {
		if err != nil && !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("the end of a flight: got error %v", err)
		}
	}
	b.Release(inFlight[0].ID)
}

func testDrain(t *testing.T, b *box) {
	b.ok(b.Drain(t.Context()))
	b.append("a", "b", "c")
	drained := make(chan error, 1)
	go func() { drained <- b.Drain(t.Context()) }()
	got := b.want(100, "a#1 b#2 c#3")
	for _, step := range []func(){
		func() { b.ok(b.Ack(got[0].ID)) },
		func() { b.Release(got[1].ID) },
		func() { b.ok(b.Dead(got[2], 400, "no")) },
		func() { b.next(1) },
	} {
		step()
		synctest.Wait()
		select {
		case <-drained:
			t.Fatal("Drain has ended while a change is left")
		default:
		}
	}
	b.ok(b.Ack(got[1].ID))
	b.ok(<-drained)
	b.stats(outbox.Stats{Dead: 1})
}

func testDrainContext(t *testing.T, b *box) {
	b.append("a")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := b.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got error %v", err)
	}
}
