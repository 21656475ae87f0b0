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

// maxLogged is how many bytes of a payload go into the log.
const maxLogged = 2 << 10

// A delivery takes one piece of the queue to BigPanda, as far as it goes. One
// worker owns it.
type delivery struct {
	*Sender
	appKey  string
	breaker *retry.Breaker // of the app key
	// stuck are the alerts of which a change could not be delivered now: what
	// the piece holds of them besides must not overtake it.
	stuck map[string]bool
	// passed says that BigPanda takes alerts: it has accepted a part of the
	// piece, or the piece is of alerts that let others go first.
	passed    bool
	failed    bool   // a part of the piece has
	isolating bool   // the piece is an alert on its own schedule
	before    int    // as many requests of the app key were accepted before
	near      uint64 // the change of the piece that was accepted last
}

func (s *Sender) newDelivery(appKey string) *delivery {
	b := s.breakers.Of(appKey)
	return &delivery{Sender: s, appKey: appKey, breaker: b, stuck: make(map[string]bool), before: b.Count()}
}

// deliver sends a batch. When it returns, each of the changes is delivered,
// dead, isolated, released or postponed.
func (d *delivery) deliver(ctx context.Context, batch []outbox.Change) {
	batch = d.notStuck(batch)
	wait := retry.NewBackoff(retry.FailureInitial, retry.FailureMax)
	failed, throttled := 0, 0
	var failure *bigpanda.Error
	for len(batch) > 0 {
		switch held := d.breaker.Held(); {
		case held && failed > 0:
			d.suspect(ctx, batch, failure, wait)
			return
		case held:
			d.giveUp(batch)
			return
		}
		failure = d.send(ctx, batch)
		if failure == nil {
			return
		}
		if failure.Reason == bigpanda.ReasonThrottled {
			throttled++
		} else {
			failed++
		}
		switch {
		case ctx.Err() != nil:
			d.release(batch)
			return
		case failure.Class == bigpanda.Refused && len(batch) == 1:
			d.refuse(batch[0], failure)
			return
		case failure.Class == bigpanda.Refused:
			d.takeApart(ctx, batch)
			return
		case failure.Class == bigpanda.HoldAppKey, throttled == retry.InARow:
			d.hold(batch, failure)
			return
		case failure.Class == bigpanda.Hold, failed == retry.SuspectAfter, failed > 0 && d.passed:
			d.suspect(ctx, batch, failure, wait)
			return
		}
		if !d.pause(ctx, failure, wait) {
			d.release(batch)
			return
		}
	}
}

// suspect finds out whether a batch that fails is itself at fault, by sending
// single alerts of it: where BigPanda accepts one, the rest goes on in pieces,
// until what is at fault stands alone.
func (d *delivery) suspect(ctx context.Context, batch []outbox.Change, why *bigpanda.Error, wait *backoff.ExponentialBackOff) {
	firsts := firstOfEach(batch)
	switch {
	case len(batch) == 1:
		d.isolate(batch[0], why, wait)
		return
	case d.passed, len(firsts) == 1:
		d.takeApart(ctx, batch)
		return
	}
	for i, one := range firsts[:min(len(firsts), retry.MaxSamples)] {
		if !d.pause(ctx, why, wait) {
			d.release(batch)
			return
		}
		// It may be held because of another batch: that says little of this one.
		if i > 0 && d.breaker.Held() {
			d.giveUp(batch)
			return
		}
		why = d.send(ctx, []outbox.Change{one})
		switch {
		case why == nil:
			d.takeApart(ctx, without(batch, one))
			return
		case ctx.Err() != nil:
			d.release(batch)
			return
		case why.Class == bigpanda.Refused: // an answer, too
			d.refuse(one, why)
			d.takeApart(ctx, without(batch, one))
			return
		case why.Class == bigpanda.HoldAppKey:
			d.hold(batch, why)
			return
		}
	}
	if d.othersPass() {
		d.postpone(batch)
		return
	}
	d.hold(batch, why)
}

