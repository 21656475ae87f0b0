package cli

import (
	"context"
	"errors"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"

	"golang.org/x/time/rate"
)

// sharedWay is the way to BigPanda of many deliveries. Together they have as
// many requests under way, and start as many in a second, as one alone may, and
// all of them rest when BigPanda asks one to come later. Whatever else fails is
// the business of the one that it happened to. Safe for concurrent use.
type sharedWay struct {
	way
	places chan struct{} // holds one for each request under way; who waits gets one in turn
	pace   *rate.Limiter

	mu    sync.Mutex
	until time.Time // when the rest is over
}

func newSharedWay(to way, connections int, perSecond float64) *sharedWay {
	limit := rate.Inf
	if perSecond > 0 {
		limit = rate.Limit(perSecond)
	}
	return &sharedWay{way: to, places: make(chan struct{}, connections), pace: rate.NewLimiter(limit, 1)}
}

// Send is that of the client, when there is a place and it is time.
func (w *sharedWay) Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error) {
	select {
	case w.places <- struct{}{}:
	case <-ctx.Done():
		return bigpanda.Answer{}, ctx.Err()
	}
	defer func() { <-w.places }()
	if err := w.rest(ctx); err != nil {
		return bigpanda.Answer{}, err
	}
	if err := w.pace.Wait(ctx); err != nil {
		return bigpanda.Answer{}, err
	}
	answer, err := w.way.Send(ctx, appKey, alerts)
	var failure *bigpanda.Error
	if errors.As(err, &failure) && failure.Reason == bigpanda.ReasonThrottled {
		w.restFor(failure.RetryAfter)
	}
	return answer, err
}

// rest waits until the rest is over, which may be made longer meanwhile.
func (w *sharedWay) rest(ctx context.Context) error {
	for {
		w.mu.Lock()
		left := time.Until(w.until)
		w.mu.Unlock()
		if left <= 0 {
			return nil
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *sharedWay) restFor(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if until := time.Now().Add(d); until.After(w.until) {
		w.until = until
	}
}
