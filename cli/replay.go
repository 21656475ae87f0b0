package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"

	"bigpanda-udf/printable"
	"bigpanda-udf/recording"
	"bigpanda-udf/regularfile"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// maxBadLines is how many lines that cannot be read are named.
const maxBadLines = 20

// A replayRun hands the points of a file to a handler. It is its outbox, too: it prints
// the changes, as a table or as lines of JSON, and sends them where they are to be sent.
// The function's own is not touched.
type replayRun struct {
	p       Process
	asJSON  bool
	hidden  *secrets
	in      input
	handler *udf.Handler

	points, bad int
	vary        []string          // tags that differ within a group, too
	tags        map[string]string // of the first point, without those
	differ      bool              // those of others are not the same

	*table
	changes int
	err     error // of the printing

	*delivery       // nil: nothing is sent
	failed    error // of a drain: what is left will not be sent either
}

// note counts a point, and compares its tags.
func (r *replayRun) note(p *agent.Point) {
	r.points++
	tags := maps.Clone(p.Tags)
	for _, name := range r.vary {
		delete(tags, name)
	}
	if r.points == 1 {
		r.tags = tags
	}
	r.differ = r.differ || !maps.Equal(r.tags, tags)
}

// run hands the points of a file to the function, and prints what it makes
// of them.
func (f *replayFlags) run(ctx context.Context, p Process, c *command) error {
	s, err := c.settings(p)
	if err != nil {
		return err
	}
	if err := f.sayWarnings(p, s); err != nil {
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
	log := s.newLogger(p.Stderr)
	r := &replayRun{p: p, asJSON: f.JSON, hidden: s.hidden, in: in, vary: u.pointTags(), table: newTable(p.Stdout, "TIME\tSTATUS\tPRIMARY\tSECONDARY\tDESCRIPTION")}
	if f.Send {
		if err := r.deliver(s, log); err != nil {
			return err
		}
		defer r.close()
	}
	if err := r.init(s, u, log); err != nil {
		return err
	}
	failed := r.replay(ctx, u)
	if r.differ && f.Tick == "" && len(f.GroupBy) == 0 {
		p.say("%s replay: warning: all points are one group, as in a script without groupBy, though their tags differ: "+
			"name the tags that the script groups by with --group-by", programName)
	}
	p.say("%s replay: %s", programName, r.summary())
	if failed == nil || r.points > 0 {
		failed = errors.Join(failed, r.failure())
	}
	return failed
}

// sayWarnings says what the operator should know before.
func (f *replayFlags) sayWarnings(p Process, s settings) error {
	s.sayWarnings(p, "replay")
	if s.Enabled {
		return nil
	}
	if f.Send {
		return usagef("the function is switched off by %s: leave out --send, or switch it on", s.Where["enabled"])
	}
	p.say("%s replay: warning: the function is switched off by %s and sends nothing: this is what it would send", programName, s.Where["enabled"])
	return nil
}

// init makes the function as the settings and the invocation say.
func (r *replayRun) init(s settings, u invocation, log *slog.Logger) error {
	r.handler = udf.New(udf.Config{
		Defaults: s.Defaults,
		Enabled:  true,
		Open:     func(udf.Use) (udf.Store, error) { return r, nil },
		Log:      log,
	})
	// The node's name is Kapacitor's to give, and no part of a payload.
	answer, err := r.handler.Init(&agent.InitRequest{TaskID: u.task, NodeID: defaultFunction, Options: u.options})
	if err == nil && !answer.Success {
		err = usageError{errors.New(answer.Error)}
	}
	return err
}

// replay hands over all points, and has what comes of them printed and delivered.
func (r *replayRun) replay(ctx context.Context, u invocation) error {
	failed := r.handOver(ctx, u)
	r.handler.Stop()
	failed = errors.Join(failed, r.flush())
	if r.delivery != nil {
		failed = errors.Join(failed, r.drain(ctx))
		if dead := r.queue.Stats().Dead; dead > 0 {
			failed = errors.Join(failed, fmt.Errorf("BigPanda refused %s for good: see above", counted(dead, "alert", "alerts")))
		}
	}
	return failed
}

// handOver hands over all points. An error is the end.
func (r *replayRun) handOver(ctx context.Context, u invocation) error {
	for ctx.Err() == nil {
		point, err := r.in.Next()
		line := (*recording.LineError)(nil)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &line):
			if r.bad++; r.bad <= maxBadLines {
				r.p.say("%s:%d: %s", r.in.name, line.Line, plain(printable.Cut(line.Error(), maxLogValue)))
			}
			continue
		case ctx.Err() != nil:
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", r.in.name, regularfile.Cause(err))
		}
		r.note(point)
		u.grouping.Apply(point)
		if err := r.handler.Point(point); err != nil {
			return err
		}
		r.handler.Commit()
		if err := r.settle(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("stopped after %s", counted(r.points, "point", "points"))
}

// summary is the last line for a person.
func (r *replayRun) summary() string {
	parts := []string{counted(r.points, "point", "points"), counted(r.changes, "change", "changes")}
	counts := r.handler.Counts()
	for _, more := range []struct {
		n    int
		what string
	}{
		{counts.NoLevel, "without a level"}, {counts.UnknownLevel, "with an unknown level"},
		{counts.TooOld, "too old"}, {r.in.Undated(), "without a time, dated now"}, {r.bad, "that cannot be read"},
	} {
		if more.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", count(more.n), more.what))
		}
	}
	end := "nothing was sent"
	if r.delivery != nil {
		left := r.queue.Stats()
		end = count(r.changes-left.Queued-left.Dead) + " delivered"
	}
	return strings.Join(parts, ", ") + "; " + end
}

// failure is what the points themselves had wrong.
func (r *replayRun) failure() error {
	switch {
	case r.points > 0 && r.handler.Counts().NoLevel == r.points:
		return errors.New("no point has a level: take points from behind |alert(), or name their level's field or tag with --level-field or --level-tag")
	case r.bad > 0:
		return fmt.Errorf("%s cannot be read: see above", counted(r.bad, "line", "lines"))
	case r.points == 0:
		return errors.New("there is no point in it")
	}
	return nil
}
