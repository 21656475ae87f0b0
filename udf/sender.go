package udf

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/counters"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
)

// DefaultBatchSize is how many alerts share a request at most.
const DefaultBatchSize = 500

// A Queue is what a Sender needs of an outbox.
type Queue interface {
	// Next takes up to max changes of one app key, in the order of change, and
	// waits until there are any. It takes none of an alert that is in flight, and
	// none of an app key that skip reports true for. Alerts that were postponed
	// come last, the one that was longest ago first, and never in a piece with
	// others. Its context ends when the right to send does, and whenever skip may
	// report something else.
	Next(ctx context.Context, max int, skip func(appKey string) bool) ([]outbox.Change, error)
	// Ack, Dead, Release and Postpone end the flight of changes, in any order:
	// they are delivered, or refused for good, or not delivered, and postponed
	// then, so that other alerts go first. Dead gets the change as Next gave it. With
	// an error the flight has ended too, but the changes may come again after a restart.
	Ack(ids ...uint64) error
	Dead(c outbox.Change, status int, answer string) error
	Release(ids ...uint64)
	Postpone(ids ...uint64)
}

// SenderOptions tune a Sender; zero values mean the defaults.
type SenderOptions struct {
	BatchSize int // alerts in a request
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
// alert. It belongs to the process and knows no option of a TICKscript. Its steps:
//
//	queue ──next──▶ breaker ──deliver──▶ request ──send──▶ answer
//
// What becomes of a batch that fails is in sender_delivery.go, of one that is taken
// apart and of single alerts in sender_isolate.go; how long, how often and how far is package
// retry's. All workers use a Sender: what is not safe by itself is guarded by mu.
type Sender struct {
	queue   Queue
	api     *retry.LimitedAPI
	options SenderOptions
	log     *slog.Logger

	wakeup   retry.Wakeup
	breakers *retry.Breakers
	isolated *retry.Isolated[outbox.Change]

	delivering, storing retry.LogLimiter

	mu      sync.Mutex
	last    outbox.Delivery // BigPanda's newest answers
	counted counters.Output
}

// NewSender returns a Sender that waits for Run.
func NewSender(q Queue, api *retry.LimitedAPI, o SenderOptions) *Sender {
	o.BatchSize = cmp.Or(o.BatchSize, DefaultBatchSize)
	s := &Sender{queue: q, api: api, options: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler))}
	s.counted.Requests = make(map[string]int)
	s.breakers = retry.NewBreakers(s.log, &s.wakeup)
	s.isolated = retry.NewIsolated[outbox.Change](&s.wakeup)
	return s
}

// Run sends until ctx is done or the queue is closed, and returns when every
// request has ended: those under way get another half a second for their
// answer. What is in flight then is released.
func (s *Sender) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range s.api.Connections() {
		workers.Go(func() { s.work(ctx) })
	}
	workers.Wait()
	s.wakeup.Notify()
	s.queue.Release(ids(s.isolated.Empty())...)
}

func (s *Sender) work(ctx context.Context) {
	wait := retry.NewBackoff(retry.FailureInitial, retry.FailureMax)
	for ctx.Err() == nil {
		err := s.next(ctx)
		switch {
		case errors.Is(err, outbox.ErrClosed):
			return
		case err != nil:
			s.warn(&s.storing, "the outbox cannot be read: it is tried again", "read", err)
			retry.Sleep(ctx, wait.NextBackOff())
		default:
			wait.Reset()
		}
	}
}

