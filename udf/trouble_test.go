package udf

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
)

func TestComplaint(t *testing.T) {
	type step struct {
		after time.Duration
		cause bigpanda.Reason // empty: it is over
		want  bool            // to be logged
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"once while it lasts", []step{{0, "a", true}, {0, "a", false}, {9 * time.Minute, "a", false}}},
		{"again while it lasts long", []step{{0, "a", true}, {10 * time.Minute, "a", true}, {time.Minute, "a", false}, {9 * time.Minute, "a", true}}},
		{"its end", []step{{0, "a", true}, {0, "", true}, {0, "", false}}},
		{"no end of nothing", []step{{0, "", false}}},
		{"another cause", []step{{0, "a", true}, {0, "b", true}, {0, "b", false}, {0, "a", true}}},
		{"another cause after the end", []step{{0, "a", true}, {0, "", true}, {0, "b", true}}},
		{"what comes and goes", []step{{0, "a", true}, {0, "", true}, {time.Second, "a", false}, {0, "", false}, {time.Second, "a", false}}},
		{"what comes back", []step{{0, "a", true}, {0, "", true}, {time.Minute, "a", true}, {0, "", true}}},
		{"what comes back and stays", []step{{0, "a", true}, {0, "", true}, {time.Second, "a", false}, {time.Minute, "a", true}, {time.Minute, "a", false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c complaint
				for i, s := range tt.steps {
					time.Sleep(s.after)
					got := false
					if s.cause == "" {
						got = c.over()
					} else {
						got = c.met(s.cause)
					}
					if got != s.want {
						t.Errorf("step %d: got %v", i, got)
					}
				}
			})
		})
	}
}

func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a alarm
		a.ring() // for nobody
		ctx, cancel := context.WithCancel(t.Context())
		first, second := a.context(ctx), a.context(ctx)
		a.ringAfter(time.Minute)
		time.Sleep(time.Minute - 1)
		if first.Err() != nil || second.Err() != nil {
			t.Error("it rings too early")
		}
		third := a.context(ctx)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if first.Err() == nil || second.Err() == nil || third.Err() == nil {
			t.Error("somebody has not heard it")
		}
		if a.context(ctx).Err() != nil {
			t.Error("it rings for ever")
		}
		cancel()
		if a.context(ctx).Err() == nil {
			t.Error("it does not end with its context")
		}
		if a.context(t.Context()).Err() != nil {
			t.Error("it does not begin anew")
		}
		a.ring()
	})
}
