// Package outboxtest holds what every outbox must pass, whatever it keeps its
// changes in.
package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/outbox"
)

// An Outbox is what handler, sender and process together need of one.
type Outbox interface {
	Append(changes []outbox.Change, levels []outbox.Level)
	Next(ctx context.Context, max int, skip func(appKey string) bool) ([]outbox.Change, error)
	Ack(ids ...uint64) error
	Dead(c outbox.Change, status int, answer string) error
	Release(ids ...uint64)
	Postpone(ids ...uint64)
	Drain(ctx context.Context) error
	Stats() outbox.Stats
	Close() error
}

// Open returns an empty outbox that gives up intermediate changes when the
// payloads it holds are together larger than limit bytes. It is called inside
// a synctest bubble; what the outbox has running must end with its Close.
type Open func(t *testing.T, limit int64) Outbox

// noLimit is more than any test appends.
const noLimit = 1 << 40

// Length says how long the random part of the suite is: it makes a round for
// each seed, of so many steps.
type Length struct{ Seeds, Steps int }

// Run runs the suite.
func Run(t *testing.T, open Open, length Length) {
	tests := []struct {
		name string
		run  func(*testing.T, *box)
	}{
		{"changes leave in the order in which they came", testOrder},
		{"IDs ascend over all alerts", testIDs},
		{"Append keeps nothing of the slice that it gets", testAppendCopies},
		{"max is the most that leaves at once", testMax},
		{"a piece is of one app key, the one with the oldest change", testOldestAppKey},
		{"an app key that is skipped stays", testSkip},
		{"an alert in flight waits, others do not (P5)", testInFlight},
		{"a change that came during the flight waits for its end (P5)", testAppendInFlight},
		{"an alert waits until the last of its changes has landed (P5)", testPartlyDone},
		{"what is released is back in its place (P5)", testRelease},
		{"what is released bit by bit is back in its place (P5)", testReleaseBits},
		{"what is postponed leaves last, and not with others", testPostpone},
		{"what is postponed leaves in the order of that", testPostponeAgain},
		{"an alert that is postponed keeps its order (P5)", testPostponeOrder},
		{"Ack, Dead and Release come in any order, and twice", testAnyOrder},
		{"IDs that are not in flight mean nothing", testUnknownIDs},
		{"payloads of one piece stay below the limit of a request", testBatchBytes},
		{"Next waits for Append", testNextWaits},
		{"Next waits for the end of a flight", testNextWaitsForFlight},
		{"every Next that waits gets something", testAllNextWake},
		{"Next ends with its context", testNextContext},
		{"Close ends every Next and Drain", testClose},
		{"Drain waits until all has landed", testDrain},
		{"Drain ends with its context", testDrainContext},
		{"at the limit the oldest intermediate changes go, and are counted (P5)", testLimit},
		{"the newest change of an alert is kept beyond the limit (P5)", testLimitNewest},
		{"what is in flight is kept beyond the limit (P5)", testLimitInFlight},
		{"what left makes room", testLimitRoom},
		{"a storm of alerts does not raise the limit for good", testLimitAfterStorm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tt.run(t, newBox(t, open, noLimit)) })
		})
	}
	t.Run("model (P5)", func(t *testing.T) { testModel(t, open, length) })
	t.Run("concurrent use (P5)", func(t *testing.T) { testConcurrent(t, open) })
}

// A box is an outbox under test, with short ways to use it.
type box struct {
	Outbox
	t    *testing.T
	open Open
}

func newBox(t *testing.T, open Open, limit int64) *box {
	o := open(t, limit)
	t.Cleanup(func() { o.Close() })
	return &box{o, t, open}
}

// again is the same with a limit.
func (b *box) again(limit int64) *box { return newBox(b.t, b.open, limit) }

// Append appends, and waits for what that has set going.
func (b *box) Append(changes []outbox.Change, levels []outbox.Level) {
	b.Outbox.Append(changes, levels)
	synctest.Wait()
}

// append queues a change for each word: "app key/alert" or "alert", of app key "k".
// Its payload is "alert#n", n counting the words.
func (b *box) append(words ...string) {
	var changes []outbox.Change
	for n, word := range words {
		changes = append(changes, change(word, fmt.Sprint(word, "#", n+1)))
	}
	b.Append(changes, nil)
}

func change(word, payload string) outbox.Change {
	appKey, _, found := strings.Cut(word, "/")
	if !found {
		appKey = "k"
	}
	return outbox.Change{AppKey: appKey, Alert: word, Time: 1, Level: "CRITICAL", Payload: []byte(payload)}
}

// next takes what is ready, nil if there is nothing.
func (b *box) next(max int, skip ...string) []outbox.Change {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	got, err := b.Next(ctx, max, func(appKey string) bool { return slices.Contains(skip, appKey) })
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if err != nil {
		b.t.Fatalf("Next: %v", err)
	}
	if len(got) == 0 {
		b.t.Fatal("Next returned neither changes nor an error")
	}
	return got
}

// want takes what is ready and compares its payloads.
func (b *box) want(max int, payloads string, skip ...string) []outbox.Change {
	b.t.Helper()
	got := b.next(max, skip...)
	if have := payloadsOf(got); have != payloads {
		b.t.Fatalf("Next(%d): got %q, want %q", max, have, payloads)
	}
	return got
}

func (b *box) stats(want outbox.Stats) {
	b.t.Helper()
	if got := b.Stats(); got != want {
		b.t.Fatalf("stats: got %+v, want %+v", got, want)
	}
}

func (b *box) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func payloadsOf(changes []outbox.Change) string {
	var all []string
	for _, c := range changes {
		all = append(all, string(c.Payload))
	}
	return strings.Join(all, " ")
}

func ids(changes []outbox.Change) []uint64 {
	var all []uint64
	for _, c := range changes {
		all = append(all, c.ID)
	}
	return all
}
