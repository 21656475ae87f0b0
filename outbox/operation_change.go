package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"bigpanda-udf/boltfile"
)

// maxSelected is how many changes one commit of Retry or Drop is about: points
// wait no longer than that takes.
const maxSelected = 500

// A Selection is which dead letters or queued changes are meant: those with the IDs,
// or all that are there now.
type Selection struct {
	IDs []uint64 `json:"ids"`
	All bool     `json:"-"`
}

// An Outcome is what became of a Selection.
type Outcome struct {
	Done     int      `json:"done"`
	InFlight []uint64 `json:"in_flight,omitempty"` // are left: they are on their way
	Missing  []uint64 `json:"missing,omitempty"`   // are not there, or damaged
}

func (o Outcome) done() int { return o.Done }

// inPieces does an operation with what is selected of a list. With an error, what the
// Outcome counts is done.
func (c *Control) inPieces(ctx context.Context, op operation[Selection, Outcome], s Selection,
	list func(ctx context.Context, after uint64, limit int, payload bool) (Page, error),
) (sum Outcome, err error) {
	ids := slices.Compact(slices.Sorted(slices.Values(s.IDs)))
	if s.All {
		// What waits in memory is meant, too: it is written first, and then listed.
		if _, err := op.ask(ctx, c, Selection{}); err != nil {
			return sum, err
		}
	}
	for page := (Page{More: s.All}); page.More; {
		after := uint64(0)
		if len(ids) > 0 {
			after = ids[len(ids)-1]
		}
		if page, err = list(ctx, after, maxPage, false); err != nil {
			return sum, err
		}
		for _, e := range page.Entries {
			ids = append(ids, e.ID)
		}
	}
	for piece := range slices.Chunk(ids, maxSelected) {
		o, err := op.ask(ctx, c, Selection{IDs: piece})
		if err != nil {
			return sum, err
		}
		if o.Done+len(o.InFlight)+len(o.Missing) == 0 {
			o.Missing = piece // there is no database
		}
		sum.Done += o.Done
		sum.InFlight, sum.Missing = append(sum.InFlight, o.InFlight...), append(sum.Missing, o.Missing...)
	}
	return sum, nil
}

// Retry puts dead letters back in the queue as new changes at its end, with new
// IDs.
func (c *Control) Retry(ctx context.Context, s Selection) (Outcome, error) {
	return c.inPieces(ctx, retryDead, s, c.DeadLetters)
}

var retryDead = define("retry", "put dead letters back", changes, func(t *target, s Selection) (o Outcome, err error) {
	dead := t.tx.Bucket(bucketDead)
	var bytes int64
	for _, id := range s.IDs {
		var letter DeadLetter
		if v := dead.Get(boltfile.EncodeID(id)); v == nil || json.Unmarshal(v, &letter) != nil || len(letter.Payload) == 0 {
			o.Missing = append(o.Missing, id)
			continue
		}
		if letter.ID, err = t.newID(); err != nil {
			return o, err
		}
		if err := errors.Join(putChange(t.tx, letter.Change), dead.Delete(boltfile.EncodeID(id))); err != nil {
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
	if kind == KindQueued {
		return c.inPieces(ctx, dropQueued, s, c.Queued)
	}
	return c.inPieces(ctx, dropDead, s, c.DeadLetters)
}

var dropDead = define("drop-dead", "drop dead letters", changes, func(t *target, s Selection) (o Outcome, err error) {
	dead := t.tx.Bucket(bucketDead)
	for _, id := range s.IDs {
		if dead.Get(boltfile.EncodeID(id)) == nil {
			o.Missing = append(o.Missing, id)
			continue
		}
		if err := dead.Delete(boltfile.EncodeID(id)); err != nil {
			return o, err
		}
		o.Done++
	}
	return o, nil
})

var dropQueued = define("drop-queued", "drop queued changes", changes, func(t *target, s Selection) (o Outcome, err error) {
	var bytes int64
	for _, id := range s.IDs {
		queued, there := Change{}, false
		for queued = range merged(t.tx, id) {
			there = queued.ID == id
			break
		}
		switch {
		case !there:
			o.Missing = append(o.Missing, id)
		case t.inFlight(id):
			o.InFlight = append(o.InFlight, id)
		default:
			bytes += int64(len(queued.Payload))
			o.Done++
			if err := dropChange(t.tx, queued.AppKey, id); err != nil {
				return o, err
			}
		}
	}
	return o, t.count(-o.Done, -bytes)
})
