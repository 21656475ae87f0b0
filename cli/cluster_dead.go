package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/stream"
)

// deadPage is how many dead letters are asked for, or changed, within clusterAnswers: each
// takes some requests, which a server far away answers late, and one that syncs each write.
const deadPage = 20

type clusterDeadFlags struct{ pageFlags }

func (f *clusterDeadFlags) do(ctx context.Context, p Process, in *cluster) error {
	now := time.Now()
	head := deadColumns
	if f.Payload {
		head += "\tPAYLOAD"
	}
	t := newTable(p.Stdout, head)
	last, more, err := in.eachDead(ctx, uint64(f.After), f.Limit, func(l stream.DeadLetter) error {
		if !f.Payload {
			l.Payload = nil
		}
		if in.asJSON {
			return p.printRedacted(in.hidden, l)
		}
		row := []string{strconv.FormatUint(l.Seq, 10), age(l.Died, now) + " ago", in.hidden.cell(l.Level), in.hidden.cell(l.AppKey), in.hidden.cell(alertOf(l.Alert)), strconv.Itoa(l.Status), in.hidden.cell(l.Answer)}
		if f.Payload {
			row = append(row, plain(in.hidden.redact(string(l.Payload))))
		}
		return t.row(row...)
	})
	if err := cmp.Or(err, t.flush()); err != nil {
		return err
	}
	switch {
	case more:
		p.say("there are more: --limit 0 shows all, --after %d what follows", last)
	case t.rows == 0 && last == uint64(f.After) && !in.asJSON:
		fmt.Fprintln(p.Stdout, "no dead letters")
	}
	return nil
}

// eachDead is eachOf for dead letters.
func (in *cluster) eachDead(ctx context.Context, after uint64, limit int, do func(stream.DeadLetter) error) (last uint64, more bool, err error) {
	page := func(after uint64, limit int) ([]stream.DeadLetter, bool, error) {
		ctx, cancel := context.WithTimeout(ctx, clusterAnswers)
		defer cancel()
		return in.DeadLetters(ctx, after, min(limit, deadPage))
	}
	return eachOf(after, limit, page, func(l stream.DeadLetter) uint64 { return l.Seq }, do)
}

type clusterRetryFlags struct{ selectedIDs }

func (f *clusterRetryFlags) do(ctx context.Context, p Process, in *cluster) error {
	unasked := dropped{f.selectedIDs, asking{Yes: true}}
	return in.change(ctx, p, unasked, "retry", "dead letter is back in the stream", "dead letters are back in the stream", in.RetryDead)
}

type clusterDropFlags struct{ dropped }

func (f *clusterDropFlags) do(ctx context.Context, p Process, in *cluster) error {
	return in.change(ctx, p, f.dropped, "drop", "dead letter was dropped", "dead letters were dropped", in.DropDead)
}

// A clusterResult is what was done to dead letters, as JSON has it.
type clusterResult struct {
	Action string `json:"action"`
	Kind   string `json:"kind"`
	Done   int    `json:"done"`
}

// change does something to the dead letters that are meant, a page of them after the
// other, and says what became of them.
func (in *cluster) change(ctx context.Context, p Process, f dropped, action, one, many string,
	run func(context.Context, ...uint64) (int, []uint64, error)) error {
	ids := f.selection().IDs
	if f.All {
		_, _, err := in.eachDead(ctx, 0, 0, func(l stream.DeadLetter) error {
			ids = append(ids, l.Seq)
			return nil
		})
		if err == nil && len(ids) > 0 {
			err = f.refused(p, fmt.Sprintf("Drop %s for good?", counted(len(ids), "dead letter", "dead letters")), "dropped")
		}
		if err != nil {
			return err
		}
	}
	if len(ids) == 0 && !in.asJSON {
		return printed(fmt.Fprintf(p.Stdout, "nothing to %s: there is no dead letter\n", action))
	}
	var failed error
	var missing []uint64
	done := 0
	for piece := range slices.Chunk(ids, deadPage) {
		within, cancel := context.WithTimeout(ctx, clusterAnswers)
		n, none, err := run(within, piece...)
		cancel()
		done, missing = done+n, append(missing, none...)
		if failed = err; err != nil {
			break
		}
	}
	if len(missing) > 0 {
		failed = errors.Join(failed, fmt.Errorf("there is no dead letter with the ID %s", joined(missing)))
	}
	if in.asJSON {
		return errors.Join(p.printJSON(clusterResult{action, outbox.KindDead, done}), failed)
	}
	if done > 0 {
		fmt.Fprintln(p.Stdout, counted(done, one, many))
	}
	return failed
}

type clusterHandOverFlags struct{}

func (f *clusterHandOverFlags) do(ctx context.Context, p Process, in *cluster) error {
	ctx, cancel := context.WithTimeout(ctx, clusterAnswers)
	defer cancel()
	if err := in.HandOver(ctx); err != nil {
		return err
	}
	status, err := in.Conn.Status(ctx)
	if err != nil {
		return err
	}
	if in.asJSON {
		return p.printRedacted(in.hidden, status.Lease)
	}
	return printed(fmt.Fprintf(p.Stdout, "%s delivers now\n", cell(cmp.Or(status.Lease.Owner, "nobody"))))
}
