package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/outbox"
)

type outboxFlags struct {
	Do  string   `arg:"" optional:"" default:"status" help:"What to do: status, list, dead, retry, drop, export, active or resolve (status)."`
	IDs []string `arg:"" optional:"" name:"id" help:"Which ones to retry or drop, or the keys of those to resolve."`

	settingFlags
	Task   string `placeholder:"NAME" help:"Only the outboxes of this task."`
	Folder string `placeholder:"NAME" help:"Only the outbox in this folder."`
	JSON   bool   `name:"json" help:"Print a JSON object for each outbox, alert or change that was made."`

	Prometheus bool          `help:"status: print metrics in Prometheus' text format."`
	MaxAge     time.Duration `placeholder:"TIME" help:"status: exit with 1 if an alert has waited for longer, such as 10m."`
	Limit      int           `default:"20" placeholder:"N" help:"list, dead, active: how many to show of each outbox; 0 for all (${default})."`
	After      string        `placeholder:"ID" help:"list, dead: only what follows this one."`
	Payload    bool          `help:"list, dead: also what is sent."`
	All        bool          `help:"retry, drop, resolve: all that there are."`
	Queued     bool          `help:"drop: queued alerts instead of dead letters. BigPanda never hears of them."`
	Yes        bool          `help:"resolve --all: do not ask."`
}

// Help is what kong prints above the flags.
func (outboxFlags) Help() string {
	return `Looks into the outboxes, in which alerts wait for delivery, and beside the
process that delivers them as well as when there is none.

  status   what waits, for how long, what is held and why
  list     the alerts that wait, the oldest first
  dead     the alerts that BigPanda refused for good, with its answer
  retry    put dead letters back at the end of the queue, with IDs or --all
  drop     remove dead letters for good, with IDs or --all; asks nothing
  export   everything that waits or is dead, as lines of JSON
  active   the alerts that BigPanda was told of and that are not OK, the oldest
           first, with their keys
  resolve  tell BigPanda that alerts are OK, with KEYs or --all; on a terminal
           --all asks first

BigPanda itself ignores an alert that is older than what it knows of it.`
}

// outboxAction is one thing that can be done, and the flags that mean something
// to it alone.
type outboxAction struct {
	name  string
	flags []string
	run   func(p Process, ctx context.Context, f outboxFlags, in targets) error
}

var outboxActions = []outboxAction{
	{"status", []string{"prometheus", "max-age"}, Process.outboxStatus},
	{"list", []string{"limit", "after", "payload"}, Process.outboxList},
	{"dead", []string{"limit", "after", "payload"}, Process.outboxDead},
	{"retry", []string{"all", "id"}, Process.outboxRetry},
	{"drop", []string{"all", "queued", "id"}, Process.outboxDrop},
	{"export", nil, Process.outboxExport},
	{"active", []string{"limit"}, Process.outboxActive},
	{"resolve", []string{"all", "yes", "id"}, Process.outboxResolve},
}

// anyAction are the flags that mean something to all of them.
var anyAction = []string{"task", "folder", "json"}

// check finds what is wrong with the values, before anything is looked at.
func (f outboxFlags) check(action string) error {
	switch {
	case f.JSON && f.Prometheus:
		return usagef("--json and --prometheus are two formats: leave one out")
	case f.MaxAge < 0:
		return usagef("--max-age is %s: write a time from 0s", f.MaxAge)
	case f.Limit < 0:
		return usagef("--limit is %d: write a number from 0", f.Limit)
	case action == "resolve":
		return f.checkKeys()
	case action == "retry" || action == "drop":
		_, err := f.selection()
		return err
	}
	_, err := f.after()
	return err
}

// after is the ID that a list begins behind.
func (f outboxFlags) after() (uint64, error) {
	if f.After == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(f.After, 10, 64)
	if err != nil {
		return 0, usagef("--after is %q: take an ID that list or dead shows", config.Shown(f.After))
	}
	return id, nil
}

func (f outboxFlags) selection() (s outbox.Selection, err error) {
	if f.All == (len(f.IDs) > 0) {
		return s, usagef("which ones? Give IDs, which list and dead show, or --all")
	}
	for _, text := range f.IDs {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return s, usagef("%q is no ID: take one that list or dead shows", config.Shown(text))
		}
		s.IDs = append(s.IDs, id)
	}
	s.All = f.All
	return s, nil
}

// target is one outbox.
type target struct {
	control *outbox.Control
	outbox.Status
	hidden *secrets
}

// name is how a person calls an outbox.
func (tgt target) name() string {
	if tgt.Task == "" {
		return plain(filepath.Base(tgt.Folder))
	}
	return plain(tgt.Task + " " + tgt.Node)
}

// An origin is the outbox that a line of JSON is of, and what of it.
type origin struct {
	Kind   string `json:"kind"`
	Folder string `json:"folder"`
	Task   string `json:"task"`
	Node   string `json:"node"`
}

