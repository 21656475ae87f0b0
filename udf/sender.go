package udf

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/cenkalti/backoff/v5"
)

const (
	// DefaultBatchSize is how many alerts share a request at most.
	DefaultBatchSize = 500
	// DefaultConnections is how many requests are under way at once at most.
	DefaultConnections = 4
)

// What a failed request is tried again with: the first wait is at most twice
// the initial interval, later ones grow to at most twice the maximum, evenly
// spread from nothing up, so that many senders do not come back at once. What
// waits until somebody mends something is tried more slowly.
const (
	retryInitial = 250 * time.Millisecond
	retryMax     = 15 * time.Second
	holdInitial  = time.Second
	holdMax      = 30 * time.Second
)

// answerWithin is how long requests that are under way when the process ends
// may take: an answer spares BigPanda a duplicate, and Kapacitor waits for the
// process.
const answerWithin = 500 * time.Millisecond

// probeChoice is out of how many queued changes the one is chosen with which a
// held app key is tried: the oldest may be just those that it is held for.
const probeChoice = 2000

// A Queue is what a Sender needs of an outbox.
type Queue interface {
	// Next takes up to max changes of one lane, in the order of change, and
	// waits until there are any. It takes none of an alert that is in flight,
	// and none of a lane that skip reports true for. Alerts that were postponed
	// come last, the one that was longest ago first, and never in a piece with
	// others. Its context ends when the right to send does, and whenever skip
	// may report something else.
	Next(ctx context.Context, max int, skip func(lane string) bool) ([]outbox.Change, error)
	// Ack, Dead, Release and Postpone end the flight of changes, in any order:
	// they are delivered, or refused for good, or not delivered, and postponed
	// then, so that other alerts go first. With an error the flight has ended
	// too, but the changes may come again after a restart.
	Ack(ids ...uint64) error
	Dead(id uint64, status int, answer string) error
	Release(ids ...uint64)
	Postpone(ids ...uint64)
}

// An API takes encoded alerts of one app key to BigPanda. Its errors are
// *bigpanda.Error.
type API interface {
	Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error)
}

// SenderOptions tune a Sender; zero values mean the defaults.
type SenderOptions struct {
	BatchSize   int     // alerts in a request
	Connections int     // requests at once
	Rate        float64 // requests a second, 0: no limit
	// AppKey is the one in force. What is queued under another one is sent to
	// that; when BigPanda does not know it (404, 410) but takes alerts of this
	// one, and HasLeft reports true for it, it is given up, as dead letters: what
	// was taken over from another task may go to an app key that is still to be
	// made. nil: no app key is given up.
	AppKey  string
	HasLeft func(appKey string) bool
	Log     *slog.Logger
}

// Sender delivers what a Queue holds, at least once, and in order for each
// alert. It belongs to the process and knows no option of a TICKscript.
//
// What fails is held back no further than the fault reaches:
//
//	everything    gate     the token, the way to BigPanda, its rate limit
//	an app key    lanes    the app key; BigPanda does not answer for it
//	an alert      parking  BigPanda does not answer for it, but for others
type Sender struct {
	queue   Queue
	api     API
	options SenderOptions
	log     *slog.Logger

	alarm   alarm
	gate    gate
	lanes   lanes
	parking parking

	delivering, storing trouble
	last                lastAnswers
}

// NewSender returns a Sender that waits for Run.
func NewSender(q Queue, api API, o SenderOptions) *Sender {
	if o.BatchSize <= 0 {
		o.BatchSize = DefaultBatchSize
	}
	if o.Connections <= 0 {
		o.Connections = DefaultConnections
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{queue: q, api: api, options: o, log: o.Log}
	s.gate.init(o.Log, o.Rate)
	s.lanes.init(o.Log, &s.alarm)
	s.parking.init(&s.alarm)
	s.delivering.log, s.storing.log = o.Log, o.Log
	return s
}

// Run sends until ctx is done or the queue is closed, and returns when every
// request has ended: those under way get another half a second for their
// answer. What is in flight then is released.
func (s *Sender) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range s.options.Connections {
		workers.Go(func() { s.work(ctx) })
	}
	workers.Wait()
	s.alarm.ring()
	s.queue.Release(ids(s.parking.empty())...)
}

// work sends one request at a time.
func (s *Sender) work(ctx context.Context) {
	wait := newBackoff(retryInitial, retryMax)
	for ctx.Err() == nil {
		err := s.next(ctx)
		switch {
		case errors.Is(err, outbox.ErrClosed):
			return
		case err != nil:
			s.storing.met("the outbox cannot be read: it is tried again", "read", err)
			sleep(ctx, wait.NextBackOff())
		default:
			wait.Reset()
		}
	}
}

// next delivers an alert whose own schedule has come, or else a piece of the
// queue, for which it waits. An error is the queue's.
func (s *Sender) next(ctx context.Context) error {
	wait := s.alarm.context(ctx) // before anything is looked at that it tells of
	if p, ok := s.parking.take(); ok {
		s.deliverParked(ctx, p)
		return nil
	}
	size := s.options.BatchSize
	if s.lanes.due() {
		size = max(size, probeChoice)
	}
	batch, err := s.queue.Next(wait, size, s.lanes.shut)
	if err != nil {
		if wait.Err() != nil && !errors.Is(err, outbox.ErrClosed) {
			return nil
		}
		return err
	}
	d := newDelivery(s, batch[0].Lane)
	switch probe, free := s.lanes.claim(d.lane); {
	case !free:
		d.release(batch)
	case probe:
		d.probe(ctx, batch)
	default:
		// That an app key is not held is due to others than the postponed.
		d.passed = batch[0].Postponed
		d.deliver(ctx, d.fit(batch, 0))
	}
	return nil
}

// post sends one request as soon as the gate lets it. nil means that BigPanda
// accepted it.
func (s *Sender) post(ctx context.Context, lane string, batch []outbox.Change) *bigpanda.Error {
	payloads := make([][]byte, len(batch))
	for i, c := range batch {
		payloads[i] = c.Payload
	}
	probe, err := s.gate.wait(ctx)
	if err != nil {
		return asError(err)
	}
	sending, cancel := lingering(ctx, answerWithin)
	defer cancel()
	_, err = s.api.Send(sending, lane, payloads)
	if err == nil {
		s.last.accepted(time.Now())
		s.gate.open()
		s.lanes.accepted(lane)
		s.parking.accepted()
		s.delivering.over("alerts are delivered again")
		return nil
	}
	failure := asError(err)
	if sending.Err() == nil {
		s.last.failed(time.Now(), failure)
	}
	switch {
	case ctx.Err() != nil:
		s.gate.leave(probe)
	case failure.Class == bigpanda.Retry, failure.Class == bigpanda.Hold:
		// Whether what everything is held for is mended, nobody knows yet.
		s.gate.failed(probe, failure)
	default:
		s.gate.open()
	}
	return failure
}

func asError(err error) *bigpanda.Error {
	var e *bigpanda.Error
	if errors.As(err, &e) {
		return e
	}
	return &bigpanda.Error{Class: bigpanda.Retry, Err: err}
}

func newBackoff(initial, max time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: initial, MaxInterval: max, Multiplier: 2,
		// From nothing to twice the interval: full jitter.
		RandomizationFactor: 1,
	}
}

// lingering returns a context that ends some time after ctx.
func lingering(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		sleep(later, after)
		cancel()
	})
	return later, func() {
		stop()
		cancel()
	}
}

// sleep waits, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func ids(changes []outbox.Change) []uint64 {
	all := make([]uint64, len(changes))
	for i, c := range changes {
		all[i] = c.ID
	}
	return all
}