// takeApart delivers a batch that failed in pieces, until each alert that is at
// fault has stood alone. When so many single alerts fail in a row that their app
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
	for throttled := 0; len(rest) > 0; {
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
		case ctx.Err() != nil,
			failure.Class == bigpanda.Retry && !retry.Sleep(ctx, max(wait.NextBackOff(), failure.RetryAfter)):
			d.release(slices.Concat(rest...))
			return
		case failure.Reason == bigpanda.ReasonThrottled && throttled < retry.InARow:
			throttled++
			continue
		case failure.Class == bigpanda.HoldAppKey, failure.Reason == bigpanda.ReasonThrottled:
			d.hold(slices.Concat(rest...), failure)
			return
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

// inTwo delivers the changes of one alert in two pieces, in their order.
func (d *delivery) inTwo(ctx context.Context, changes []outbox.Change) {
	middle := len(changes) / 2
	d.deliver(ctx, changes[:middle])
	d.deliver(ctx, changes[middle:])
}

// probe sends one alert of a held app key, and when it is accepted, as many others
// as fit in a batch. Of alerts that were not postponed it is the newest, since
// what is bad came before; else one by chance.
func (d *delivery) probe(ctx context.Context, batch []outbox.Change) {
	firsts := firstOfEach(batch)
	one := firsts[0]
	if one.Postponed {
		one = firsts[rand.IntN(len(firsts))]
	}
	failure := d.send(ctx, []outbox.Change{one})
	switch {
	case failure == nil:
		at := slices.IndexFunc(batch, func(c outbox.Change) bool { return c.ID == one.ID })
		d.deliver(ctx, d.fit(without(batch, one), at))
	case ctx.Err() != nil:
		d.breaker.Leave()
		d.release(batch)
	case d.outdated(failure):
		d.breaker.Leave()
		d.hold(batch, failure)
	default:
		// The next probe is to be with something else, and for what nothing is
		// known of yet this one stands.
		if one.Postponed {
			d.postpone([]outbox.Change{one})
			d.release(without(batch, one))
		} else {
			d.postpone(batch)
		}
		d.breaker.Failed(failure)
	}
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
	d.isolating = true
	one := []outbox.Change{a.Change}
	failure := d.send(ctx, one)
	defer func() { d.isolated.Done(time.Since(began), failure == nil) }()
	switch {
	case failure == nil:
	case ctx.Err() != nil:
		d.release(one)
	case failure.Class == bigpanda.HoldAppKey:
		d.hold(one, failure)
	case failure.Class == bigpanda.Refused:
		d.refuse(a.Change, failure)
	default:
		d.isolateAgain(a, failure)
	}
}

// othersPass reports whether BigPanda takes alerts of the app key meanwhile.
func (d *delivery) othersPass() bool { return d.passed || d.breaker.Count() > d.before }

// pause waits before another try; where everything pauses, that is wait enough.
func (d *delivery) pause(ctx context.Context, why *bigpanda.Error, wait *backoff.ExponentialBackOff) bool {
	if why.Class == bigpanda.Hold || why.Reason == bigpanda.ReasonThrottled {
		return true
	}
	return retry.Sleep(ctx, max(wait.NextBackOff(), why.RetryAfter))
}

// fit releases what is too much for one batch, and returns the rest, in order of
// change: what is next to one place of it.
func (d *delivery) fit(batch []outbox.Change, at int) []outbox.Change {
	size := min(len(batch), d.options.BatchSize)
	from := min(max(0, at-size/2), len(batch)-size)
	d.release(batch[:from])
	d.queue.Release(ids(batch[from+size:])...)
	return slices.SortedFunc(slices.Values(batch[from:from+size]), func(a, b outbox.Change) int {
		return cmp.Compare(a.ID, b.ID)
	})
}

// refuse puts an alert that BigPanda refuses for good among the dead letters,
// unless so many are refused that the fault must be elsewhere.
func (d *delivery) refuse(c outbox.Change, why *bigpanda.Error) {
	if !d.breaker.Refused(why) {
		d.postpone([]outbox.Change{c})
		return
	}
	d.log.Error("BigPanda refuses an alert for good: it is now a dead letter",
		"app_key", d.appKey, "error", why, "answer", why.Answer, "payload", logged(c))
	d.dead(c, why)
}

func (d *delivery) dead(c outbox.Change, why *bigpanda.Error) {
	if err := d.queue.Dead(c.ID, why.Status, why.Answer); err != nil {
		d.warn(&d.storing, "a dead letter cannot be kept: it may be sent again", "dead", err)
	}
}

// hold holds the app key, because of what a batch of it met. A batch whose app key
// is outdated becomes dead letters.
func (d *delivery) hold(batch []outbox.Change, why *bigpanda.Error) {
	if !d.outdated(why) {
		d.breaker.Hold(why)
		d.postpone(batch)
		return
	}
	d.log.Warn("changes that are queued under an app key that BigPanda does not know, and that is no longer in force, are given up: they are now dead letters",
		"app_key", d.appKey, "in_force", d.options.AppKey, "changes", len(batch), "error", why)
	for _, c := range batch {
		d.dead(c, why)
	}
}

// outdated reports whether the piece is of an app key that BigPanda does not know
// and that is no longer in force: nobody would ever mend it.
func (d *delivery) outdated(why *bigpanda.Error) bool {
	inForce := d.options.AppKey
	return why.Class == bigpanda.HoldAppKey && inForce != "" && d.appKey != inForce && d.breakers.Of(inForce).Count() > 0
}

// giveUp gives back what is not sent, since the app key is held meanwhile.
func (d *delivery) giveUp(batch []outbox.Change) {
	if d.failed {
		d.postpone(batch)
	} else {
		d.release(batch)
	}
}

// ack, release and postpone are all that ends a flight well.

func (d *delivery) ack(delivered []outbox.Change) {
	if err := d.queue.Ack(ids(delivered)...); err != nil {
		d.warn(&d.storing, "delivered alerts cannot be removed from the outbox: they may be sent again", "ack", err)
		return
	}
	d.over(&d.storing, "the outbox works again")
}

func (d *delivery) release(undelivered []outbox.Change) { d.queue.Release(d.keepBack(undelivered)...) }
func (d *delivery) postpone(undelivered []outbox.Change) {
	d.queue.Postpone(d.keepBack(undelivered)...)
}

// keepBack returns the ids of changes that are not delivered now, and has the rest
// of the piece not overtake them.
func (d *delivery) keepBack(undelivered []outbox.Change) []uint64 {
	for _, c := range undelivered {
		d.stuck[c.Alert] = true
	}
	return ids(undelivered)
}

// notStuck releases what must not overtake a change that is stuck, and returns
// the rest.
func (d *delivery) notStuck(batch []outbox.Change) []outbox.Change {
	var free, stuck []outbox.Change
	for _, c := range batch {
		if d.stuck[c.Alert] {
			stuck = append(stuck, c)
		} else {
			free = append(free, c)
		}
	}
	if len(stuck) > 0 {
		d.release(stuck)
	}
	return free
}
