package udf

import (
	"context"
	"slices"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/cenkalti/backoff/v5"
)

// maxParked is how many alerts may wait on schedules of their own; they are in
// memory (P7).
const maxParked = 1000

// maxRest is how long no other parked alert is tried after one, at most.
const maxRest = 30 * time.Second

// parking holds the alerts that are tried on schedules of their own. They stay
// in flight for the queue, so that no later change of theirs overtakes them.
type parking struct {
	alarm *alarm

	mu   sync.Mutex
	all  []parked
	busy bool                        // one is under way, or has just been
	idle *backoff.ExponentialBackOff // since the last alert was accepted, parked or not
}

type parked struct {
	change  outbox.Change
	until   time.Time
	backoff *backoff.ExponentialBackOff
	tried   bool // since it was parked
	said    complaint
}

func (p *parking) init(a *alarm) {
	p.alarm, p.idle = a, newBackoff(retryInitial, retryMax)
}

// add parks an alert for its next wait, and for as long as BigPanda asked to
// wait. It reports false when all places are taken.
func (p *parking) add(one parked, atLeast time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) >= maxParked {
		return false
	}
	wait := max(one.backoff.NextBackOff(), atLeast)
	one.until = time.Now().Add(wait)
	if one.tried {
		p.all = append(p.all, one)
	} else {
		// It may be good, and does not wait for those that are known.
		p.all = slices.Insert(p.all, 0, one)
	}
	p.alarm.ringAfter(wait)
	return true
}

// take removes an alert whose time has come. There is none before the last one
// that was taken is done with.
func (p *parking) take() (parked, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.all, func(one parked) bool { return !time.Now().Before(one.until) })
	if i < 0 || p.busy {
		return parked{}, false
	}
	one := p.all[i]
	p.all = slices.Delete(p.all, i, i+1)
	p.busy = true
	return one, true
}

// rest says that the one that was taken is done with, and leaves the
// connection to others for as long as it took: several that BigPanda never
// answers must not use up all the time of a single connection. To wait at the
// gate may take far longer than a request, and does not count. While nothing is
// accepted it waits longer each time: in an outage, many may be parked.
func (p *parking) rest(took time.Duration, accepted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := min(took, maxRest)
	if !accepted {
		wait = max(wait, p.idle.NextBackOff())
	}
	time.AfterFunc(wait, func() {
		p.mu.Lock()
		p.busy = false
		p.mu.Unlock()
		p.alarm.ring()
	})
}

// accepted says that BigPanda took an alert.
func (p *parking) accepted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle.Reset()
}

// empty removes and returns all of them.
func (p *parking) empty() (changes []outbox.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		changes = append(changes, one.change)
	}
	p.all = nil
	return changes
}

// park gives an alert that fails by itself a schedule of its own, on which it
// holds back only itself, unless the fault may be elsewhere.
func (d *delivery) park(c outbox.Change, why *bigpanda.Error, wait *backoff.ExponentialBackOff) {
	own := d.passed || why.Class != bigpanda.Hold
	if own && d.lanes.failedAlone(d.lane, d.othersPass()) {
		d.stuck[c.Alert] = true
		d.parkAgain(parked{change: c, backoff: wait}, why)
		return
	}
	d.hold([]outbox.Change{c}, why)
}

// parkAgain has an alert wait for the next time of its schedule.
func (d *delivery) parkAgain(p parked, why *bigpanda.Error) {
	if p.said.met(why.Reason) {
		d.log.Warn("an alert that is sent alone fails: it is tried on a schedule of its own",
			"app_key", d.lane, "reason", why.Reason, "error", why, "payload", logged(p.change))
	}
	if !d.parking.add(p, why.RetryAfter) {
		d.hold([]outbox.Change{p.change}, why)
	}
}

// deliverParked tries an alert whose own schedule has come, even if its lane is
// held: it may be the only one to try with. Its failure says nothing about
// others.
func (s *Sender) deliverParked(ctx context.Context, p parked) {
	began := time.Now()
	d := newDelivery(s, p.change.Lane)
	one := []outbox.Change{p.change}
	failure := s.post(ctx, d.lane, one)
	defer func() { s.parking.rest(time.Since(began), failure == nil) }()
	switch {
	case failure == nil:
		d.ack(one)
	case ctx.Err() != nil:
		d.release(one)
	case failure.Class == bigpanda.HoldAppKey:
		d.hold(one, failure)
	case failure.Class == bigpanda.Refused:
		d.refuse(p.change, failure)
	default:
		p.tried = true
		d.parkAgain(p, failure)
	}
}
