package retry

import (
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
)

func TestLogLimiter(t *testing.T) {
	t.Parallel()
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
				var l LogLimiter
				for i, s := range tt.steps {
					time.Sleep(s.after)
					got := false
					if s.cause == "" {
						got = l.Over()
					} else {
						got = l.Met(s.cause)
					}
					if got != s.want {
						t.Errorf("step %d: got %v", i, got)
					}
				}
			})
		})
	}
}
