package outbox

import (
	"bytes"
	"context"
	"errors"

	bolt "go.etcd.io/bbolt"
)

// An Amendment is a change that comes from a person instead of from whoever owns
// the outbox, with the levels that it tells.
type Amendment struct {
	Change Change `json:"change"` // gets its ID when it is made
	// Series are those whose level becomes Value, with the change's time.
	Series []AmendedSeries `json:"series"`
	Value  []byte          `json:"value"`
	// Last is the newest Change.Time of the alert that was read, with whatever
	// series. When the owner knows of a newer one, the amendment is not made; 0:
	// that is not asked.
	Last int64 `json:"last,omitempty"`
}

// AmendedSeries is a series whose level is to be another one.
type AmendedSeries struct {
	Key []byte `json:"key"`
	// Was is the Level.Time that was read. When it is another one by now, the
	// amendment is about what is no longer so, and is not made.
	Was int64 `json:"was"`
}

// AmendOutcome is what became of amendments.
type AmendOutcome struct {
	Done int `json:"done"`
	// Changed names the alerts of which a level was no longer as it was:
	// nothing was done about them.
	Changed []string `json:"changed,omitempty"`
}

func (o AmendOutcome) done() int { return o.Done }

// Amend appends the changes of amendments, with their levels, in pieces, and the
// owner of the outbox learns of them. Each is made or not made as a whole. With an
// error, what the outcome counts is done.
func (c *Control) Amend(ctx context.Context, amendments []Amendment) (sum AmendOutcome, err error) {
	for len(amendments) > 0 {
		n, series := 0, 0
		for ; n < len(amendments) && series < maxSelected; n++ {
			series += len(amendments[n].Series)
		}
		o, err := amend.ask(ctx, c, amendments[:n])
		if err != nil {
			return sum, err
		}
		sum.Done += o.Done
		sum.Changed = append(sum.Changed, o.Changed...)
		amendments = amendments[n:]
	}
	return sum, nil
}

var amend = define("amend", "amend alerts", changes, func(t *target, amendments []Amendment) (o AmendOutcome, err error) {
	for _, a := range amendments {
		made, asItWas := t.compare(a)
		switch {
		case made: // it was asked for before, and the answer was lost
			o.Done++
			continue
		case !asItWas:
			o.Changed = append(o.Changed, a.Change.Alert)
			continue
		}
		o.Done++
		if a.Change.ID, err = t.newID(); err != nil {
			return o, err
		}
		var levels []Level
		for _, s := range a.Series {
			levels = append(levels, Level{Key: string(s.Key), Time: a.Change.Time, Value: a.Value})
		}
		t.levels = append(t.levels, levels...)
		if err := errors.Join(putAll(t.tx, []Change{a.Change}, levels), t.count(1, int64(len(a.Change.Payload)))); err != nil {
			return o, err
		}
	}
	return o, nil
})

// compare tells whether all series of an amendment are as it makes them, and
// whether they are as they were when it was asked for.
func (t *target) compare(a Amendment) (made, asItWas bool) {
	made, asItWas = true, a.Last == 0 || t.known == nil || t.known.Last(a.Change.Alert) <= a.Last
	for _, s := range a.Series {
		l, there := readLevel(t.tx, string(s.Key))
		asItWas = asItWas && there && l.Time == s.Was
		made = made && there && l.Time == a.Change.Time && bytes.Equal(l.Value, a.Value)
	}
	return made, asItWas
}

// readLevel returns the level of a series, if there is one that can be read.
func readLevel(tx *bolt.Tx, key string) (Level, bool) {
	l, err := decodeLevel(tx.Bucket(bucketLevels).Get(levelKey(key)))
	return l, err == nil
}
