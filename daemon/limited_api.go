package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/udf"

	"golang.org/x/time/rate"
)

// An API takes alerts to BigPanda.
type API interface {
	udf.API
	// Fingerprint returns a hash of the token with a key.
	Fingerprint(key []byte) []byte
}

// limitedAPI is the API of many deliveries. Together they have as
// many requests under way, and start as many in a second, as one alone may, and
// all of them rest when BigPanda asks one to come later. Whatever else fails is
// the business of the one that it happened to. Safe for concurrent use.
type limitedAPI struct {
	API
	places chan struct{} // holds one for each request under way; who waits gets one in turn
	pace   *rate.Limiter

	mu    sync.Mutex
	until time.Time // when the rest is over
}

// NewLimitedAPI returns an API that has so many requests under way at most, and
// starts so many in a second; 0 for any number.
func NewLimitedAPI(to API, connections int, perSecond float64) API {
	return newLimitedAPI(to, connections, perSecond)
}

func newLimitedAPI(to API, connections int, perSecond float64) *limitedAPI {
	limit := rate.Inf
	if perSecond > 0 {
		limit = rate.Limit(perSecond)
	}
	return &limitedAPI{API: to, places: make(chan struct{}, connections), pace: rate.NewLimiter(limit, 1)}
}

// Send is that of the client, when there is a place and it is time.
func (l *limitedAPI) Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error) {
	select {
	case l.places <- struct{}{}:
	case <-ctx.Done():
		return bigpanda.Answer{}, ctx.Err()
	}
	defer func() { <-l.places }()
	if err := l.rest(ctx); err != nil {
		return bigpanda.Answer{}, err
	}
	if err := l.pace.Wait(ctx); err != nil {
		return bigpanda.Answer{}, err
	}
	answer, err := l.API.Send(ctx, appKey, alerts)
	var failure *bigpanda.Error
	if errors.As(err, &failure) && failure.Reason == bigpanda.ReasonThrottled {
		l.restFor(failure.RetryAfter)
	}
	return answer, err
}

// rest waits until the rest is over, which may be made longer meanwhile.
func (l *limitedAPI) rest(ctx context.Context) error {
	for {
		l.mu.Lock()
		left := time.Until(l.until)
		l.mu.Unlock()
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

func (l *limitedAPI) restFor(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(d); until.After(l.until) {
		l.until = until
	}
}
