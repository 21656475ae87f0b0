package udf

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"

	"github.com/cenkalti/backoff/v5"
)

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
	passed      bool
	failed      bool   // a part of the piece has
	throttled   int    // requests in a row that BigPanda asked to come later
	ownSchedule bool   // the piece is an alert on its own schedule
	before      int    // as many requests of the app key were accepted before
	near        uint64 // the change of the piece that was accepted last
}

func (s *Sender) newDelivery(appKey string) *delivery {
	b := s.breakers.Of(appKey)
	return &delivery{Sender: s, appKey: appKey, breaker: b, stuck: make(map[string]bool), before: b.Count()}
}

// suspect finds out whether a batch that fails is itself at fault, by sending
// single alerts of it: where BigPanda accepts one, the rest goes on in pieces,
// until what is at fault is alone.
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
		case d.ends(ctx, batch, why):
			return
		case why.Class == bigpanda.Refused: // an answer, too
			d.refuse(one, why)
			d.takeApart(ctx, without(batch, one))
			return
		}
	}
	if d.othersPass() {
		d.postpone(batch)
		return
	}
	d.hold(batch, why)
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
	if err := d.queue.Dead(c, why.Status, why.Answer); err != nil {
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
// and that is no longer in force: nobody would ever make it one that BigPanda knows.
func (d *delivery) outdated(why *bigpanda.Error) bool {
	o := d.options
	return why.Class == bigpanda.HoldAppKey && o.HasLeft != nil && d.appKey != o.AppKey &&
		o.HasLeft(d.appKey) && d.breakers.Of(o.AppKey).Count() > 0
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