// next delivers an alert whose own schedule has come, or else a piece of the
// queue, for which it waits. An error is the queue's.
func (s *Sender) next(ctx context.Context) error {
	wait, cancel := s.wakeup.Context(ctx) // before anything is read of which it is notified
	defer cancel()
	if a := s.isolated.Take(); a != nil {
		s.newDelivery(a.Change.AppKey).deliverIsolated(ctx, a)
		return nil
	}
	size := s.options.BatchSize
	if s.breakers.Due() {
		size = max(size, retry.ProbeChoice)
	}
	batch, err := s.queue.Next(wait, size, s.breakers.Shut)
	if err != nil {
		if wait.Err() != nil && !errors.Is(err, outbox.ErrClosed) {
			return nil
		}
		return err
	}
	d := s.newDelivery(batch[0].AppKey)
	switch probe, free := d.breaker.Claim(); {
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

// deliver sends a batch. When it returns, each of the changes is delivered,
// dead, isolated, released or postponed.
func (d *delivery) deliver(ctx context.Context, batch []outbox.Change) {
	batch = d.notStuck(batch)
	wait := retry.NewBackoff(retry.FailureInitial, retry.FailureMax)
	var failure *bigpanda.Error
	failed := 0
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
		if failure != nil && failure.Reason != bigpanda.ReasonThrottled {
			failed++
		}
		switch {
		case failure == nil, d.ends(ctx, batch, failure):
			return
		case failure.Class == bigpanda.Refused && len(batch) == 1:
			d.refuse(batch[0], failure)
			return
		case failure.Class == bigpanda.Refused:
			d.takeApart(ctx, batch)
			return
		case failure.Class == bigpanda.Hold, failed == retry.SuspectAfter, failed > 0 && d.passed:
			d.suspect(ctx, batch, failure, wait)
			return
		case !d.pause(ctx, failure, wait):
			d.release(batch)
			return
		}
	}
}

// ends reports whether a failure is the end for all of a batch, and then ends its
// flight: the sender is told to end, or the fault is not looked for in the batch.
func (d *delivery) ends(ctx context.Context, batch []outbox.Change, failure *bigpanda.Error) bool {
	switch {
	case ctx.Err() != nil:
		d.release(batch)
	case failure.Class == bigpanda.HoldAppKey, d.throttled >= retry.InARow:
		d.hold(batch, failure)
	default:
		return false
	}
	return true
}

// send sends changes in one request, as soon as not everything is held. nil means
// that they are delivered; else they are still in flight.
func (d *delivery) send(ctx context.Context, changes []outbox.Change) *bigpanda.Error {
	payloads := make([][]byte, len(changes))
	for i, c := range changes {
		payloads[i] = c.Payload
	}
	everything := d.breakers.Everything
	probe, failure := everything.Wait(ctx)
	if failure == nil {
		var request *retry.Request
		request, failure = d.api.Send(ctx, d.appKey, payloads)
		d.note(len(changes), request, failure)
	}
	d.failed = d.failed || failure != nil
	if failure != nil && failure.Reason == bigpanda.ReasonThrottled {
		d.throttled++
	}
	switch {
	case failure == nil:
		everything.Accepted()
		d.breaker.Accepted()
		d.isolated.Accepted()
		d.over(&d.delivering, "alerts are delivered again")
		d.passed, d.throttled, d.near = true, 0, changes[0].ID
		d.ack(changes)
	case ctx.Err() != nil:
		if probe {
			everything.Leave()
		}
	case failure.Class == bigpanda.Retry, failure.Class == bigpanda.Hold:
		// Whether what everything is held for is mended, nobody knows yet.
		if probe {
			everything.Failed(failure)
		}
		switch {
		case d.ownSchedule: // it says nothing about others
		case failure.Class == bigpanda.Retry:
			d.warn(&d.delivering, "delivery fails and is tried again", failure.Reason, failure)
		case !d.passed:
			everything.Hold(failure)
		}
	default: // an answer about these alerts
		everything.Accepted()
	}
	return failure
}

// note remembers what BigPanda answered last to a request, and counts it; nil: none
// was made.
func (s *Sender) note(alerts int, request *retry.Request, failure *bigpanda.Error) {
	if request == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.counted
	c.Answered.Observe(request.Took)
	if failure == nil {
		s.last.LastSuccess = time.Now()
		c.Requests[counters.Accepted]++
		c.Delivered += alerts
		if request.Status == http.StatusNoContent {
			c.Duplicates += alerts
		}
		return
	}
	if failure.Reason != bigpanda.ReasonCanceled {
		s.last.LastErrorTime, s.last.LastError = time.Now(), failure.Error()
	}
	// One that comes from no API of BigPanda's has no reason.
	c.Requests[string(cmp.Or(failure.Reason, bigpanda.ReasonNetwork))]++
	if alerts > 1 || failure.Class != bigpanda.Refused {
		c.Retries += alerts
	}
}

// Count adds what was counted so far.
func (s *Sender) Count(all *counters.Counters) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all.Output.Add(s.counted)
}

// Report tells how delivery goes: what is held and why, and what BigPanda
// answered last.
func (s *Sender) Report() outbox.Delivery {
	s.mu.Lock()
	report := s.last
	s.mu.Unlock()
	for _, held := range s.breakers.Held() {
		report.Held = append(report.Held, outbox.Held(held))
	}
	return report
}

func (s *Sender) warn(l *retry.LogLimiter, text string, cause bigpanda.Reason, err error) {
	if l.Met(cause) {
		s.log.Warn(text, "reason", cause, "error", err)
	}
}

func (s *Sender) over(l *retry.LogLimiter, text string) {
	if l.Over() {
		s.log.Info(text)
	}
}
