package test

// Volume is how much there is of what a test does by chance or by volume. Under the
// race detector, where a step costs about ten times as much, there is less: all of it
// is run without.
func Volume(all, underRace int) int {
	if Race {
		return underRace
	}
	return all
}
