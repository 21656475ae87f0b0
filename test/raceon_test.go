//go:build race

package test

const raceIsOn = true
