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

	"bigpanda-udf/config"
	"bigpanda-udf/outbox"

	"golang.org/x/sync/errgroup"
)

// outboxFlags say which outboxes are meant. What is done with them is a command of
// its own, with flags of its own.
type outboxFlags struct {
	settingFlags
	kapacitorFlags
	Task   string `placeholder:"NAME" help:"Only the outboxes of this task."`
	Folder string `placeholder:"NAME" help:"Only the outbox in this folder of the outbox folder."`
	Idle   bool   `help:"Show also outboxes in which there is nothing, as those that --task or --folder names."`
	JSON   bool   `name:"json" help:"Print a JSON object for each outbox, alert or change that was made."`

	Status  outboxStatusFlags  `cmd:"" default:"withargs" help:"What waits, for how long, what is held and why. The same as outbox alone."`
	List    outboxListFlags    `cmd:"" help:"The alerts that wait, the oldest first."`
	Dead    outboxDeadFlags    `cmd:"" help:"The alerts that BigPanda refused for good, with its answer."`
	Retry   outboxRetryFlags   `cmd:"" help:"Put dead letters back at the end of the queue."`
	Drop    outboxDropFlags    `cmd:"" help:"Remove dead letters, or alerts that wait, for good."`
	Export  outboxExportFlags  `cmd:"" help:"Everything that waits or is dead, as lines of JSON."`
	Active  outboxActiveFlags  `cmd:"" help:"The alerts that BigPanda was told of and that are not OK, the oldest first, with their keys."`
	Resolve outboxResolveFlags `cmd:"" help:"Tell BigPanda that alerts are OK."`
}

func newOutboxFlags() any {
	return &outboxFlags{settingFlags: settingsWhere(ofOutbox, map[string]string{
		"outbox": "The outbox folder, a copy of it, or one of the folders in it (bigpanda-udf in the user's state folder).",
	})}
}

// Help is what kong prints above the flags.
func (outboxFlags) Help() string {
	return `Looks into the outboxes, in which alerts wait for delivery, and beside the
process that delivers them as well as when there is none.`
}

// An outboxAction is a subcommand of outbox. kong calls its AfterApply, if it has one,
// before anything is looked at.
type outboxAction interface {
	do(ctx context.Context, p Process, in targets) error
}

// An entryID is the ID of what waits or is dead.
type entryID uint64

// UnmarshalText reads an ID as a person copies it.
func (id *entryID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no ID: take one that list or dead shows", config.Shown(string(text)))
	}
	*id = entryID(n)
	return nil
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

// idle tells whether there is nothing in it that somebody should look at.
func (tgt target) idle() bool {
	return tgt.Queued+tgt.Dead+tgt.GivenUp+len(tgt.Held)+len(tgt.Damaged) == 0 && !tgt.DiskRefuses
}

// An origin is the outbox that a line of JSON is of, and what of it.
type origin struct {
	Kind   string `json:"kind"`
	Folder string `json:"folder"`
	Task   string `json:"task"`
	Node   string `json:"node"`
}

func (tgt target) origin(kind string) origin { return origin{kind, tgt.Folder, tgt.Task, tgt.Node} }

// targets are the outboxes that are meant, as far as they can be read.
type targets struct {
	all    []target
	unread []string // folders of others, which could not be asked
	asJSON bool
	idle   bool // what is in none of them is said of each
	hidden *secrets
}

// where ends a sentence about what is in none of the outboxes.
func (in targets) where() string {
	if in.unread != nil {
		return " in the outboxes that could be read"
	}
	return ""
}

// byWhom is who delivers what was put into an outbox that no process works on.
// That of a task that was deleted has no next start of its own.
const byWhom = "by another process with this outbox within two minutes, or by the next start"

