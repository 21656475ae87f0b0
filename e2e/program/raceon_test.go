//go:build race

package program

const raceIsOn = true
