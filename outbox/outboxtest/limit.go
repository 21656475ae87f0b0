package outboxtest

import (
	"fmt"
	"strings"
	"testing"

	"bigpanda-udf/outbox"
)

// kilo is a change with a payload of 1,000 bytes that begins with text.
func kilo(alert, text string) outbox.Change {
	return change(alert, text+strings.Repeat(".", 1000-len(text)))
}

// texts are the beginnings of payloads.
func texts(changes []outbox.Change) string {
	return strings.ReplaceAll(payloadsOf(changes), ".", "")
}

func testLimit(t *testing.T, b *box) {
	b = b.again(100_000)
	const each = 100 // 200,000 bytes
	for i := range each {
		b.Append([]outbox.Change{
			kilo("a", fmt.Sprint("a", i)),
			kilo("b", fmt.Sprint("b", i)),
		}, nil)
	}
	stats := b.Stats()
	if stats.Queued > 100 || stats.Queued < 50 {
		t.Errorf("%d kB are held at a limit of 100 kB", stats.Queued)
	}
	if stats.GivenUp+stats.Queued != 2*each {
		t.Errorf("the numbers do not add up: %+v", stats)
	}
	// What is left are the last of each, with no gaps.
	var want []string
	for i := stats.GivenUp; i < 2*each; i++ {
		want = append(want, fmt.Sprintf("%c%d", "ab"[i%2], i/2))
	}
	if got := texts(b.next(1000)); got != strings.Join(want, " ") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func testLimitNewest(t *testing.T, b *box) {
	b = b.again(10_000)
	for i := range 30 {
		alert := fmt.Sprint("a", i)
		b.Append([]outbox.Change{kilo(alert, "old"), kilo(alert, alert)}, nil)
	}
	b.Append([]outbox.Change{kilo("last", "old"), kilo("last", "last")}, nil)
	got := strings.Fields(texts(b.next(1000)))
	newest := 0
	for _, text := range got {
		if text != "old" {
			newest++
		}
	}
	if newest != 31 {
		t.Errorf("of 31 alerts %d have kept their newest change: %s", newest, got)
	}
	if old := len(got) - newest; old > 10 {
		t.Errorf("%d intermediate changes are kept above the limit", old)
	}
	if stats := b.Stats(); stats.GivenUp != 2*31-len(got) {
		t.Errorf("%d are left of 62, and the stats are %+v", len(got), stats)
	}
}

func testLimitInFlight(t *testing.T, b *box) {
	b = b.again(10_000)
	for i := range 8 {
		b.Append([]outbox.Change{kilo("a", fmt.Sprint("a", i))}, nil)
	}
	inFlight := b.next(5)
	for i := range 30 {
		b.Append([]outbox.Change{kilo("b", fmt.Sprint("b", i))}, nil)
	}
	if stats := b.Stats(); stats.InFlight != 5 || stats.GivenUp == 0 {
		t.Errorf("stats: %+v", stats)
	}
	b.Release(ids(inFlight)...)
	got := texts(b.next(1000))
	if !strings.HasPrefix(got, "a0 a1 a2 a3 a4 ") || !strings.Contains(got, "a7 ") || !strings.HasSuffix(got, "b29") {
		t.Errorf("got %s", got)
	}
}

func testLimitRoom(_ *testing.T, b *box) {
	b = b.again(10_000)
	for range 10 {
		for range 10 {
			b.Append([]outbox.Change{kilo("a", "")}, nil)
		}
		b.ok(b.Ack(ids(b.next(1000))...))
	}
	b.stats(outbox.Stats{})
}

func testLimitAfterStorm(t *testing.T, b *box) {
	b = b.again(10_000)
	for i := range 100 { // 100,000 bytes of newest changes, which are all kept
		b.Append([]outbox.Change{kilo(fmt.Sprint("a", i), "")}, nil)
	}
	b.stats(outbox.Stats{Queued: 100})
	b.ok(b.Ack(ids(b.next(1000))...))
	for range 100 {
		b.Append([]outbox.Change{kilo("b", "")}, nil)
	}
	if stats := b.Stats(); stats.Queued > 10 || stats.Queued+stats.GivenUp != 100 {
		t.Errorf("with room for 10, stats: %+v", stats)
	}
}
