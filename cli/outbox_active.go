package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/udf"
)

type outboxActiveFlags struct{ howMany }

func (f *outboxActiveFlags) do(ctx context.Context, p Process, in targets) error {
	now := time.Now()
	return p.printListings(in, "KEY\tLEVEL\tSINCE\tLAST SEEN\tSERIES\tAPP KEY\tALERT", func(list *listing) error {
		tgt := list.tgt
		alerts, failed := tgt.active(ctx)
		if failed != nil && len(alerts) == 0 {
			return failed
		}
		if !tgt.LeftBehind.IsZero() && len(alerts) > 0 {
			list.remark("left behind on %s: no task resolves these, and in 30 days they are forgotten; resolve those that are over by their keys",
				tgt.LeftBehind.Format(time.DateOnly))
		}
		first := alerts
		if f.Limit > 0 {
			first = alerts[:min(f.Limit, len(alerts))]
		}
		for _, a := range first {
			if err := list.print(tgt.activeJSON(a), a.Key, a.Level.String(), age(a.Since, now), age(a.Seen, now), strconv.Itoa(len(a.Series)),
				tgt.hidden.cell(a.Identity.AppKey), tgt.hidden.cell(alertText(a.Identity))); err != nil {
				return err
			}
		}
		if left := len(alerts) - len(first); left > 0 {
			list.remark("and %d more: --limit 0 shows all", left)
		}
		if tgt.Queued > 0 {
			list.remark("%s: BigPanda does not know all of this yet, see %s outbox list", counted(tgt.Queued, "change waits", "changes wait"), programName)
		}
		return failed
	})
}

// active returns the alerts of an outbox that are not OK, the oldest first. With
// an error, those that can be read are returned.
func (tgt target) active(ctx context.Context) ([]*udf.Active, error) {
	var all udf.Actives
	if err := tgt.control.Levels(ctx, all.Add); err != nil {
		return nil, err
	}
	sorted, err := all.Sorted()
	if err != nil {
		err = fmt.Errorf("%s: %w", tgt.name(), err)
	}
	return sorted, err
}

func (tgt target) activeJSON(a *udf.Active) any {
	type state struct {
		Level string    `json:"level"`
		Since time.Time `json:"since"`
		Seen  time.Time `json:"last_seen"`
	}
	type series struct {
		Group string `json:"group"`
		ID    string `json:"id"`
		state
	}
	var all []series
	for _, s := range a.Series {
		all = append(all, series{s.Group, s.ID, state{s.Level.String(), s.Since, s.Seen}})
	}
	return struct {
		origin
		Key string `json:"key"`
		state
		Timestamp int64             `json:"timestamp"`
		Identity  bigpanda.Identity `json:"identity"`
		Series    []series          `json:"series"`
	}{tgt.origin("active"), a.Key, state{a.Level.String(), a.Since, a.Seen}, a.Timestamp, a.Identity, all}
}
