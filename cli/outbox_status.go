package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
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
			tgt.Status.URL = bigpanda.PublicURL(tgt.Status.URL) // earlier releases kept its query
			if err := p.printRedacted(tgt.hidden, tgt.Status); err != nil {
				return err
			}
		}
	case f.Prometheus:
		writeMetrics(p.Stdout, all, now)
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

// remarks are the sentences that a person should read about an outbox.
func remarks(s outbox.Status, now time.Time) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, h := range s.Held {
		what := "all alerts are held"
		if h.AppKey != "" {
			what = fmt.Sprintf("alerts of the app key %q are held", h.AppKey)
		}
		if !h.Since.IsZero() {
			what += " for " + age(h.Since, now)
		}
		add("%s: %s", what, printable.Cut(h.Reason, maxLogValue))
	}
	if s.LastError != "" {
		add("the last error, %s ago: %s", age(s.LastErrorTime, now), printable.Cut(s.LastError, maxLogValue))
	}
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

type metric struct {
	name, kind, help string
	value            func(s outbox.Status, now time.Time) float64
}

var outboxMetrics = []metric{
	{"queued", "gauge", "Alerts that wait for delivery or are on their way.",
		func(s outbox.Status, _ time.Time) float64 { return float64(s.Queued) }},
	{"in_flight", "gauge", "Alerts on their way.",
		func(s outbox.Status, _ time.Time) float64 { return float64(s.InFlight) }},
	{"bytes", "gauge", "Size of the queued alerts.",
		func(s outbox.Status, _ time.Time) float64 { return float64(s.Bytes) }},
	{"oldest_age_seconds", "gauge", "How long the oldest queued alert has waited, 0 when none does.",
		func(s outbox.Status, now time.Time) float64 {
			if s.Oldest.IsZero() {
				return 0
			}
			return max(0, now.Sub(s.Oldest).Seconds())
		}},
	{"dead", "gauge", "Alerts that BigPanda refused for good, and that are kept.",
		func(s outbox.Status, _ time.Time) float64 { return float64(s.Dead) }},
	{"given_up_total", "counter", "Intermediate changes dropped at the size limit, since the process began.",
		func(s outbox.Status, _ time.Time) float64 { return float64(s.GivenUp) }},
	{"kept_in_memory", "gauge", "Changes that the disk refuses.",
		func(s outbox.Status, _ time.Time) float64 { return float64(s.KeptInMemory) }},
	{"disk_refuses", "gauge", "1 while the disk refuses to be written.",
		func(s outbox.Status, _ time.Time) float64 { return oneIf(s.DiskRefuses) }},
	{"process", "gauge", "1 while a process works on the outbox.",
		func(s outbox.Status, _ time.Time) float64 { return oneIf(s.Process != 0) }},
	{"damaged_files", "gauge", "Files that could not be read and were moved aside.",
		func(s outbox.Status, _ time.Time) float64 { return float64(len(s.Damaged)) }},
	{"last_success_timestamp_seconds", "gauge", "When BigPanda last accepted an alert, 0 for not since the process began.",
		func(s outbox.Status, _ time.Time) float64 { return unix(s.LastSuccess) }},
	{"last_error_timestamp_seconds", "gauge", "When BigPanda last did not accept one, 0 for not since the process began.",
		func(s outbox.Status, _ time.Time) float64 { return unix(s.LastErrorTime) }},
}

// writeMetrics writes Prometheus' text format 0.0.4.
func writeMetrics(w io.Writer, all []target, now time.Time) {
	const prefix = "bigpanda_udf_outbox_"
	labels := func(tgt target) string {
		return fmt.Sprintf("task=%s,node=%s,folder=%s", tgt.label(tgt.Task), tgt.label(tgt.Node), tgt.label(filepath.Base(tgt.Folder)))
	}
	for _, m := range outboxMetrics {
		fmt.Fprintf(w, "# HELP %s%s %s\n# TYPE %[1]s%[2]s %[4]s\n", prefix, m.name, m.help, m.kind)
		for _, tgt := range all {
			fmt.Fprintf(w, "%s%s{%s} %s\n", prefix, m.name, labels(tgt), strconv.FormatFloat(m.value(tgt.Status, now), 'f', -1, 64))
		}
	}
	fmt.Fprintf(w, "# HELP %sheld 1 while alerts are held until somebody corrects what is wrong; app_key is empty for all.\n# TYPE %[1]sheld gauge\n", prefix)
	for _, tgt := range all {
		for _, h := range tgt.Held {
			fmt.Fprintf(w, "%sheld{%s,app_key=%s} 1\n", prefix, labels(tgt), tgt.label(h.AppKey))
		}
	}
}

func (tgt target) label(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(printable.Lines(tgt.hidden.redact(text))) + `"`
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