func (f *outboxFlags) run(ctx context.Context, p Process, c *command) error {
	dir, err := f.dir(p, c)
	if err != nil {
		return err
	}
	all, unread, err := findTargets(ctx, dir, f.Task, f.Folder, c.hidden)
	// Those who collect files read it from the metrics that an outbox could not be read.
	isTold := f.Status.Prometheus && f.Status.MaxAge == 0 && unread != nil
	if err != nil && len(all) == 0 && !isTold {
		return err
	}
	// Those that can be read are shown before the errors of the others.
	in := targets{all: all, unread: unread, asJSON: f.JSON, idle: f.Idle || f.Task+f.Folder != "", hidden: c.hidden}
	if isTold {
		err = nil
	}
	err = errors.Join(c.below.(outboxAction).do(ctx, p, in), err)
	if err == nil && len(all)+len(unread) == 0 {
		p.say("no outbox is in %s: nothing waits there", dir)
	}
	return err
}

// dir is the outbox folder: that of the settings, or of the function that a
// kapacitor.conf has.
func (f *outboxFlags) dir(p Process, c *command) (dir string, err error) {
	conf, err := f.read(c)
	if err != nil {
		return "", err
	}
	if conf == nil {
		s, err := c.settings(p)
		return s.Outbox, err
	}
	for _, fn := range conf.chosen {
		if fn.Socket != "" {
			return "", usagef("[udf.functions.%s] has a socket, so the outbox folder is that of the process behind it: set --outbox (BIGPANDA_OUTBOX) instead", fn.name)
		}
		call, env, err := fn.command(c.hidden)
		if err == nil {
			var s settings
			s, err = call.settings(Process{LookupEnv: env})
			if dir != "" && s.Outbox != dir {
				return "", usagef("the functions of %s have several outbox folders: name one with --function", f.KapacitorConf)
			}
			dir = s.Outbox
		}
		if err != nil {
			return "", usagef("[udf.functions.%s]: %w", fn.name, err)
		}
	}
	return dir, nil
}

// askedAtOnce is how many outboxes are asked at the same time: one that hangs holds up
// no other.
const askedAtOnce = 16

// findTargets returns the outboxes in a folder that are of a task and in a folder of
// theirs, if these are given, and the folders of those that cannot be asked. The error
// is of these, or says that there are none.
func findTargets(ctx context.Context, dir, task, folder string, hidden *secrets) (all []target, unread []string, failed error) {
	const hint = "set --outbox (BIGPANDA_OUTBOX) to the outbox folder of the function, which may run as another user"
	switch dir {
	case config.OutboxMemory:
		return nil, nil, usagef("the outbox is in memory: it is only in the process that delivers it")
	case "":
		return nil, nil, usagef("no outbox folder: set --outbox (BIGPANDA_OUTBOX) to that of the function")
	}
	folders, err := outbox.Folders(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no outbox in %s: %s", dir, hint)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the outboxes in %s: %w", dir, err)
	}
	if folder != "" {
		folders = slices.DeleteFunc(folders, func(path string) bool { return folder != filepath.Base(path) && filepath.Clean(folder) != path })
	}
	found, errs := make([]target, len(folders)), make([]error, len(folders))
	var asking errgroup.Group
	asking.SetLimit(askedAtOnce)
	for i, path := range folders {
		asking.Go(func() error {
			control := outbox.NewControl(path, func(b []byte) []byte { return []byte(hidden.redact(string(b))) })
			status, err := control.Status(ctx)
			found[i], errs[i] = target{control, status, hidden}, err
			return nil
		})
	}
	asking.Wait()
	for i, path := range folders {
		switch _, gone := os.Lstat(path); {
		case gone != nil: // it was empty, and another process removed it
		case errs[i] != nil:
			unread, failed = append(unread, path), errors.Join(failed, errs[i])
		case task == "" || task == found[i].Task:
			all = append(all, found[i])
		}
	}
	if len(all) == 0 && failed == nil && task+folder != "" {
		return nil, nil, fmt.Errorf("no outbox in %s is of that task and folder: see %s outbox status --idle", dir, programName)
	}
	return all, unread, failed
}
