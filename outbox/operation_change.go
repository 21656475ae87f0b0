package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
)

// maxSelected is how many changes one commit of Retry or Drop is about: points
// wait no longer than that takes.
const maxSelected = 500

// A Selection is which dead letters or queued changes are meant.
type Selection struct {
	IDs []uint64 `json:"ids,omitempty"`
	// All takes those that are there now, behind After; UpTo is filled in.
	All   bool   `json:"all,omitempty"`
	After uint64 `json:"after,omitempty"`
	UpTo  uint64 `json:"up_to,omitempty"`
}

// An Outcome is what became of a Selection.
type Outcome struct {
	Done     int      `json:"done"`
	InFlight []uint64 `json:"in_flight,omitempty"` // are left: they are on their way
	Missing  []uint64 `json:"missing,omitempty"`   // are not there, or damaged
	// Rest is what one commit had no room for. Nil: all is done.
	Rest *Selection `json:"rest,omitempty"`
}

func (o Outcome) done() int { return o.Done }

// split takes off what one commit works on, of the IDs that are there behind
// After, ascending. What comes after the first commit has begun is not meant.
func (s Selection) split(there func(yield func(id uint64) bool), newest uint64) (now []uint64, rest *Selection) {
	if !s.All {
		now = slices.Compact(slices.Sorted(slices.Values(s.IDs)))
		if len(now) > maxSelected {
			now, rest = now[:maxSelected], &Selection{IDs: now[maxSelected:]}
		}
		return now, rest
	}
	if s.UpTo == 0 {
		s.UpTo = newest
	}
	for id := range there {
		if id > s.UpTo {
			break
		}
		if len(now) == maxSelected {
			return now, &Selection{All: true, After: now[maxSelected-1], UpTo: s.UpTo}
		}
		now = append(now, id)
	}
	return now, nil
}

// selectDead is split of the dead letters.
func (t *target) selectDead(s Selection) (now []uint64, rest *Selection) {
	var newest uint64
	if k, _ := t.tx.Bucket(bucketDead).Cursor().Last(); k != nil {
		newest = decodeID(k)
	}
	return s.split(func(yield func(uint64) bool) {
		for id := range deadAfter(t.tx, s.After) {
			if !yield(id) {
				return
			}
		}
	}, newest)
}

// selectQueued is split of the queued changes.
func (t *target) selectQueued(s Selection) (now []uint64, rest *Selection) {
	return s.split(func(yield func(uint64) bool) {
		for at := range merged(t.tx, s.After+1) {
			if !yield(at.ID) {
				return
			}
		}
	}, t.tx.Bucket(bucketQueue).Sequence())
}

// all does an operation until nothing is left to do. With an error, what the
// Outcome counts is done.
func all(s Selection, do func(Selection) (Outcome, error)) (sum Outcome, err error) {
	for rest := &s; rest != nil; {
		o, err := do(*rest)
		if err != nil {
			return sum, err
		}
		sum.Done += o.Done
		sum.InFlight, sum.Missing = append(sum.InFlight, o.InFlight...), append(sum.Missing, o.Missing...)
		rest = o.Rest
	}
	return sum, nil
}

// Retry puts dead letters back in the queue as new changes at its end, with new
// IDs.
func (c *Control) Retry(ctx context.Context, s Selection) (Outcome, error) {
	return all(s, func(s Selection) (Outcome, error) { return retryDead.ask(ctx, c, s) })
}

var retryDead = define("retry", "put dead letters back", changes, func(t *target, s Selection) (o Outcome, err error) {
	if t.tx == nil {
		return Outcome{Missing: s.IDs}, nil
	}
	dead := t.tx.Bucket(bucketDead)
	now, rest := t.selectDead(s)
	o.Rest = rest
	var bytes int64
	for _, id := range now {
		var letter DeadLetter
		if v := dead.Get(encodeID(id)); v == nil || json.Unmarshal(v, &letter) != nil || len(letter.Payload) == 0 {
			o.Missing = append(o.Missing, id)
			continue
		}
		if letter.ID, err = t.newID(); err != nil {
			return o, err
		}
		if err := errors.Join(putChange(t.tx, letter.Change), dead.Delete(encodeID(id))); err != nil {
			return o, err
		}
		bytes += int64(len(letter.Payload))
		o.Done++
	}
	return o, t.count(o.Done, bytes)
})

// Drop removes dead letters, or with KindQueued changes that were never sent:
// BigPanda does not hear of those, but the levels are as if it had. What is in
// flight stays.
func (c *Control) Drop(ctx context.Context, kind string, s Selection) (Outcome, error) {
	op := dropDead
	if kind == KindQueued {
		op = dropQueued
	}
	return all(s, func(s Selection) (Outcome, error) { return op.ask(ctx, c, s) })
}

var dropDead = define("drop-dead", "drop dead letters", changes, func(t *target, s Selection) (o Outcome, err error) {
	if t.tx == nil {
		return Outcome{Missing: s.IDs}, nil
	}
	dead := t.tx.Bucket(bucketDead)
	now, rest := t.selectDead(s)
	o.Rest = rest
	for _, id := range now {
		if dead.Get(encodeID(id)) == nil {
			o.Missing = append(o.Missing, id)
			continue
		}
		if err := dead.Delete(encodeID(id)); err != nil {
			return o, err
		}
		o.Done++
	}
	return o, nil
})

var dropQueued = define("drop-queued", "drop queued changes", changes, func(t *target, s Selection) (o Outcome, err error) {
	if t.tx == nil {
		return Outcome{Missing: s.IDs}, nil
	}
	now, rest := t.selectQueued(s)
	o.Rest = rest
	var bytes int64
	for _, id := range now {
		at, ok := findQueued(t.tx, id)
		switch {
		case !ok:
			o.Missing = append(o.Missing, id)
			continue
		case t.inFlight(id):
			o.InFlight = append(o.InFlight, id)
			continue
		}
		if err := dropChange(t.tx, at.Lane, id); err != nil {
			return o, err
		}
		bytes += int64(len(at.Payload))
		o.Done++
	}
	return o, t.count(-o.Done, -bytes)
})
