//go:build race

package outbox

const raceIsOn = true
