package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/udf"
)

// outboxActive lists the alerts of each outbox that are not OK.
func (p Process) outboxActive(ctx context.Context, f outboxFlags, in targets) error {
	var failed error
	for i, tgt := range in.all {
		alerts, err := tgt.active(ctx)
		failed = errors.Join(failed, err)
		if err != nil && len(alerts) == 0 {
			continue
		}
		if !tgt.LeftBehind.IsZero() && len(alerts) > 0 {
			p.say("%s: left behind on %s: no task resolves these, and in 30 days they are forgotten; resolve those that are over by their keys",
				tgt.name(), tgt.LeftBehind.Format(time.DateOnly))
		}
		first := alerts
		if limit := f.limit(); limit > 0 {
			first = alerts[:min(limit, len(alerts))]
		}
		if err := p.printActive(f, tgt, first, i > 0); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		if left := len(alerts) - len(first); left > 0 {
			p.say("%s: and %d more: --limit 0 shows all", tgt.name(), left)
		}
		if tgt.Queued > 0 {
			p.say("%s: %s: BigPanda does not know all of this yet, see %s outbox list", tgt.name(), counted(tgt.Queued, "change waits", "changes wait"), programName)
		}
	}
	return failed
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

func (p Process) printActive(f outboxFlags, tgt target, alerts []*udf.Active, follows bool) error {
	if f.JSON {
		for _, a := range alerts {
			if err := p.printActiveJSON(tgt, a); err != nil {
				return err
			}
		}
		return nil
	}
	if len(alerts) == 0 {
		_, err := fmt.Fprintf(p.Stdout, "%s: none\n", tgt.name())
		return err
	}
	if follows {
		fmt.Fprintln(p.Stdout)
	}
	now := time.Now()
	w := newTable(p.Stdout)
	fmt.Fprintf(w, "%s (%s):\nKEY\tLEVEL\tSINCE\tLAST SEEN\tSERIES\tAPP KEY\tALERT\n", tgt.name(), plain(tgt.Folder))
	for n, a := range alerts {
		if n%flushEvery == flushEvery-1 {
			w.Flush()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", a.Key, a.Level, age(a.Since, now), age(a.Seen, now), len(a.Series),
			tgt.cell(a.Identity.AppKey), tgt.cell(identityText(a.Identity)))
	}
	return w.Flush()
}

// cell is a text of an alert in a table. A property may hold what the token is.
func (tgt target) cell(text string) string { return cell(tgt.hidden.redact(text)) }

// identityText is what BigPanda tells an alert apart by, besides its app key.
func identityText(i bigpanda.Identity) string {
	if i.Incident != "" {
		return "incident_identifier=" + i.Incident
	}
	text := property(i.Primary, i.PrimaryValue)
	if i.SecondaryValue != "" {
		text += " " + property(i.Secondary, i.SecondaryValue)
	}
	return text
}

func property(name, value string) string {
	if name == "" {
		return value
	}
	return name + "=" + value
}

func (p Process) printActiveJSON(tgt target, a *udf.Active) error {
	type series struct {
		Group string    `json:"group"`
		ID    string    `json:"id"`
		Level string    `json:"level"`
		Since time.Time `json:"since"`
		Seen  time.Time `json:"last_seen"`
	}
	out := struct {
		Kind      string            `json:"kind"`
		Folder    string            `json:"folder"`
		Task      string            `json:"task"`
		Node      string            `json:"node"`
		Key       string            `json:"key"`
		Level     string            `json:"level"`
		Since     time.Time         `json:"since"`
		Seen      time.Time         `json:"last_seen"`
		Timestamp int64             `json:"timestamp"`
		Identity  bigpanda.Identity `json:"identity"`
		Series    []series          `json:"series"`
	}{"active", tgt.Folder, tgt.Task, tgt.Node, a.Key, a.Level.String(), a.Since, a.Seen, a.Timestamp, a.Identity, nil}
	for _, text := range []*string{
		&out.Identity.AppKey, &out.Identity.Incident, &out.Identity.Primary, &out.Identity.PrimaryValue,
		&out.Identity.Secondary, &out.Identity.SecondaryValue,
	} {
		*text = tgt.hidden.redact(*text)
	}
	for _, s := range a.Series {
		out.Series = append(out.Series, series{tgt.hidden.redact(s.Group), tgt.hidden.redact(s.ID), s.Level.String(), s.Since, s.Seen})
	}
	return p.printJSON(out)
}
