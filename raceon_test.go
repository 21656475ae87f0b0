//go:build race

package main

const raceIsOn = true
