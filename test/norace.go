//go:build !race

package test

// Race is whether the race detector is on.
const Race = false
