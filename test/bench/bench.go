// Package bench is what the benchmarks of the program and of the real Kapacitor
// share. It is apart from package test, as what that needs for its own tests is not
// for the module of e2e.
package bench

import (
	"os"
	"slices"
	"strconv"
)

// Median returns the middle one of the values of runs, of which there is one at
// least.
func Median[R any](runs []R, value func(R) float64) float64 {
	var all []float64
	for _, r := range runs {
		all = append(all, value(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// Setting returns a positive number from the environment, and otherwise if there
// is none.
func Setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}
