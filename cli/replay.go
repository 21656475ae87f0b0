package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"bigpanda-udf/counters"
	"bigpanda-udf/printable"
	"bigpanda-udf/recording"
	"bigpanda-udf/regularfile"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// maxBadLines is how many lines that cannot be read are named.
const maxBadLines = 20

type replayed struct {
	points, bad int
	counts      counters.Input
	host        string // of the first point
	hosts       bool   // there are others
}

// note counts a point, and compares its host.
func (r *replayed) note(p *agent.Point) {
	if r.points++; r.points == 1 {
		r.host = p.Tags["host"]
	}
	r.hosts = r.hosts || p.Tags["host"] != r.host
}

// run hands the points of a file to the function, and prints what it makes
// of them.
func (f *replayFlags) run(ctx context.Context, p Process, c *command) error {
	s, err := c.settings(p)
	if err != nil {
		return err
	}
	hidden := c.hidden
	if err := p.sayReplayWarnings(s, f, hidden); err != nil {
		return err
	}
	u, err := f.invocation(c)
	if err != nil {
		return err
	}
	in, err := p.openInput(f)
	if err != nil {
		return err
	}
	defer in.file.Close()
	// From here on a signal is an orderly end. Before, it kills the process: a
	// script or a file may be a pipe that nobody writes to.
	ctx, _, stop := stopSignals(ctx)
	defer stop()
	context.AfterFunc(ctx, func() { in.bytes.CloseWithError(context.Canceled) })
	if s.Where["log-level"] == "" {
		s.LogLevel = slog.LevelWarn // the handler's usual lines are told below in other words
	}
	var r replayed
	log := newLogger(p.Stderr, s.LogLevel, s.LogFormat, hidden)
	store := &replayStore{p: p, asJSON: f.JSON, hidden: hidden, table: newTable(p.Stdout, "TIME\tSTATUS\tPRIMARY\tSECONDARY\tDESCRIPTION")}
	if f.Send {
		if err := store.deliver(s, log); err != nil {
			return err
		}
		defer store.close()
	}
	h := udf.New(udf.Config{
		Defaults: s.Defaults,
		Enabled:  true,
		Open:     func(udf.Use) (udf.Store, error) { return store, nil },
		Log:      log,
	})
	// The node's name is Kapacitor's to give, and no part of a payload.
	answer, err := h.Init(&agent.InitRequest{TaskID: u.task, NodeID: defaultFunction, Options: u.options})
	if err == nil && !answer.Success {
		err = usageError{errors.New(answer.Error)}
	}
	if err != nil {
		return err
	}
	failed := p.replayPoints(ctx, in, h, u, store, &r)
	h.Stop()
	r.counts = h.Counts()
	failed = errors.Join(failed, store.flush())
	if store.delivery != nil {
		failed = errors.Join(failed, store.drain(ctx), store.refused())
	}
	if r.hosts && f.Tick == "" && len(f.GroupBy) == 0 {
		p.say("%s replay: warning: all points are one group, as in a script without groupBy, though their hosts differ: "+
			"name the tags that the script groups by with --group-by", programName)
	}
	p.say("%s replay: %s", programName, r.summary(store, in.Undated()))
	if failed == nil || r.points > 0 {
		failed = errors.Join(failed, r.failure())
	}
	return failed
}

// sayReplayWarnings says what the operator should know before.
func (p Process) sayReplayWarnings(s settings, f *replayFlags, hidden *secrets) error {
	for _, warning := range s.Warnings {
		p.say("%s replay: warning: %s", programName, hidden.redact(warning))
	}
	if s.Enabled {
		return nil
	}
	if f.Send {
		return usagef("the function is switched off by %s: leave out --send, or switch it on", s.Where["enabled"])
	}
	p.say("%s replay: warning: the function is switched off by %s and sends nothing: this is what it would send", programName, s.Where["enabled"])
	return nil
}

// replayPoints hands over all points. An error is the end.
func (p Process) replayPoints(ctx context.Context, in input, h *udf.Handler, u invocation, store *replayStore, r *replayed) error {
	for ctx.Err() == nil {
		point, err := in.Next()
		line := (*recording.LineError)(nil)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &line):
			if r.bad++; r.bad <= maxBadLines {
				p.say("%s:%d: %s", in.name, line.Line, plain(printable.Cut(line.Error(), maxLogValue)))
			}
			continue
		case ctx.Err() != nil:
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", in.name, regularfile.Cause(err))
		}
		r.note(point)
		u.grouping.Apply(point)
		if err := h.Point(point); err != nil {
			return err
		}
		h.Commit()
		if err := store.settle(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("stopped after %s", counted(r.points, "point", "points"))
}

// summary is the last line for a person.
func (r replayed) summary(store *replayStore, undated int) string {
	parts := []string{counted(r.points, "point", "points"), counted(store.changes, "change", "changes")}
	for _, more := range []struct {
		n    int
		what string
	}{
		{r.counts.NoLevel, "without a level"}, {r.counts.UnknownLevel, "with an unknown level"},
		{r.counts.TooOld, "too old"}, {undated, "without a time, dated now"}, {r.bad, "that cannot be read"},
	} {
		if more.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", count(more.n), more.what))
		}
	}
	end := "nothing was sent"
	if store.delivery != nil {
		end = count(store.delivered()) + " delivered"
	}
	return strings.Join(parts, ", ") + "; " + end
}

// failure is what the points themselves had wrong.
func (r replayed) failure() error {
	switch {
	case r.points > 0 && r.counts.NoLevel == r.points:
		return errors.New("no point has a level: take points from behind |alert(), or name their level's field or tag with --level-field or --level-tag")
	case r.bad > 0:
		return fmt.Errorf("%s cannot be read: see above", counted(r.bad, "line", "lines"))
	case r.points == 0:
		return errors.New("there is no point in it")
	}
	return nil
}
