package test

import "testing"

// Volume is how much there is of what a test does by chance or by volume. Under the
// race detector, where a step costs about ten times as much, there is less: all of it
// is run without.
func Volume(all, underRace int) int {
	if Race {
		return underRace
	}
	return all
}

// NoRace skips a test that is about sizes alone under the race detector: what one
// goroutine does has no race, and large texts and heaps are most of what it costs.
func NoRace(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("it is about sizes: run without the race detector")
	}
}
