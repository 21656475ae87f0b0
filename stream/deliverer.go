package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/counters"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
	"bigpanda-udf/udf"
)

// DelivererOptions are those of a Deliverer.
type DelivererOptions struct {
	Owner       string    // unique, also among those on one host and after a restart
	API         retry.API // BigPanda
	Connections int       // requests at once at most; bigpanda.DefaultConnections if 0
	BatchSize   int       // alerts in a request; udf.DefaultBatchSize if 0
	Rate        float64   // requests started in a second, over all deliverers; 0: no limit
}

// A Deliverer sends what the stream holds to BigPanda while it has the lease, and stands
// by while another has it.
//
//	          the lease is free, or was not renewed for a TTL
//	stands by ──────────────────────────────────────────────▶ term: reader ─▶ queue ─▶ udf.Sender
//	    ▲                                                        │
//	    └────────────────────────────────────────────────────────┘
//	      it is lost, was asked for, or the stream is another one
//
// A term has a queue and a Sender of its own, so that no answer of an earlier one counts.
type Deliverer struct {
	conn    *Conn
	options DelivererOptions

	lines    retry.LogLimiter // NATS does not answer
	passedOn uint64           // of Run: the revision with which the lease was handed over on request

	mu      sync.Mutex // guards what follows
	heard   time.Time  // when NATS answered last
	failure error      // since then
	denied  time.Time  // when it was told last that a right is missing
	term    *term      // nil while it stands by
	report  outbox.Delivery
	counted counters.Counters // of ended terms
}

// NewDeliverer returns a Deliverer that waits for Run.
func (c *Conn) NewDeliverer(o DelivererOptions) *Deliverer {
	o.Connections = cmp.Or(o.Connections, bigpanda.DefaultConnections)
	return &Deliverer{conn: c, options: o}
}

// Run delivers, or stands by, until ctx ends; then it hands the lease over. Requests that
// are under way then get half a second for their answer. It ends, too, when the connection
// is closed.
func (d *Deliverer) Run(ctx context.Context) {
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	ctx, end := context.WithCancel(ctx)
	var listener sync.WaitGroup
	listener.Go(func() {
		for listening.Err() == nil && !d.conn.isClosed() {
			d.listen(listening, d.conn.nc())
		}
		end()
	})
	defer listener.Wait()
	defer stop()
	wait := retry.NewBackoff(askInitial, askMax)
	for ctx.Err() == nil {
		lease, err := d.standBy(ctx)
		if err != nil {
			if ctx.Err() == nil { // else it is only told to end
				d.note(err)
			}
			retry.Sleep(ctx, wait.NextBackOff())
			continue
		}
		wait.Reset()
		d.deliver(ctx, lease)
	}
}

// standBy waits until the lease can be taken, and takes it.
func (d *Deliverer) standBy(ctx context.Context) (*lease, error) {
	lookingUp, cancel := context.WithTimeout(ctx, 2*askTimeout)
	bucket, err := d.conn.lease(lookingUp)
	cancel()
	if err != nil {
		return nil, err
	}
	store := &leaseStore{conn: d.conn, bucket: bucket, heard: d.note}
	var (
		seen     leaseRecord
		revision uint64
		since    time.Time // since when that has not moved, as far as it was looked; zero: not looked
		epoch    uint64    // that it was tried to take
	)
	for ; ctx.Err() == nil; retry.Sleep(ctx, standbyPoll) {
		record, err := store.get(ctx)
		switch {
		case err != nil:
			since = time.Time{}
			continue
		case epoch > 0 && record.Owner == d.options.Owner && record.Epoch == epoch:
			return d.newLease(store, record), nil // it was taken, and the answer lost
		case since.IsZero() || store.revision != revision:
			since, revision = time.Now(), store.revision
			if record.Epoch > 0 || seen.Epoch == 0 {
				seen = record
			}
		}
		// One that is gone holds for a TTL, too: its owner writes it anew.
		free := seen.Owner == "" && (revision == 0 || revision != d.passedOn)
		still, ttl := time.Since(since), max(d.conn.o.LeaseTTL, seen.TTL)
		if !free && still < ttl/2 {
			continue
		}
		// Any server tells what it has, also while the bucket has no leader, and so nobody
		// can renew. Only a leader answers this: else that would be taken for an owner
		// that is gone, whose requests under way are sent again.
		if store.answers(ctx) != nil {
			since = time.Time{}
			continue
		}
		if !free && still < ttl {
			continue
		}
		next := store.fit(seen)
		epoch = seen.Epoch + 1
		next.Owner, next.Epoch, next.Since, next.TTL = d.options.Owner, epoch, time.Now(), d.conn.o.LeaseTTL
		// Also when it is stopped meanwhile: what may be taken has to be handed over.
		if err := store.set(context.WithoutCancel(ctx), next); err == nil {
			return d.newLease(store, next), nil
		}
		since = time.Time{}
	}
	return nil, held(bigpanda.ReasonCanceled, "", "it stands by no longer")
}

func (d *Deliverer) newLease(store *leaseStore, taken leaseRecord) *lease {
	return &lease{
		store: store, ttl: d.conn.o.LeaseTTL, base: taken, written: taken,
		commits: make(chan chan error), ended: make(chan struct{}),
	}
}

