package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
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
			_, err := eachEntry(tgt, 0, 0, list.next, func(e outbox.Entry) error { return p.printEntry(tgt, list.kind, e) })
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
				return false, fmt.Errorf("print: %w", err)
			}
			after = e.ID
		}
		if left -= len(page.Entries); !page.More {
			return false, nil
		}
	}
	return true, nil
}

func (p Process) printEntry(tgt target, kind string, e outbox.Entry) error {
	return p.printJSON(struct {
		Kind   string `json:"kind"`
		Folder string `json:"folder"`
		Task   string `json:"task"`
		Node   string `json:"node"`
		outbox.Entry
	}{kind, tgt.Folder, tgt.Task, tgt.Node, e})
}

// listOutbox prints a list of each outbox, as tables or as lines of JSON.
func (p Process) listOutbox(f outboxFlags, all []target, kind string, next lister) error {
	after, err := f.after()
	if err != nil {
		return err
	}
	for i, tgt := range all {
		var last uint64
		table := newEntryTable(p.Stdout, kind, f.Payload, time.Now())
		print := func(e outbox.Entry) error {
			last = e.ID
			if f.JSON {
				return p.printEntry(tgt, kind, e)
			}
			if table.rows == 0 {
				table.begin(tgt, i > 0)
			}
			return table.print(e)
		}
		more, err := eachEntry(tgt, after, f.limit(), next, print)
		if err != nil {
			return err
		}
		if !f.JSON && table.rows == 0 {
			fmt.Fprintf(p.Stdout, "%s: none\n", tgt.name())
		}
		table.w.Flush()
		if more {
			p.say("%s: there are more: --limit 0 shows all, --after %d what follows", tgt.name(), last)
		}
	}
	return nil
}

// entryTable is a table for people of what one outbox holds.
type entryTable struct {
	w       *tabwriter.Writer
	dead    bool
	payload bool
	now     time.Time
	rows    int
}

func newEntryTable(w io.Writer, kind string, payload bool, now time.Time) *entryTable {
	return &entryTable{w: newTable(w), dead: kind == outbox.KindDead, payload: payload, now: now}
}

func (t *entryTable) begin(tgt target, follows bool) {
	if follows {
		fmt.Fprintln(t.w)
	}
	columns := "ID\tWAITS\tLEVEL\tAPP KEY\tALERT\tSIZE\tSTATE"
	if t.dead {
		columns = "ID\tDIED\tLEVEL\tAPP KEY\tALERT\tSTATUS\tANSWER"
	}
	if t.payload {
		columns += "\tPAYLOAD"
	}
	fmt.Fprintf(t.w, "%s (%s):\n%s\n", tgt.name(), plain(tgt.Folder), columns)
}

func (t *entryTable) print(e outbox.Entry) error {
	since, last := age(e.Queued, t.now), fmt.Sprintf("%s\t%s", size(int64(e.Size)), state(e))
	if t.dead {
		since = age(e.Died, t.now) + " ago"
		answer := e.Answer
		if e.Problem != "" {
			answer = e.Problem
		}
		last = fmt.Sprintf("%d\t%s", e.Status, cell(answer))
	}
	if t.payload {
		last += "\t" + plain(string(e.Payload))
	}
	t.rows++
	if t.rows%flushEvery == 0 {
		t.w.Flush()
	}
	_, err := fmt.Fprintf(t.w, "%d\t%s\t%s\t%s\t%s\t%s\n", e.ID, since, cell(e.Level), cell(e.AppKey), cell(e.Alert), last)
	return err
}

func state(e outbox.Entry) string {
	switch {
	case e.Problem != "":
		return cell(e.Problem)
	case e.InFlight:
		return "on its way"
	}
	return "waits"
}
