package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Waits before the next try. The first is at most twice the first constant, later
// ones grow to at most twice the second (see NewBackoff), and none is shorter than
// BigPanda's Retry-After.
const (
	// A request that failed: most faults are over within a second, and an outage
	// should see few requests.
	FailureInitial, FailureMax = 250 * time.Millisecond, 15 * time.Second
	// What waits until somebody corrects something, which takes minutes.
	HeldInitial, HeldMax = time.Second, 30 * time.Second
	// A piece of a batch that is taken apart: others pass, so it is far less than
	// where nothing is known.
	PieceInitial, PieceMax = 10 * time.Millisecond, 50 * time.Millisecond
	// MaxCooldown is how long no other isolated alert is tried after one, at most.
	MaxCooldown = 30 * time.Second
	// answerWithin is how long requests that are under way when the process ends
	// may take: an answer spares BigPanda a duplicate, and Kapacitor waits for the
	// process.
	answerWithin = 500 * time.Millisecond
)

// How much has to fail before the fault is looked for elsewhere.
const (
	// SuspectAfter is how many failures in a row make a batch suspect.
	SuspectAfter = 3
	// MaxSamples is how many alerts of a suspect batch are tried alone before the
	// fault is not taken for the batch's.
	MaxSamples = 2
	// InARow is how often BigPanda may refuse a single alert of an app key, with
	// none accepted in between, or ask a batch of it to come later, before that is
	// no longer taken for the alert's or the batch's own fault.
	InARow = 10
	// ProbeChoice is out of how many queued changes the one is chosen with which a
	// held app key is tried: the oldest may be just those that it is held for.
	ProbeChoice = 2000
	// MaxIsolated is how many alerts may wait on schedules of their own; they are
	// in memory (P7).
	MaxIsolated = 1000
)

// What repeats is logged when its cause changes, and from time to time.
const (
	// LogAgain is for what has lasted since it was last logged.
	LogAgain = 10 * time.Minute
	// LogAnew is for what was over in between: it may be a new one, or come and go
	// with every request.
	LogAnew = time.Minute
)

// NewBackoff returns waits that are evenly spread from nothing up to twice an
// interval (full jitter), so that many senders do not come back at once. The
// interval doubles with each until it is max.
func NewBackoff(initial, max time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: initial, MaxInterval: max, Multiplier: 2, RandomizationFactor: 1,
	}
}

// Sleep waits, and reports false when ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