// A term is what a Deliverer does with one lease.
type term struct {
	lease  *lease
	queue  *queue
	sender *udf.Sender
	end    context.CancelCauseFunc
	ended  chan struct{}
	failed error // of handing the lease over; to be read when ended is closed
}

// errHandOver ends a term of which another deliverer was to have the lease.
var errHandOver = errors.New("the lease is handed over")

// deliver is one term. It returns when that has ended.
func (d *Deliverer) deliver(ctx context.Context, l *lease) {
	d.conn.log.Info("this deliverer has the lease, and delivers", "owner", l.base.Owner, "epoch", l.base.Epoch)
	ending, end := context.WithCancelCause(ctx)
	defer end(nil)
	t := &term{lease: l, queue: newQueue(l.base, d.conn.log), end: end, ended: make(chan struct{})}
	t.queue.commit, t.queue.putDead, l.known = l.commit, d.conn.putDead, t.queue.known
	limited := retry.NewLimitedAPI(&fencedAPI{d.options.API, l}, d.options.Connections, d.options.Rate)
	limited.AfterAnother(l.allowed)
	t.sender = udf.NewSender(t.queue, limited, udf.SenderOptions{BatchSize: d.options.BatchSize, Log: d.conn.log})
	d.mu.Lock()
	d.term = t
	d.mu.Unlock()

	renewing, stopRenewing := context.WithCancel(context.WithoutCancel(ctx))
	var keeping, working sync.WaitGroup
	keeping.Go(func() {
		if err := l.keep(renewing); err != nil {
			end(err)
		}
	})
	working.Go(func() { end(newReader(d.conn, t.queue).run(ending)) })
	working.Go(func() { d.purge(ending, t) })
	working.Go(func() { t.queue.storeLetters(ending) })
	working.Go(func() { t.sender.Run(ending) })
	// What they have to commit is committed meanwhile, if NATS answers soon.
	context.AfterFunc(ending, func() {
		retry.Sleep(renewing, releaseWithin)
		stopRenewing()
	})
	working.Wait()
	t.failed = renewing.Err()
	stopRenewing()
	keeping.Wait()
	if t.failed == nil {
		t.failed = l.release(ctx)
	}
	d.finish(t, context.Cause(ending))
}

// finish takes over what is to outlast a term.
func (d *Deliverer) finish(t *term, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.term = nil
	d.report = t.sender.Report()
	d.report.Held = nil
	t.sender.Count(&d.counted)
	t.queue.count(&d.counted)
	if errors.Is(why, errHandOver) && t.failed == nil {
		d.passedOn = t.lease.store.revision
	}
	close(t.ended)
	d.conn.log.Info("this deliverer delivers no longer", "owner", d.options.Owner, "epoch", t.lease.base.Epoch, "why", why)
}

// deniedFor is how long a missing right counts: others, which are there, are made use of
// meanwhile, and say nothing of it.
const deniedFor = 2 * askTimeout

// note is told how a request to NATS went, nil for well.
func (d *Deliverer) note(err error) {
	var failure *bigpanda.Error
	now := time.Now()
	d.mu.Lock()
	switch {
	case err == nil && now.Sub(d.denied) < deniedFor:
		d.mu.Unlock()
		return
	case err == nil:
		d.heard = now
	case errors.As(err, &failure) && failure.Reason == bigpanda.ReasonForbidden:
		d.denied = now
	}
	d.failure = err
	d.mu.Unlock()
	switch {
	case err == nil:
		if d.lines.Over() {
			d.conn.log.Info("the lease is reached again")
		}
	case errors.As(err, &failure) && d.lines.Met(failure.Reason):
		d.conn.log.Warn("who delivers cannot be found out: it is tried again", "reason", failure.Reason, "error", err)
	}
}

// Ready returns nil while the deliverer delivers, or stands by to do so; else why it
// can do neither. It is what a readiness probe asks.
func (d *Deliverer) Ready() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.failure != nil && time.Since(d.denied) < deniedFor:
		return fmt.Errorf("deliver: %w", d.failure)
	case d.heard.IsZero() && d.failure == nil:
		return errors.New("deliver: NATS has not answered yet; wait a little")
	case d.heard.IsZero() || time.Since(d.heard) > d.conn.o.LeaseTTL+askTimeout:
		return fmt.Errorf("deliver: NATS does not answer: %w", cmp.Or(d.failure, errSilent))
	}
	return nil
}

var errSilent = errors.New("there was no answer for a while; check that the servers run")

// Report tells how delivery goes: what is held and why, as long as this deliverer has the
// lease, and what BigPanda answered it last.
func (d *Deliverer) Report() outbox.Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.term == nil {
		return d.report
	}
	report := d.term.sender.Report()
	if report.LastSuccess.IsZero() {
		report.LastSuccess = d.report.LastSuccess
	}
	if report.LastErrorTime.IsZero() {
		report.LastError, report.LastErrorTime = d.report.LastError, d.report.LastErrorTime
	}
	return report
}

// Count adds what was counted so far, over all terms.
func (d *Deliverer) Count(all *counters.Counters) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all.Add(d.counted)
	if d.term != nil {
		d.term.sender.Count(all)
		d.term.queue.count(all)
	}
}
