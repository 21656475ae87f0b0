package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/metrics"
	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
)

type outboxStatusFlags struct {
	Prometheus bool          `help:"Print metrics in Prometheus' text format."`
	MaxAge     time.Duration `placeholder:"TIME" help:"Exit with 1 if an alert has waited for longer, such as 10m."`
}

// AfterApply is called by kong.
func (f outboxStatusFlags) AfterApply() error {
	if f.MaxAge < 0 {
		return fmt.Errorf("--max-age is %s: write a time from 0s", f.MaxAge)
	}
	return nil
}

func (f *outboxStatusFlags) do(_ context.Context, p Process, in targets) error {
	all := in.all
	now := time.Now()
	switch {
	case in.asJSON && f.Prometheus:
		return usagef("--json and --prometheus are two formats: leave one out")
	case in.asJSON:
		for _, tgt := range all {
			if err := p.printRedacted(tgt.hidden, tgt.Status); err != nil {
				return err
			}
		}
	case f.Prometheus:
		if err := p.printMetrics(in); err != nil {
			return err
		}
	default:
		p.printStatus(in, now)
	}
	if f.MaxAge == 0 {
		return nil
	}
	var late error
	for _, tgt := range all {
		if waits := now.Sub(tgt.Oldest); !tgt.Oldest.IsZero() && waits > f.MaxAge {
			late = errors.Join(late, fmt.Errorf("%s: the oldest alert waits for %s, longer than %s",
				tgt.name(), waits.Round(time.Second), f.MaxAge))
		}
	}
	return late
}

// printStatus prints a row for each outbox that is not idle, and below what is wrong
// with any.
func (p Process) printStatus(in targets, now time.Time) {
	all := in.all
	if !in.idle {
		all = slices.DeleteFunc(slices.Clone(all), target.idle)
	}
	t := newTable(p.Stdout, "TASK\tNODE\tQUEUED\tOLDEST\tSIZE\tDEAD\tGIVEN UP\tDELIVERED\tPROCESS\tFOLDER")
	for _, tgt := range all {
		process := "none"
		if tgt.Process != 0 {
			process = strconv.Itoa(tgt.Process)
		}
		delivered := "-"
		if !tgt.LastSuccess.IsZero() {
			delivered = age(tgt.LastSuccess, now) + " ago"
		}
		t.row(plain(tgt.Task), plain(tgt.Node), count(tgt.Queued), age(tgt.Oldest, now), size(tgt.Bytes), count(tgt.Dead),
			count(tgt.GivenUp), delivered, process, plain(filepath.Base(tgt.Folder)))
	}
	t.flush()
	for _, tgt := range all {
		for _, remark := range remarks(tgt.Status, now) {
			fmt.Fprintf(p.Stdout, "%s: %s\n", tgt.name(), plain(remark))
		}
	}
	if n := len(in.all) - len(all); n > 0 {
		fmt.Fprintf(p.Stdout, "%s: nothing waits, is held or dead there (--idle shows them)\n", counted(n, "idle outbox", "idle outboxes"))
	}
}

// deliveryRemarks are the sentences about how delivery goes.
func deliveryRemarks(d outbox.Delivery, now time.Time) (all []string) {
	for _, h := range d.Held {
		what := "all alerts are held"
		if h.AppKey != "" {
			what = fmt.Sprintf("alerts of the app key %q are held", h.AppKey)
		}
		if !h.Since.IsZero() {
			what += " for " + age(h.Since, now)
		}
		all = append(all, what+": "+printable.Cut(h.Reason, maxLogValue))
	}
	if d.LastError != "" {
		all = append(all, fmt.Sprintf("the last error, %s ago: %s", age(d.LastErrorTime, now), printable.Cut(d.LastError, maxLogValue)))
	}
	return all
}

// remarks are the sentences that a person should read about an outbox.
func remarks(s outbox.Status, now time.Time) []string {
	all := deliveryRemarks(s.Delivery, now)
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if s.DiskRefuses {
		add("the disk refuses to be written: %s in memory, and lost if the process ends before it can be", counted(s.KeptInMemory, "change is kept", "changes are kept"))
	}
	if s.Process == 0 && s.Queued > 0 {
		add("no process delivers what is queued: the next start of a function with this outbox folder, URL and token does")
	}
	for _, name := range s.Damaged {
		why := "could not be read"
		if strings.Contains(name, ".replaced-") {
			why = "stood in the outbox's place"
		}
		add("%s %s and was moved aside: it is not delivered", filepath.Join(s.Folder, name), why)
	}
	return all
}

// printMetrics prints what a scrape of `metrics` gets, of these outboxes alone, and of
// those that could not be read that they were not.
func (p Process) printMetrics(in targets) error {
	folders := slices.Clone(in.unread)
	for _, tgt := range in.all {
		folders = append(folders, tgt.Folder)
	}
	return metrics.Write(p.Stdout, metrics.New(metrics.Options{
		Folders: func() ([]string, error) { return folders, nil }, Redact: in.hidden.redact,
		Log: newLogger(p.Stderr, slog.LevelWarn, config.FormatLogfmt, in.hidden),
	}))
}
