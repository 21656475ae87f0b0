package udf

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

// What isolate waits after a request that is to be tried again. There are others
// that pass, so it is far less than where nothing is known.
const (
	isolateInitial = 10 * time.Millisecond
	isolateMax     = 50 * time.Millisecond
)

// isolate delivers a batch that failed, until each alert that is at fault has
// stood alone. Bad alerts often come together, and so do good ones: from one
// that was accepted it goes on to both sides, in pieces as large as what passed
// before, and then tries a single one somewhere else.
//
//	✗ ✗ ✗ ✗ ✗ ✗ ✓ ✓ ✓ ✓ ✓ ✓ ✓ ✓ ✗ ✗ ✗
//	          ◀────── ● ──────▶
//
// When so many single alerts fail in a row that their app key is held, the rest
// is postponed.
func (d *delivery) isolate(ctx context.Context, batch []outbox.Change) {
	rest := byAlert(d.notStuck(batch))
	switch len(rest) {
	case 0:
		return
	case 1:
		d.inTwo(ctx, rest[0])
		return
	}
	var (
		to      = alone
		at      = len(rest) - 1 // the newest has least to do with what is known to fail
		bad     = 0             // as many from there on are known to fail together
		run     = 0             // as many have passed since one failed alone,
		lastRun = len(rest) / 4 // and before that one
	)
	switch {
	case d.near > 0:
		to, at = newer, newerThan(rest, d.near)
	case batch[0].Postponed:
		at = rand.IntN(len(rest)) // the newest was tried when it was postponed
	}
	wait := newBackoff(isolateInitial, isolateMax)
	for throttled := 0; len(rest) > 0; {
		if d.lanes.held(d.lane) {
			d.giveUp(slices.Concat(rest...))
			return
		}
		size := 2*max(run, lastRun) + 1
		if bad > 0 {
			size = max(1, bad/2)
		}
		from, end := to.piece(at, size, len(rest))
		if from == end {
			to, at, bad = to.next(at, len(rest))
			continue
		}
		piece := slices.Concat(rest[from:end]...)
		failure := d.send(ctx, piece)
		switch {
		case failure == nil:
			rest, at = slices.Delete(rest, from, end), from
			run += end - from
			bad = max(0, bad-(end-from))
			wait.Reset()
			if to == alone {
				to = newer
			}
			continue
		case ctx.Err() != nil,
			failure.Class == bigpanda.Retry && !sleep(ctx, max(wait.NextBackOff(), failure.RetryAfter)):
			d.release(slices.Concat(rest...))
			return
		case failure.Reason == bigpanda.ReasonThrottled && throttled < inARow:
			throttled++
			continue
		case failure.Class == bigpanda.HoldAppKey, failure.Reason == bigpanda.ReasonThrottled:
			d.hold(slices.Concat(rest...), failure)
			return
		case end-from > 1:
			bad = end - from
			continue
		case len(piece) > 1:
			d.inTwo(ctx, piece)
		case failure.Class == bigpanda.Refused:
			d.refuse(piece[0], failure)
		default:
			d.park(piece[0], failure, newBackoff(retryInitial, retryMax))
		}
		rest, at = slices.Delete(rest, from, end), from
		lastRun, run = run, 0
		to, at, bad = to.next(at, len(rest))
	}
}

// inTwo delivers the changes of one alert in two pieces, in their order.
func (d *delivery) inTwo(ctx context.Context, changes []outbox.Change) {
	middle := len(changes) / 2
	d.deliver(ctx, changes[:middle])
	d.deliver(ctx, changes[middle:])
}

// A direction says where isolate takes its next piece.
type direction int

const (
	alone direction = iota // one alert, by itself
	newer
	older
)

// piece returns the place of a piece of up to size of the alerts that are left.
func (to direction) piece(at, size, left int) (from, end int) {
	switch to {
	case newer:
		return at, min(at+size, left)
	case older:
		return max(0, at-size), at
	}
	return at, at + 1
}

// next returns where to go on when there is nothing more to be had in this
// direction: the other side, or a place by chance.
func (to direction) next(at, left int) (next direction, place, bad int) {
	if to == newer || left == 0 {
		return older, at, 0
	}
	return alone, rand.IntN(left), 0
}

// byAlert returns the changes of each alert in a batch, in the order of the
// first ones.
func byAlert(batch []outbox.Change) (alerts [][]outbox.Change) {
	place := make(map[string]int, len(batch))
	for _, c := range batch {
		at, seen := place[c.Alert]
		if !seen {
			at = len(alerts)
			place[c.Alert] = at
			alerts = append(alerts, nil)
		}
		alerts[at] = append(alerts[at], c)
	}
	return alerts
}

// newerThan returns the place of the first alert that is newer than a change.
func newerThan(alerts [][]outbox.Change, id uint64) int {
	at := slices.IndexFunc(alerts, func(changes []outbox.Change) bool { return changes[0].ID > id })
	if at < 0 {
		return len(alerts)
	}
	return at
}
