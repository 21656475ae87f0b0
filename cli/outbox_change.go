package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
)

func (p Process) outboxRetry(ctx context.Context, f outboxFlags, in targets) error {
	return p.changeOutbox(f, in, outboxChange{
		Kind: outbox.KindDead, noun: "dead letter", one: "is back in the queue", many: "are back in the queue",
		run: func(tgt target, s outbox.Selection) (outbox.Outcome, error) { return tgt.control.Retry(ctx, s) },
	})
}

func (p Process) outboxDrop(ctx context.Context, f outboxFlags, in targets) error {
	kind, noun := outbox.KindDead, "dead letter"
	if f.Queued {
		kind, noun = outbox.KindQueued, "queued alert"
	}
	return p.changeOutbox(f, in, outboxChange{
		Kind: kind, noun: noun, one: "was dropped", many: "were dropped",
		run: func(tgt target, s outbox.Selection) (outbox.Outcome, error) { return tgt.control.Drop(ctx, kind, s) },
	})
}

// outboxChange is what is done to dead letters or queued alerts.
type outboxChange struct {
	Kind      string
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
func (p Process) changeOutbox(f outboxFlags, in targets, change outboxChange) error {
	selected, err := f.selection()
	if err != nil {
		return err
	}
	var failed error
	missing := make(map[uint64]int)
	for _, tgt := range in.all {
		o, err := change.run(tgt, selected)
		failed = errors.Join(failed, err)
		for _, id := range o.Missing {
			missing[id]++
		}
		if err == nil || o.Done > 0 {
			p.sayOutcome(f, tgt, change, o)
		}
		if len(o.InFlight) > 0 && !f.All {
			failed = errors.Join(failed, fmt.Errorf("%s: %s",
				counted(len(o.InFlight), change.noun+" "+stays, change.noun+"s "+stay), joined(o.InFlight)))
		}
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

func (p Process) sayOutcome(f outboxFlags, tgt target, change outboxChange, o outbox.Outcome) {
	inFlight := len(o.InFlight)
	if f.JSON {
		r := tgt.result(f.Do, change.Kind, o.Done)
		r.InFlight = &inFlight
		p.printRedacted(tgt.hidden, r)
		return
	}
	if o.Done == 0 && !f.All && inFlight == 0 {
		return // they may be in another one
	}
	fmt.Fprintf(p.Stdout, "%s: %s", tgt.name(), counted(o.Done, change.noun+" "+change.one, change.noun+"s "+change.many))
	if f.All && inFlight > 0 {
		fmt.Fprintf(p.Stdout, "; %s", counted(inFlight, stays, stay))
	}
	if f.Do == "retry" && o.Done > 0 && tgt.Process == 0 {
		fmt.Fprintf(p.Stdout, "; delivered %s", byWhom)
	}
	fmt.Fprintln(p.Stdout)
}

func joined(ids []uint64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatUint(id, 10)
	}
	return printable.Cut(strings.Join(texts, ", "), 200)
}
