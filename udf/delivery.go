package udf

import (
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
	stuck  map[string]bool
	passed bool // BigPanda has accepted a part of the piece
}

func newDelivery(s *Sender, lane string) *delivery {
	return &delivery{Sender: s, lane: lane, stuck: make(map[string]bool)}
}

// deliver sends a batch. When it returns, each of the changes is delivered,
// dead, parked or released.
func (d *delivery) deliver(ctx context.Context, batch []outbox.Change) {
	batch = d.notStuck(batch)
	wait := newBackoff(retryInitial, retryMax)
	failed, throttled := 0, 0
	for len(batch) > 0 {
		if d.lanes.held(d.lane) {
			d.release(batch)
			return
		}
		failure := d.send(ctx, batch)
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
			d.halve(ctx, batch)
			return
		case failure.Class == bigpanda.HoldAppKey, throttled == inARow:
			d.hold(batch, failure)
			return
		case failure.Class == bigpanda.Hold, failed == suspectAfter:
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
// single alerts of it: where BigPanda accepts one, the rest goes on in halves,
// until what is at fault stands alone.
func (d *delivery) suspect(ctx context.Context, batch []outbox.Change, why *bigpanda.Error, wait *backoff.ExponentialBackOff) {
	firsts := firstOfEach(batch)
	switch {
	case len(batch) == 1:
		d.park(batch[0], why, wait)
		return
	case d.passed, len(firsts) == 1:
		d.halve(ctx, batch)
		return
	}
	for _, one := range firsts[:min(len(firsts), maxCanaries)] {
		if !d.pause(ctx, why, wait) || d.lanes.held(d.lane) {
			d.release(batch)
			return
		}
		why = d.send(ctx, []outbox.Change{one})
		switch {
		case why == nil:
			d.halve(ctx, without(batch, one))
			return
		case ctx.Err() != nil:
			d.release(batch)
			return
		case why.Class == bigpanda.Refused: // an answer, too
			d.refuse(one, why)
			d.halve(ctx, without(batch, one))
			return
		case why.Class == bigpanda.HoldAppKey:
			d.hold(batch, why)
			return
		}
	}
	d.hold(batch, why)
}

// send sends changes once. nil means that they are delivered; else they are
// still in flight.
func (d *delivery) send(ctx context.Context, changes []outbox.Change) *bigpanda.Error {
	failure := d.post(ctx, d.lane, changes)
	switch {
	case failure == nil:
		d.ack(changes)
		d.passed = true
	case ctx.Err() != nil:
	case failure.Class == bigpanda.Hold && !d.passed:
		d.gate.hold(failure)
	case failure.Class == bigpanda.Retry:
		d.delivering.met("delivery fails and is tried again", failure.Reason, failure)
	}
	return failure
}

// halve delivers a batch as two, so that in the end a bad alert stands alone.
func (d *delivery) halve(ctx context.Context, batch []outbox.Change) {
	middle := len(batch) / 2
	d.deliver(ctx, batch[:middle])
	d.deliver(ctx, batch[middle:])
}

// pause waits before another try; where the gate is shut, that is wait enough.
func (d *delivery) pause(ctx context.Context, why *bigpanda.Error, wait *backoff.ExponentialBackOff) bool {
	if why.Class == bigpanda.Hold || why.Reason == bigpanda.ReasonThrottled {
		return true
	}
	return sleep(ctx, max(wait.NextBackOff(), why.RetryAfter))
}

// probe sends one alert of a held lane, chosen by chance, and when it is
// accepted, as many others as fit in a batch.
func (d *delivery) probe(ctx context.Context, batch []outbox.Change) {
	one := firstOfEach(batch)[0]
	failure := d.send(ctx, []outbox.Change{one})
	switch {
	case failure == nil:
		d.deliver(ctx, d.fit(without(batch, one)))
		return
	case ctx.Err() != nil:
		d.lanes.leave(d.lane)
	default:
		d.lanes.failed(d.lane, failure)
	}
	d.release(batch)
}

// fit releases what is too much for one batch, and returns the rest.
func (d *delivery) fit(batch []outbox.Change) []outbox.Change {
	size := min(len(batch), d.options.BatchSize)
	d.queue.Release(ids(batch[size:])...)
	return batch[:size]
}

// refuse puts an alert that BigPanda refuses for good among the dead letters,
// unless so many are refused that the fault must be elsewhere.
func (d *delivery) refuse(c outbox.Change, why *bigpanda.Error) {
	if !d.lanes.refused(d.lane, why) {
		d.release([]outbox.Change{c})
		return
	}
	d.log.Error("BigPanda refuses an alert for good: it is now a dead letter",
		"app_key", d.lane, "error", why, "answer", why.Answer, "payload", logged(c))
	if err := d.queue.Dead(c.ID, why.Status, why.Answer); err != nil {
		d.storing.met("a dead letter cannot be kept: it may be sent again", "dead", err)
	}
}

// hold holds the lane, because of what a batch of it met.
func (d *delivery) hold(batch []outbox.Change, why *bigpanda.Error) {
	d.lanes.hold(d.lane, why)
	d.release(batch)
}

// ack and release are all that ends a flight well.

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

// firstOfEach returns the first change of each alert in a batch, shuffled.
func firstOfEach(batch []outbox.Change) (firsts []outbox.Change) {
	seen := make(map[string]bool, len(batch))
	for _, c := range batch {
		if !seen[c.Alert] {
			seen[c.Alert] = true
			firsts = append(firsts, c)
		}
	}
	rand.Shuffle(len(firsts), func(i, j int) { firsts[i], firsts[j] = firsts[j], firsts[i] })
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
