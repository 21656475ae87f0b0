//go:build race

package test

import "os"

// Race is whether the race detector is on.
const Race = true

// A process with the race detector sleeps for a second when it ends. Tests start many.
func init() { os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")) }
