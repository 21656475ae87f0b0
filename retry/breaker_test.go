package retry

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
)

// status is the error that bigpanda.Client makes of an answer.
func status(code int) *bigpanda.Error {
	e := &bigpanda.Error{Status: code, Err: fmt.Errorf("status %d", code)}
	switch code {
	case 503:
		e.Class, e.Reason = bigpanda.Retry, bigpanda.ReasonServer
	case 404:
		e.Class, e.Reason = bigpanda.HoldAppKey, bigpanda.ReasonNotFound
	case 400:
		e.Class, e.Reason = bigpanda.Refused, bigpanda.ReasonRefused
	}
	return e
}

// What a request says that was under way when its breaker was shut, or closed.
func TestBreakerStragglers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		last   func(b *Breaker)
		held   bool
		free   bool // it may be tried
		logged bool // the log names the other cause
	}{
		{"another is not found while one tries", func(b *Breaker) { b.Hold(status(404)) }, true, false, true},
		{"another fails alone while one tries", func(b *Breaker) { b.FailedAlone(true) }, true, false, false},
		{"another is refused while one tries", func(b *Breaker) { b.Refused(status(400)) }, true, false, false},
		{"another is accepted while one tries", func(b *Breaker) { b.Accepted() }, false, true, false},
		{"one tries in vain after another was accepted", func(b *Breaker) {
			b.Accepted()
			b.Failed(status(404))
		}, false, true, false},
		{"one tries in vain", func(b *Breaker) { b.Failed(status(400)) }, true, true, false},
		{"one tries and is stopped", func(b *Breaker) { b.Leave() }, true, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				all := NewBreakers(slog.New(slog.NewTextHandler(&log, nil)), new(Wakeup))
				b := all.Of("x")
				for range InARow {
					b.Refused(status(400))
				}
				if probe, free := b.Claim(); probe || free {
					t.Fatal("it may be tried at once")
				}
				time.Sleep(2 * HeldInitial)
				if probe, free := b.Claim(); !probe || !free {
					t.Fatal("it may not be tried when it is due")
				}
				before := strings.Count(log.String(), "are held")
				tt.last(b)
				time.Sleep(2 * HeldMax) // until it would be due again
				if got := b.Held(); got != tt.held {
					t.Errorf("held: %v", got)
				}
				if all.Shut("x") == tt.free {
					t.Errorf("shut: %v", !tt.free)
				}
				if _, free := b.Claim(); free != tt.free {
					t.Errorf("free: %v", free)
				}
				if logged := strings.Count(log.String(), "are held") > before; logged != tt.logged {
					t.Errorf("the log says again that it is held: %v", logged)
				}
			})
		})
	}
}

// An alert that fails alone is at fault itself if it is the first since another
// was accepted, and its app key is not held; and so are nine while others pass.
func TestBreakerFailedAlone(t *testing.T) {
	t.Parallel()
	all := NewBreakers(slog.New(slog.DiscardHandler), new(Wakeup))
	b := all.Of("x")
	for i, step := range []struct {
		before func()
		passed bool
		own    bool
	}{
		{func() {}, false, true},
		{func() {}, false, false},
		{func() { all.Of("y").Accepted() }, false, false},
		{func() { b.Accepted() }, false, true},
		{func() {}, true, true},
		{func() {}, false, false},
		{func() {
			for range InARow - 4 {
				b.FailedAlone(true)
			}
		}, true, false},
		{func() { b.Accepted() }, true, true},
		{func() { b.Accepted(); b.Hold(status(503)) }, true, false},
	} {
		step.before()
		if own := b.FailedAlone(step.passed); own != step.own {
			t.Errorf("step %d: got %v", i, own)
		}
	}
}

// More refusals, while it is held already, make no dead letter.
func TestBreakerRefusedWhileHeld(t *testing.T) {
	t.Parallel()
	all := NewBreakers(slog.New(slog.DiscardHandler), new(Wakeup))
	b := all.Of("x")
	b.Hold(status(503))
	if b.Refused(status(400)) {
		t.Error("a refusal while the app key is held is taken for the alert's own fault")
	}
	if !all.Of("y").Refused(status(400)) {
		t.Error("a refusal is not taken for the alert's own fault")
	}
}
