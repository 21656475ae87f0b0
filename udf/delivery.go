package udf

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"unicode/utf8"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/cenkalti/backoff/v5"
)

const (
	// suspectAfter is how many failures in a row make a batch suspect.
	suspectAfter = 3
	// maxCanaries is how many alerts of a suspect batch are tried alone before
	// the fault is not taken for the batch's.
	maxCanaries = 2
	// maxLogged is how many bytes of a payload go into the log.
	maxLogged = 2 << 10
)

// A delivery takes one piece of the queue to BigPanda, as far as it goes.
type delivery struct {
	*Sender
	lane string
	// stuck are the alerts of which a change could not be delivered now: what
	// the piece holds of them besides must not overtake it.
	stuck map[string]bool
	// passed says that BigPanda takes alerts: it has accepted a part of the
	// piece, or the piece is of alerts that let others go first.
	passed bool
	failed bool   // a part of the piece has
	before int    // as many requests of the app key were accepted before
	near   uint64 // the change of the piece that was accepted last
}

func newDelivery(s *Sender, lane string) *delivery {
	return &delivery{Sender: s, lane: lane, stuck: make(map[string]bool), before: s.lanes.count(lane)}
}

// deliver sends a batch. When it returns, each of the changes is delivered,
// dead, parked, released or postponed.
func (d *delivery) deliver(ctx context.Context, batch []outbox.Change) {
	batch = d.notStuck(batch)
	wait := newBackoff(retryInitial, retryMax)
	failed, throttled := 0, 0
	var failure *bigpanda.Error
	for len(batch) > 0 {
		switch held := d.lanes.held(d.lane); {
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
			d.isolate(ctx, batch)
			return
		case failure.Class == bigpanda.HoldAppKey, throttled == inARow:
			d.hold(batch, failure)
			return
		case failure.Class == bigpanda.Hold, failed == suspectAfter, failed > 0 && d.passed:
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
		d.park(batch[0], why, wait)
		return
	case d.passed, len(firsts) == 1:
		d.isolate(ctx, batch)
		return
	}
	for i, one := range firsts[:min(len(firsts), maxCanaries)] {
		if !d.pause(ctx, why, wait) {
			d.release(batch)
			return
		}
		// It may be held because of another batch: that says little of this one.
		if i > 0 && d.lanes.held(d.lane) {
			d.giveUp(batch)
			return
		}
		why = d.send(ctx, []outbox.Change{one})
		switch {
		case why == nil:
			d.isolate(ctx, without(batch, one))
			return
		case ctx.Err() != nil:
			d.release(batch)
			return
		case why.Class == bigpanda.Refused: // an answer, too
			d.refuse(one, why)
			d.isolate(ctx, without(batch, one))
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

// othersPass reports whether BigPanda takes alerts of the app key meanwhile.
func (d *delivery) othersPass() bool { return d.passed || d.lanes.count(d.lane) > d.before }

// send sends changes once. nil means that they are delivered; else they are
// still in flight.
func (d *delivery) send(ctx context.Context, changes []outbox.Change) *bigpanda.Error {
	failure := d.post(ctx, d.lane, changes)
	d.failed = d.failed || failure != nil
	switch {
	case failure == nil:
		d.ack(changes)
		d.passed, d.near = true, changes[0].ID
	case ctx.Err() != nil:
	case failure.Class == bigpanda.Hold && !d.passed:
		d.gate.hold(failure)
	case failure.Class == bigpanda.Retry:
		d.delivering.met("delivery fails and is tried again", failure.Reason, failure)
	}
	return failure
}

// pause waits before another try; where the gate is shut, that is wait enough.
func (d *delivery) pause(ctx context.Context, why *bigpanda.Error, wait *backoff.ExponentialBackOff) bool {
	if why.Class == bigpanda.Hold || why.Reason == bigpanda.ReasonThrottled {
		return true
	}
	return sleep(ctx, max(wait.NextBackOff(), why.RetryAfter))
}

// probe sends one alert of a held lane, and when it is accepted, as many others
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
		d.lanes.leave(d.lane)
		d.release(batch)
	case d.outdated(failure):
		d.lanes.leave(d.lane)
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
		d.lanes.failed(d.lane, failure)
	}
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
	if !d.lanes.refused(d.lane, why) {
		d.postpone([]outbox.Change{c})
		return
	}
	d.log.Error("BigPanda refuses an alert for good: it is now a dead letter",
		"app_key", d.lane, "error", why, "answer", why.Answer, "payload", logged(c))
	d.dead(c, why)
}

func (d *delivery) dead(c outbox.Change, why *bigpanda.Error) {
	if err := d.queue.Dead(c.ID, why.Status, why.Answer); err != nil {
		d.storing.met("a dead letter cannot be kept: it may be sent again", "dead", err)
	}
}

// hold holds the lane, because of what a batch of it met.
func (d *delivery) hold(batch []outbox.Change, why *bigpanda.Error) {
	if d.outdated(why) {
		d.expire(batch, why)
		return
	}
	d.lanes.hold(d.lane, why)
	d.postpone(batch)
}

// outdated reports whether the piece is of an app key that BigPanda does not know
// and that is no longer in force: nobody would ever mend it.
func (d *delivery) outdated(why *bigpanda.Error) bool {
	return why.Class == bigpanda.HoldAppKey && d.options.HasLeft != nil && d.lane != d.options.AppKey &&
		d.options.HasLeft(d.lane) && d.lanes.count(d.options.AppKey) > 0
}

// expire makes dead letters of a batch whose app key is outdated.
func (d *delivery) expire(batch []outbox.Change, why *bigpanda.Error) {
	d.log.Warn("changes that are queued under an app key that BigPanda does not know, and that is no longer in force, are given up: they are now dead letters",
		"app_key", d.lane, "in_force", d.options.AppKey, "changes", len(batch), "error", why)
	for _, c := range batch {
		d.dead(c, why)
	}
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
		d.storing.met("delivered alerts cannot be removed from the outbox: they may be sent again", "ack", err)
		return
	}
	d.storing.over("the outbox works again")
}

func (d *delivery) release(undelivered []outbox.Change) {
	for _, c := range undelivered {
		d.stuck[c.Alert] = true
	}
	d.queue.Release(ids(undelivered)...)
}

func (d *delivery) postpone(undelivered []outbox.Change) {
	for _, c := range undelivered {
		d.stuck[c.Alert] = true
	}
	d.queue.Postpone(ids(undelivered)...)
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

// firstOfEach returns the first change of each alert in a batch: that of the
// newest alert, then the others, shuffled.
func firstOfEach(batch []outbox.Change) (firsts []outbox.Change) {
	seen := make(map[string]bool, len(batch))
	for _, c := range batch {
		if !seen[c.Alert] {
			seen[c.Alert] = true
			firsts = append(firsts, c)
		}
	}
	slices.Reverse(firsts)
	rest := firsts[1:]
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return firsts
}

func without(batch []outbox.Change, one outbox.Change) []outbox.Change {
	return slices.DeleteFunc(slices.Clone(batch), func(c outbox.Change) bool { return c.ID == one.ID })
}

// logged is the payload of a change as the log shows it.
func logged(c outbox.Change) string {
	if len(c.Payload) <= maxLogged {
		return string(c.Payload)
	}
	end := maxLogged
	for !utf8.RuneStart(c.Payload[end]) {
		end--
	}
	return string(c.Payload[:end]) + "…"
}
