package retry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
)

// slowAPI takes a second for each request and counts them.
type slowAPI struct {
	mu            sync.Mutex
	under, most   int
	began         []time.Duration // after start
	start         time.Time
	throttleFirst time.Duration // Retry-After of the first answer
}

func (s *slowAPI) Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error) {
	s.mu.Lock()
	s.began = append(s.began, time.Since(s.start))
	s.under++
	s.most = max(s.most, s.under)
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under--
	if s.throttleFirst > 0 {
		e := &bigpanda.Error{Class: bigpanda.Retry, Reason: bigpanda.ReasonThrottled, RetryAfter: s.throttleFirst, Err: errors.New("429")}
		s.throttleFirst = 0
		return bigpanda.Answer{}, e
	}
	return bigpanda.Answer{}, nil
}

// All deliveries of the daemon keep together to what one alone may do.
func TestLimitedAPI(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		connections int
		rate        float64
		throttle    time.Duration
		senders     int
		want        string // when requests began
		most        int    // at once; 0: it is left to chance
	}{
		{name: "one connection", connections: 1, senders: 4, want: "0s 1s 2s 3s", most: 1},
		{name: "two connections", connections: 2, senders: 5, want: "0s 0s 1s 1s 2s", most: 2},
		{name: "a rate", connections: 4, rate: 2, senders: 5, want: "0s 500ms 1s 1.5s 2s"},
		{name: "a slow rate", connections: 4, rate: 0.1, senders: 3, want: "0s 10s 20s", most: 1},
		{name: "BigPanda asks one to come later", connections: 1, throttle: 30 * time.Second, senders: 3, want: "0s 31s 32s", most: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowAPI{start: time.Now(), throttleFirst: tt.throttle}
				limited := NewLimitedAPI(slow, tt.connections, tt.rate)
				var senders sync.WaitGroup
				for range tt.senders {
					senders.Go(func() { limited.Send(t.Context(), "k", nil) })
				}
				senders.Wait()
				slices.Sort(slow.began)
				if got := strings.Trim(fmt.Sprint(slow.began), "[]"); got != tt.want || tt.most > 0 && slow.most != tt.most {
					t.Errorf("requests began at %s, %d at once, want %s and %d", got, slow.most, tt.want, tt.most)
				}
			})
		})
	}
}

// Who is told to end does not wait for its turn.
func TestLimitedAPIEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		pause time.Duration
		rate  float64
	}{
		{"waiting for a place", 0, 0}, {"pausing", time.Hour, 0}, {"waiting for the rate", 0, 0.001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowAPI{start: time.Now()}
				connections := 1
				if tt.rate > 0 {
					connections = 2
				}
				limited := NewLimitedAPI(slow, connections, tt.rate)
				go limited.Send(t.Context(), "k", nil)
				synctest.Wait()
				limited.paused = time.Now().Add(tt.pause)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if request, err := limited.Send(ctx, "k", nil); request != nil || !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(err), "deadline") {
					t.Errorf("the error is %v", err)
				}
				if len(slow.began) != 1 {
					t.Errorf("%d requests", len(slow.began))
				}
				time.Sleep(time.Second)
			})
		})
	}
}

// Where another has sent before, the rate holds from the first request on, also when
// requests were not allowed for a while: they do not come all at once then.
func TestLimitedAPIAfterAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := &slowAPI{start: time.Now()}
		limited := NewLimitedAPI(slow, 8, 2)
		allowed := slow.start.Add(3 * time.Second)
		limited.AfterAnother(func() time.Duration {
			since := time.Since(slow.start)
			if since < time.Second || time.Now().After(allowed) {
				return 0
			}
			return 10 * time.Millisecond
		})
		var senders sync.WaitGroup
		for range 5 {
			senders.Go(func() { limited.Send(t.Context(), "k", nil) })
		}
		senders.Wait()
		slices.Sort(slow.began)
		if got := fmt.Sprint(slow.began); got != "[500ms 3.01s 3.51s 4.01s 4.51s]" {
			t.Errorf("requests began at %s", got)
		}
	})
}
