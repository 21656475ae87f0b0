package cli

import (
	"cmp"
	"context"
	"math"
	"strconv"
	"time"

	"bigpanda-udf/outbox"
)

// An entryList is a list of what an outbox holds.
type entryList struct {
	kind    string
	columns string
	// next returns a page, behind an ID.
	next  func(c *outbox.Control, ctx context.Context, after uint64, limit int, payload bool) (outbox.Page, error)
	cells func(e outbox.Entry, now time.Time) []string
}

var (
	queuedList = entryList{outbox.KindQueued, "ID\tWAITS\tLEVEL\tAPP KEY\tALERT\tSIZE\tSTATE", (*outbox.Control).Queued,
		func(e outbox.Entry, now time.Time) []string {
			state := "waits"
			switch {
			case e.Problem != "":
				state = cell(e.Problem)
			case e.InFlight:
				state = "on its way"
			}
			return entryCells(e, age(e.Queued, now), size(int64(e.Size)), state)
		}}
	deadList = entryList{outbox.KindDead, "ID\tDIED\tLEVEL\tAPP KEY\tALERT\tSTATUS\tANSWER", (*outbox.Control).DeadLetters,
		func(e outbox.Entry, now time.Time) []string {
			return entryCells(e, age(e.Died, now)+" ago", strconv.Itoa(e.Status), cell(cmp.Or(e.Problem, e.Answer)))
		}}
)

func entryCells(e outbox.Entry, since string, more ...string) []string {
	return append([]string{strconv.FormatUint(e.ID, 10), since, cell(e.Level), cell(e.AppKey), cell(e.Alert)}, more...)
}

// An entryJSON is what an outbox holds, as --json and export have it.
type entryJSON struct {
	origin
	outbox.Entry
}

func (p Process) outboxList(ctx context.Context, f outboxFlags, in targets) error {
	return p.printLists(ctx, f, in, queuedList)
}

func (p Process) outboxDead(ctx context.Context, f outboxFlags, in targets) error {
	return p.printLists(ctx, f, in, deadList)
}

func (p Process) outboxExport(ctx context.Context, f outboxFlags, in targets) error {
	f.JSON, f.Payload, f.Limit = true, true, 0
	for i := range in.all {
		if err := p.printLists(ctx, f, targets{all: in.all[i : i+1]}, queuedList, deadList); err != nil {
			return err
		}
	}
	return nil
}

func (p Process) printLists(ctx context.Context, f outboxFlags, in targets, lists ...entryList) error {
	after, err := f.after()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, list := range lists {
		columns := list.columns
		if f.Payload {
			columns += "\tPAYLOAD"
		}
		for i, tgt := range in.all {
			last := after
			out := p.newListing(f, tgt, i > 0, columns)
			more, err := list.each(ctx, tgt, after, f, func(e outbox.Entry) error {
				last = e.ID
				row := list.cells(e, now)
				if f.Payload {
					row = append(row, plain(string(e.Payload)))
				}
				return out.print(entryJSON{tgt.origin(list.kind), e}, row...)
			})
			if err := cmp.Or(err, out.end()); err != nil {
				return err
			}
			if more {
				p.say("%s: there are more: --limit 0 shows all, --after %d what follows", tgt.name(), last)
			}
		}
	}
	return nil
}

// each calls do with what the list holds behind an ID, up to the limit. more says
// that there are others behind.
func (list entryList) each(ctx context.Context, tgt target, after uint64, f outboxFlags, do func(outbox.Entry) error) (more bool, err error) {
	const pageful = 1000
	for left := cmp.Or(f.Limit, math.MaxInt); left > 0; {
		page, err := list.next(tgt.control, ctx, after, min(left, pageful), f.Payload)
		if err != nil {
			return false, err
		}
		for _, e := range page.Entries {
			if err := do(e); err != nil {
				return false, err
			}
			after = e.ID
		}
		if left -= len(page.Entries); !page.More {
			return false, nil
		}
	}
	return true, nil
}