func (tgt target) origin(kind string) origin { return origin{kind, tgt.Folder, tgt.Task, tgt.Node} }

// listing prints what an outbox holds, as a table or as lines of JSON.
type listing struct {
	p      Process
	asJSON bool
	tgt    target
	*table
}

// newListing begins to print of one outbox. follows says that others were before it.
func (p Process) newListing(f outboxFlags, tgt target, follows bool, columns string) listing {
	head := fmt.Sprintf("%s (%s):\n%s", tgt.name(), plain(tgt.Folder), columns)
	if follows {
		head = "\n" + head
	}
	return listing{p, f.JSON, tgt, newTable(p.Stdout, head)}
}

func (l listing) print(v any, cells ...string) error {
	if l.asJSON {
		return l.p.printRedacted(l.tgt.hidden, v)
	}
	return l.row(cells...)
}

func (l listing) end() error {
	if !l.asJSON && l.rows == 0 {
		fmt.Fprintf(l.w, "%s: none\n", l.tgt.name())
	}
	return l.flush()
}

// targets are the outboxes that are meant, as far as they can be read.
type targets struct {
	all    []target
	unread bool // others could not be asked
}

// where ends a sentence about what is in none of the outboxes.
func (in targets) where() string {
	if in.unread {
		return " in the outboxes that could be read"
	}
	return ""
}

// byWhom is who delivers what was put into an outbox that no process works on.
// That of a task that was deleted has no next start of its own.
const byWhom = "by another process with this outbox within two minutes, or by the next start"

func (f outboxFlags) run(ctx context.Context, p Process, c *command) error {
	i := slices.IndexFunc(outboxActions, func(a outboxAction) bool { return a.name == f.Do })
	if i < 0 {
		var names []string
		for _, a := range outboxActions {
			names = append(names, a.name)
		}
		return usagef("%q is nothing that can be done: %s", config.Shown(f.Do), config.DidYouMean(f.Do, names, "%s", "write "+strings.Join(names, ", ")))
	}
	action := outboxActions[i]
	for _, flag := range c.given {
		if !slices.Contains(action.flags, flag) && !slices.Contains(anyAction, flag) {
			if variable := c.variables[flag]; variable != "" {
				flag += " (" + variable + ")"
			}
			return usagef("--%s means nothing to %s: see %s outbox --help", flag, action.name, programName)
		}
	}
	if len(f.IDs) > 0 && !slices.Contains(action.flags, "id") {
		return usagef("%s takes no IDs: leave out %s", action.name, plain(strings.Join(f.IDs, " ")))
	}
	if err := f.check(action.name); err != nil {
		return err
	}
	s, err := c.settings(p)
	s.hideTokenFile(c.hidden)
	if err != nil {
		return err
	}
	all, err := findTargets(ctx, s.Outbox, f, c.hidden)
	if err != nil && len(all) == 0 {
		return err
	}
	// Those that can be read are shown before the errors of the others.
	err = errors.Join(action.run(p, ctx, f, targets{all, err != nil}), err)
	if err == nil && len(all) == 0 {
		p.say("no outbox is in %s: nothing waits there", s.Outbox)
	}
	return err
}

// findTargets returns the outboxes that are meant. The error is of those that
// cannot be asked, or says that there are none.
func findTargets(ctx context.Context, dir string, f outboxFlags, hidden *secrets) (all []target, failed error) {
	const hint = "set --outbox (BIGPANDA_OUTBOX) to the folder of the function, which may run as another user"
	switch dir {
	case config.OutboxMemory:
		return nil, usagef("the outbox is in memory: it is only in the process that delivers it")
	case "":
		return nil, usagef("no folder for the outbox: set --outbox (BIGPANDA_OUTBOX) to that of the function")
	}
	folders, err := outbox.Folders(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no outbox in %s: %s", dir, hint)
	}
	if err != nil {
		return nil, fmt.Errorf("read the outboxes in %s: %w", dir, err)
	}
	for _, folder := range folders {
		if f.Folder != "" && f.Folder != filepath.Base(folder) && filepath.Clean(f.Folder) != folder {
			continue
		}
		control := outbox.NewControl(folder, func(b []byte) []byte { return []byte(hidden.redact(string(b))) })
		status, err := control.Status(ctx)
		switch _, gone := os.Lstat(folder); {
		case gone != nil: // it was empty, and another process removed it
		case err != nil:
			failed = errors.Join(failed, err)
		case f.Task == "" || f.Task == status.Task:
			all = append(all, target{control, status, hidden})
		}
	}
	if len(all) == 0 && failed == nil && f.Task+f.Folder != "" {
		return nil, fmt.Errorf("no outbox in %s is of that task and folder: see %s outbox status", dir, programName)
	}
	return all, failed
}
