package udf

import (
	"math/rand/v2"
	"slices"

	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
)

// maxLogged is how many bytes of a payload go into the log.
const maxLogged = 2 << 10

func ids(changes []outbox.Change) []uint64 {
	all := make([]uint64, len(changes))
	for i, c := range changes {
		all[i] = c.ID
	}
	return all
}

// firstOfEach returns the first change of each alert in a batch: that of the
// newest alert, then the others, shuffled.
func firstOfEach(batch []outbox.Change) (firsts []outbox.Change) {
	for _, changes := range slices.Backward(byAlert(batch)) {
		firsts = append(firsts, changes[0])
	}
	rest := firsts[1:]
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return firsts
}

// byAlert returns the changes of each alert in a batch, in the order of the
// first ones.
func byAlert(batch []outbox.Change) (alerts [][]outbox.Change) {
	place := make(map[string]int, len(batch))
	for _, c := range batch {
		at, seen := place[c.Alert]
		if !seen {
			at = len(alerts)
			place[c.Alert] = at
			alerts = append(alerts, nil)
		}
		alerts[at] = append(alerts[at], c)
	}
	return alerts
}

func without(batch []outbox.Change, one outbox.Change) []outbox.Change {
	return slices.DeleteFunc(slices.Clone(batch), func(c outbox.Change) bool { return c.ID == one.ID })
}

// logged is the payload of a change as the log shows it.
func logged(c outbox.Change) string { return printable.Cut(string(c.Payload), maxLogged) }
