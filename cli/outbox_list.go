package cli

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"bigpanda-udf/outbox"
)

// lister returns a page of a list, behind an ID.
type lister func(tgt target, after uint64, limit int) (outbox.Page, error)

func (p Process) outboxList(ctx context.Context, f outboxFlags, in targets) error {
	return p.listOutbox(f, in.all, outbox.KindQueued, func(tgt target, after uint64, limit int) (outbox.Page, error) {
		return tgt.control.Queued(ctx, after, limit, f.Payload)
	})
}

func (p Process) outboxDead(ctx context.Context, f outboxFlags, in targets) error {
	return p.listOutbox(f, in.all, outbox.KindDead, func(tgt target, after uint64, limit int) (outbox.Page, error) {
		return tgt.control.DeadLetters(ctx, after, limit, f.Payload)
	})
}

// outboxExport prints everything that an outbox keeps.
func (p Process) outboxExport(ctx context.Context, _ outboxFlags, in targets) error {
	for _, tgt := range in.all {
		for _, list := range []struct {
			kind string
			next lister
		}{
			{outbox.KindQueued, func(tgt target, after uint64, limit int) (outbox.Page, error) {
				return tgt.control.Queued(ctx, after, limit, true)
			}},
			{outbox.KindDead, func(tgt target, after uint64, limit int) (outbox.Page, error) {
				return tgt.control.DeadLetters(ctx, after, limit, true)
			}},
		} {
			_, err := eachEntry(tgt, 0, 0, list.next, func(e outbox.Entry) error { return p.printRedacted(tgt.hidden, entryJSON{tgt.origin(list.kind), e}) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// eachEntry calls f with what a list holds behind an ID, up to a limit; 0 is
// none. more says that there are others behind.
func eachEntry(tgt target, after uint64, limit int, next lister, f func(outbox.Entry) error) (more bool, err error) {
	const pageful = 1000
	for left := limit; limit == 0 || left > 0; {
		n := pageful
		if limit > 0 {
			n = min(n, left)
		}
		page, err := next(tgt, after, n)
		if err != nil {
			return false, err
		}
		for _, e := range page.Entries {
			if err := f(e); err != nil {
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

// An entryJSON is what an outbox holds, as --json and export have it.
type entryJSON struct {
	origin
	outbox.Entry
}

// listOutbox prints a list of each outbox.
func (p Process) listOutbox(f outboxFlags, all []target, kind string, next lister) error {
	after, err := f.after()
	if err != nil {
		return err
	}
	columns, cells := "ID\tWAITS\tLEVEL\tAPP KEY\tALERT\tSIZE\tSTATE", queuedCells
	if kind == outbox.KindDead {
		columns, cells = "ID\tDIED\tLEVEL\tAPP KEY\tALERT\tSTATUS\tANSWER", deadCells
	}
	if f.Payload {
		columns += "\tPAYLOAD"
	}
	now := time.Now()
	for i, tgt := range all {
		last := after
		list := p.newListing(f, tgt, i > 0, columns)
		more, err := eachEntry(tgt, after, f.Limit, next, func(e outbox.Entry) error {
			last = e.ID
			row := cells(e, now)
			if f.Payload {
				row = append(row, plain(string(e.Payload)))
			}
			return list.print(entryJSON{tgt.origin(kind), e}, row...)
		})
		if err := errors.Join(err, list.end()); err != nil {
			return err
		}
		if more {
			p.say("%s: there are more: --limit 0 shows all, --after %d what follows", tgt.name(), last)
		}
	}
	return nil
}

func queuedCells(e outbox.Entry, now time.Time) []string {
	state := "waits"
	switch {
	case e.Problem != "":
		state = cell(e.Problem)
	case e.InFlight:
		state = "on its way"
	}
	return entryCells(e, age(e.Queued, now), size(int64(e.Size)), state)
}

func deadCells(e outbox.Entry, now time.Time) []string {
	return entryCells(e, age(e.Died, now)+" ago", strconv.Itoa(e.Status), cell(cmp.Or(e.Problem, e.Answer)))
}

func entryCells(e outbox.Entry, since string, more ...string) []string {
	return append([]string{strconv.FormatUint(e.ID, 10), since, cell(e.Level), cell(e.AppKey), cell(e.Alert)}, more...)
}
