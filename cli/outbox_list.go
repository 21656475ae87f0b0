package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

// howMany is how much of each outbox is shown.
type howMany struct {
	Limit int `default:"20" placeholder:"N" help:"How many to show of each outbox; 0 for all (${default})."`
}

// AfterApply is called by kong.
func (f howMany) AfterApply() error {
	if f.Limit < 0 {
		return fmt.Errorf("--limit is %d: write a number from 0", f.Limit)
	}
	return nil
}

// pageFlags say what of a list is shown, and how.
type pageFlags struct {
	howMany
	After   entryID `placeholder:"ID" help:"Only what follows this one."`
	Payload bool    `help:"Show also the payloads."`
}

type (
	outboxListFlags   struct{ pageFlags }
	outboxDeadFlags   struct{ pageFlags }
	outboxExportFlags struct{}
)

func (f *outboxListFlags) do(ctx context.Context, p Process, in targets) error {
	return f.print(ctx, p, in, queuedList)
}

func (f *outboxDeadFlags) do(ctx context.Context, p Process, in targets) error {
	return f.print(ctx, p, in, deadList)
}

func (f *outboxExportFlags) do(ctx context.Context, p Process, in targets) error {
	for i := range in.all {
		if err := (pageFlags{Payload: true}).print(ctx, p, targets{all: in.all[i : i+1], asJSON: true}, queuedList, deadList); err != nil {
			return err
		}
	}
	return nil
}

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
	deadList = entryList{outbox.KindDead, deadColumns, (*outbox.Control).DeadLetters,
		func(e outbox.Entry, now time.Time) []string {
			return entryCells(e, age(e.Died, now)+" ago", strconv.Itoa(e.Status), cell(cmp.Or(e.Problem, e.Answer)))
		}}
)

// deadColumns are those of dead letters, in an outbox and in the stream.
const deadColumns = "ID\tDIED\tLEVEL\tAPP KEY\tALERT\tSTATUS\tANSWER"

func entryCells(e outbox.Entry, since string, more ...string) []string {
	return append([]string{strconv.FormatUint(e.ID, 10), since, cell(e.Level), cell(e.AppKey), cell(alertOf(e.Alert))}, more...)
}

// alertOf is the alert that a key stands for, as active shows it, but without the names of
// its properties, which a key does not hold. What is no key is shown as it is.
func alertOf(key string) string {
	if key != "" {
		if identity := bigpanda.ParseKey(key, "", ""); identity.Key() == key {
			return alertText(identity)
		}
	}
	return key
}

// An entryJSON is what an outbox holds, as --json and export have it.
type entryJSON struct {
	origin
	outbox.Entry
}

func (f pageFlags) print(ctx context.Context, p Process, in targets, lists ...entryList) error {
	now := time.Now()
	for _, list := range lists {
		columns := list.columns
		if f.Payload {
			columns += "\tPAYLOAD"
		}
		err := p.printListings(in, columns, func(out *listing) error {
			page := func(after uint64, limit int) ([]outbox.Entry, bool, error) {
				page, err := list.next(out.tgt.control, ctx, after, limit, f.Payload)
				return page.Entries, page.More, err
			}
			last, more, err := eachOf(uint64(f.After), f.Limit, page, func(e outbox.Entry) uint64 { return e.ID }, func(e outbox.Entry) error {
				row := list.cells(e, now)
				if f.Payload {
					row = append(row, plain(string(e.Payload)))
				}
				return out.print(entryJSON{out.tgt.origin(list.kind), e}, row...)
			})
			if more {
				out.remark("there are more: --limit 0 shows all, --after %d what follows", last)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachOf calls do with the entries behind an ID, up to a limit, 0 for none, which page
// returns piece by piece, and returns the last one's ID. more says that there are others
// behind.
func eachOf[E any](after uint64, limit int, page func(after uint64, limit int) (entries []E, more bool, err error),
	id func(E) uint64, do func(E) error,
) (last uint64, more bool, err error) {
	const pageful = 1000
	last = after
	for left := cmp.Or(limit, math.MaxInt); left > 0; {
		entries, more, err := page(last, min(left, pageful))
		if err != nil {
			return last, false, err
		}
		for _, e := range entries {
			if err := do(e); err != nil {
				return last, false, err
			}
			last = id(e)
		}
		if left -= len(entries); !more || left <= 0 {
			return last, more, nil
		}
	}
	return last, false, nil
}

// listing prints what an outbox holds, as a table or as lines of JSON.
type listing struct {
	p       Process
	asJSON  bool
	tgt     target
	remarks []string // said below it
	err     error    // of the printing
	*table
}

// print prints one of what there is: v as JSON, or else the cells.
func (l *listing) print(v any, cells ...string) error {
	if l.asJSON {
		l.err = l.p.printRedacted(l.tgt.hidden, v)
	} else {
		l.err = l.row(cells...)
	}
	return l.err
}

func (l *listing) remark(format string, args ...any) {
	l.remarks = append(l.remarks, fmt.Sprintf(format, args...))
}

// printListings prints a listing of each outbox in which there is something, by fill. An
// error of the printing ends it, others of fill come together at its end.
func (p Process) printListings(in targets, columns string, fill func(*listing) error) error {
	var failed error
	shown := 0
	for _, tgt := range in.all {
		head := fmt.Sprintf("%s (%s):\n%s", tgt.name(), plain(tgt.Folder), columns)
		if shown > 0 {
			head = "\n" + head
		}
		l := &listing{p: p, asJSON: in.asJSON, tgt: tgt, table: newTable(p.Stdout, head)}
		failed = errors.Join(failed, fill(l))
		if l.rows == 0 && in.idle && !in.asJSON {
			fmt.Fprintf(l.w, "%s: none\n", tgt.name())
		}
		if err := cmp.Or(l.err, l.flush()); err != nil {
			return err
		}
		if l.rows > 0 {
			shown++
		}
		for _, remark := range l.remarks {
			p.say("%s: %s", tgt.name(), remark)
		}
	}
	if shown == 0 && len(in.all) > 0 && failed == nil && !in.idle && !in.asJSON {
		fmt.Fprintf(p.Stdout, "none in %s\n", counted(len(in.all), "outbox", "outboxes"))
	}
	return failed
}
