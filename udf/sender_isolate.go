package udf

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"

	"github.com/cenkalti/backoff/v5"
)

// takeApart delivers a batch that failed in pieces, until each alert that is at
// fault was sent alone. When so many single alerts fail in a row that their app
// key is held, the rest is postponed.
func (d *delivery) takeApart(ctx context.Context, batch []outbox.Change) {
	rest := byAlert(d.notStuck(batch))
	switch len(rest) {
	case 0:
		return
	case 1:
		d.inTwo(ctx, rest[0])
		return
	}
	at := len(rest) - 1 // the newest has least to do with what is known to fail
	switch {
	case d.near > 0:
		at, _ = slices.BinarySearchFunc(rest, d.near, func(changes []outbox.Change, id uint64) int {
			return cmp.Compare(changes[0].ID, id)
		})
	case batch[0].Postponed:
		at = rand.IntN(len(rest)) // the newest was tried when it was postponed
	}
	pieces := retry.NewIsolation(len(rest), at, d.near > 0)
	wait := retry.NewBackoff(retry.PieceInitial, retry.PieceMax)
	for len(rest) > 0 {
		if d.breaker.Held() {
			d.giveUp(slices.Concat(rest...))
			return
		}
		from, end := pieces.Piece()
		piece := slices.Concat(rest[from:end]...)
		failure := d.send(ctx, piece)
		switch {
		case failure == nil:
			pieces.Passed()
			rest = slices.Delete(rest, from, end)
			wait.Reset()
			continue
		case d.ends(ctx, slices.Concat(rest...), failure):
			return
		case failure.Class == bigpanda.Retry && !retry.Sleep(ctx, max(wait.NextBackOff(), failure.RetryAfter)):
			d.release(slices.Concat(rest...))
			return
		case failure.Reason == bigpanda.ReasonThrottled:
			continue
		case end-from > 1:
			pieces.Failed()
			continue
		case len(piece) > 1:
			d.inTwo(ctx, piece)
		case failure.Class == bigpanda.Refused:
			d.refuse(piece[0], failure)
		default:
			d.isolate(piece[0], failure, retry.NewBackoff(retry.FailureInitial, retry.FailureMax))
		}
		pieces.Isolated()
		rest = slices.Delete(rest, from, end)
	}
}

func (d *delivery) inTwo(ctx context.Context, changes []outbox.Change) {
	middle := len(changes) / 2
	d.deliver(ctx, changes[:middle])
	d.deliver(ctx, changes[middle:])
}

// isolate gives an alert that fails by itself a schedule of its own, on which it
// holds back only itself, unless the fault may be elsewhere.
func (d *delivery) isolate(c outbox.Change, why *bigpanda.Error, wait *backoff.ExponentialBackOff) {
	own := d.passed || why.Class != bigpanda.Hold
	if own && d.breaker.FailedAlone(d.othersPass()) {
		d.stuck[c.Alert] = true
		d.isolateAgain(&retry.Alert[outbox.Change]{Change: c, Backoff: wait}, why)
		return
	}
	d.hold([]outbox.Change{c}, why)
}

// isolateAgain has an alert wait for the next time of its schedule.
func (d *delivery) isolateAgain(a *retry.Alert[outbox.Change], why *bigpanda.Error) {
	if a.Said.Met(why.Reason) {
		d.log.Warn("an alert that is sent alone fails: it is tried on a schedule of its own",
			"app_key", d.appKey, "reason", why.Reason, "error", why, "payload", logged(a.Change))
	}
	if !d.isolated.Add(a, why.RetryAfter) {
		d.hold([]outbox.Change{a.Change}, why)
	}
}

// deliverIsolated tries an alert whose own schedule has come, even if its app key
// is held: it may be the only one to try with.
func (d *delivery) deliverIsolated(ctx context.Context, a *retry.Alert[outbox.Change]) {
	began := time.Now()
	d.ownSchedule = true
	one := []outbox.Change{a.Change}
	failure := d.send(ctx, one)
	defer func() { d.isolated.Done(time.Since(began), failure == nil) }()
	switch {
	case failure == nil, d.ends(ctx, one, failure):
	case failure.Class == bigpanda.Refused:
		d.refuse(a.Change, failure)
	default:
		d.isolateAgain(a, failure)
	}
}
