package retry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWakeup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w Wakeup
		w.Notify() // nobody
		ctx, cancel := context.WithCancel(t.Context())
		next := func(ctx context.Context) context.Context {
			next, end := w.Context(ctx)
			t.Cleanup(end)
			return next
		}
		waiting := next(ctx)
		w.at(time.Now().Add(time.Minute))
		if waiting.Err() == nil {
			t.Error("who waits already has not heard of the time")
		}
		first, second := next(ctx), next(ctx)
		time.Sleep(time.Minute - 1)
		if first.Err() != nil || second.Err() != nil {
			t.Error("it is too early")
		}
		third := next(ctx)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if first.Err() == nil || second.Err() == nil || third.Err() == nil {
			t.Error("somebody has not been woken")
		}
		if next(ctx).Err() != nil {
			t.Error("nobody can wait any more")
		}
		first, second = next(ctx), next(ctx)
		w.Notify()
		if first.Err() == nil || second.Err() == nil {
			t.Error("somebody has not been notified")
		}
		cancel()
		if next(ctx).Err() == nil {
			t.Error("it does not end with its context")
		}
		if next(t.Context()).Err() != nil {
			t.Error("it does not begin anew")
		}
		w.Notify()
	})
}
