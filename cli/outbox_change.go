package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
)

// selectedIDs say which dead letters or alerts are meant.
type selectedIDs struct {
	IDs []entryID `arg:"" optional:"" name:"id" help:"Which ones, by the IDs that list and dead show."`
	All bool      `help:"All that there are."`
}

// AfterApply is called by kong.
func (f selectedIDs) AfterApply() error {
	if f.All == (len(f.IDs) > 0) {
		return errors.New("which ones? Give IDs, which list and dead show, or --all")
	}
	return nil
}

func (f selectedIDs) selection() outbox.Selection {
	s := outbox.Selection{All: f.All}
	for _, id := range f.IDs {
		s.IDs = append(s.IDs, uint64(id))
	}
	return s
}

// asking is for what is not to be done to all of them by a slip.
type asking struct {
	Yes bool `help:"With --all: do not ask, as is done on a terminal."`
}

// refused asks on a terminal, unless --yes is there, and says what was not done.
func (f asking) refused(p Process, question, done string) error {
	if f.Yes || !p.IsTerminal(p.Stdin) {
		return nil
	}
	fmt.Fprintf(p.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(p.Stdin).ReadString('\n')
	said := strings.ToLower(strings.TrimSpace(answer))
	if err != nil && !errors.Is(err, io.EOF) || said != "y" && said != "yes" {
		return fmt.Errorf("nothing was %s, as there was no yes", done)
	}
	return nil
}

// yesWithoutAll is the error of a --yes that means nothing.
func (f asking) yesWithoutAll(all bool, named string) error {
	if f.Yes && !all {
		return fmt.Errorf("--yes means nothing without --all: what has %s is not asked about", named)
	}
	return nil
}

type outboxRetryFlags struct{ selectedIDs }

func (f *outboxRetryFlags) do(ctx context.Context, p Process, in targets) error {
	return p.changeOutbox(in, f.selection(), outboxChange{
		action: "retry", kind: outbox.KindDead, noun: "dead letter", one: "is back in the queue", many: "are back in the queue",
		run: func(tgt target, s outbox.Selection) (outbox.Outcome, error) { return tgt.control.Retry(ctx, s) },
	})
}

// dropped say which are to be dropped.
type dropped struct {
	selectedIDs
	asking
}

// AfterApply is called by kong.
func (f dropped) AfterApply() error {
	return cmp.Or(f.selectedIDs.AfterApply(), f.yesWithoutAll(f.All, "an ID"))
}

type outboxDropFlags struct {
	dropped
	Queued bool `help:"Drop alerts that wait, instead of dead letters. BigPanda never hears of them."`
}

func (f *outboxDropFlags) do(ctx context.Context, p Process, in targets) error {
	kind, noun, number := outbox.KindDead, "dead letter", func(s outbox.Status) int { return s.Dead }
	if f.Queued {
		kind, noun, number = outbox.KindQueued, "queued alert", func(s outbox.Status) int { return s.Queued }
	}
	if f.All {
		n, outboxes := 0, 0
		for _, tgt := range in.all {
			if of := number(tgt.Status); of > 0 {
				n, outboxes = n+of, outboxes+1
			}
		}
		if n > 0 {
			question := fmt.Sprintf("Drop %s of %s for good?", counted(n, noun, noun+"s"), counted(outboxes, "outbox", "outboxes"))
			if err := f.refused(p, question, "dropped"); err != nil {
				return err
			}
		}
	}
	return p.changeOutbox(in, f.selection(), outboxChange{
		action: "drop", kind: kind, noun: noun, one: "was dropped", many: "were dropped",
		run: func(tgt target, s outbox.Selection) (outbox.Outcome, error) { return tgt.control.Drop(ctx, kind, s) },
	})
}

// outboxChange is what is done to dead letters or queued alerts.
type outboxChange struct {
	action    string // as JSON has it
	kind      string
	noun      string // what people call one of them
	one, many string // what became of one, or of several
	run       func(target, outbox.Selection) (outbox.Outcome, error)
}

// What becomes of those that are in flight.
const (
	stays = "is on the connection to BigPanda and stays"
	stay  = "are on the connection to BigPanda and stay"
)

// changeOutbox does something to what was selected, in each outbox, and says
// what became of it.
func (p Process) changeOutbox(in targets, selected outbox.Selection, change outboxChange) error {
	var failed error
	said := false
	missing := make(map[uint64]int)
	for _, tgt := range in.all {
		o, err := change.run(tgt, selected)
		failed = errors.Join(failed, err)
		for _, id := range o.Missing {
			missing[id]++
		}
		if err == nil || o.Done > 0 {
			said = p.sayOutcome(in, tgt, change, selected.All, o) || said
		}
		if len(o.InFlight) > 0 && !selected.All {
			failed = errors.Join(failed, fmt.Errorf("%s: %s",
				counted(len(o.InFlight), change.noun+" "+stays, change.noun+"s "+stay), joined(o.InFlight)))
		}
	}
	if selected.All && !said && failed == nil && len(in.all) > 0 {
		fmt.Fprintf(p.Stdout, "nothing to %s: there is no %s\n", change.action, change.noun)
	}
	var nowhere []uint64
	if len(in.all) == 0 {
		nowhere = selected.IDs
	}
	for id, n := range missing {
		if n == len(in.all) {
			nowhere = append(nowhere, id)
		}
	}
	if slices.Sort(nowhere); len(nowhere) > 0 {
		failed = errors.Join(failed, fmt.Errorf("there is no %s with the ID %s%s", change.noun, joined(nowhere), in.where()))
	}
	return failed
}

// An outboxResult is what was done in an outbox, as JSON has it.
type outboxResult struct {
	Action string `json:"action"`
	origin
	Process  int  `json:"process"` // 0: none, see byWhom
	Done     int  `json:"done"`
	InFlight *int `json:"in_flight,omitempty"` // of retry and drop
	Changed  *int `json:"changed,omitempty"`   // of resolve
}

func (tgt target) result(action, kind string, done int) outboxResult {
	return outboxResult{Action: action, origin: tgt.origin(kind), Process: tgt.Process, Done: done}
}

// sayOutcome says what became of all in an outbox, or of what was named, if any of it
// was there.
func (p Process) sayOutcome(in targets, tgt target, change outboxChange, all bool, o outbox.Outcome) (said bool) {
	inFlight := len(o.InFlight)
	if in.asJSON {
		r := tgt.result(change.action, change.kind, o.Done)
		r.InFlight = &inFlight
		p.printRedacted(tgt.hidden, r)
		return true
	}
	if o.Done == 0 && inFlight == 0 && !(all && in.idle) {
		return false // they may be in another one
	}
	fmt.Fprintf(p.Stdout, "%s: %s", tgt.name(), counted(o.Done, change.noun+" "+change.one, change.noun+"s "+change.many))
	if all && inFlight > 0 {
		fmt.Fprintf(p.Stdout, "; %s", counted(inFlight, stays, stay))
	}
	if change.action == "retry" && o.Done > 0 && tgt.Process == 0 {
		fmt.Fprintf(p.Stdout, "; delivered %s", byWhom)
	}
	fmt.Fprintln(p.Stdout)
	return true
}

func joined(ids []uint64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatUint(id, 10)
	}
	return printable.Cut(strings.Join(texts, ", "), 200)
}
