package retry

import (
	"context"
	"errors"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"

	"github.com/cenkalti/backoff/v5"
)

// An API takes encoded alerts of one app key to BigPanda. Its errors are
// *bigpanda.Error.
type API interface {
	Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error)
}

// A LimitedAPI is an API as all senders of a process use it: together they have so
// many requests under way, start so many in a second, and pause when BigPanda asks
// one of them to come later (429). Whatever else fails is the business of the one
// that it happened to. Safe for concurrent use.
type LimitedAPI struct {
	api    API
	slots  chan struct{} // holds one for each request under way; who waits gets one in the order of asking
	spaced time.Duration // from the start of one request to the next

	// allowed returns how long to wait before it is asked again whether a request may
	// start now; nil: it may.
	allowed func() time.Duration

	mu      sync.Mutex // guards what follows
	next    time.Time  // when the next request may start
	paused  time.Time  // until when none may
	backoff *backoff.ExponentialBackOff
}

// NewLimitedAPI limits the requests that are under way at once, and those that
// start in a second; 0: no limit to these.
func NewLimitedAPI(api API, connections int, perSecond float64) *LimitedAPI {
	l := &LimitedAPI{api: api, slots: make(chan struct{}, connections), backoff: NewBackoff(FailureInitial, FailureMax)}
	if perSecond > 0 {
		l.spaced = time.Duration(float64(time.Second) / perSecond)
	}
	return l
}

// AfterAnother has l go on where the API was used by another until now, perhaps just
// before: the first request comes no sooner than the second would. None starts while
// allowed returns a time, after which it is asked again. It is called before Send.
func (l *LimitedAPI) AfterAnother(allowed func() time.Duration) {
	l.allowed = allowed
	l.next = time.Now().Add(l.spaced)
}

// Connections is how many requests are under way at once at most.
func (l *LimitedAPI) Connections() int { return cap(l.slots) }

// A Request is one that was made.
type Request struct {
	Status int           // of the HTTP answer; 0 if there was none
	Took   time.Duration // until the end of the answer
}

// Send makes one request when it may. When ctx ends before, none is made, and nil
// returned of it; one that is under way then gets a little time for its answer. No
// error means that BigPanda accepted the alerts.
func (l *LimitedAPI) Send(ctx context.Context, appKey string, alerts [][]byte) (*Request, *bigpanda.Error) {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, canceled(ctx)
	}
	defer func() { <-l.slots }()
	for wait := l.start(); wait > 0; wait = l.start() {
		if !Sleep(ctx, wait) {
			return nil, canceled(ctx)
		}
	}
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		Sleep(sending, answerWithin)
		cancel()
	})()
	began := time.Now()
	answer, err := l.api.Send(sending, appKey, alerts)
	request := &Request{answer.Status, time.Since(began)}
	var failure *bigpanda.Error
	if err != nil && !errors.As(err, &failure) {
		failure = &bigpanda.Error{Class: bigpanda.Retry, Err: err}
	}
	l.answered(failure)
	return request, failure
}

func canceled(ctx context.Context) *bigpanda.Error {
	return &bigpanda.Error{Class: bigpanda.Retry, Reason: bigpanda.ReasonCanceled, Err: ctx.Err()}
}

// start asks to start a request, and returns how long to wait before asking again.
func (l *LimitedAPI) start() (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait = max(time.Until(l.paused), time.Until(l.next))
	if l.allowed != nil {
		wait = max(wait, l.allowed())
	}
	if wait <= 0 {
		l.next = time.Now().Add(l.spaced)
	}
	return wait
}

// answered begins a pause, or makes the next one short again.
func (l *LimitedAPI) answered(failure *bigpanda.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case failure == nil, failure.Class == bigpanda.HoldAppKey, failure.Class == bigpanda.Refused:
		l.backoff.Reset()
	case failure.Reason == bigpanda.ReasonThrottled:
		wait := failure.RetryAfter
		if time.Until(l.paused) <= 0 { // else there is a pause already
			wait = max(wait, l.backoff.NextBackOff())
		}
		if until := time.Now().Add(wait); until.After(l.paused) {
			l.paused = until
		}
	}
}
