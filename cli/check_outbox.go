package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/system"
)

const (
	// leastSpace is what a new database and its first commits take.
	leastSpace = 64 << 20
	// waitsLong is how old the oldest alert may be before something must be
	// wrong: the sender's longest wait is half a minute.
	waitsLong = 10 * time.Minute
)

// outbox looks at the outbox folder and at what waits in it. It writes
// nothing.
func (k *checkup) outbox(ctx context.Context, s settings) {
	const check = "outbox folder"
	const setIt = "set --outbox (BIGPANDA_OUTBOX) to a folder that the function's user may write"
	switch s.Outbox {
	case config.OutboxMemory:
		k.warn(check, "set --outbox (BIGPANDA_OUTBOX) to a folder", "in memory: what is not delivered when the process is killed is lost")
		return
	case "":
		k.fail(check, setIt, "no folder, as neither HOME nor XDG_STATE_HOME is set")
		return
	}
	if k.function != "" && !filepath.IsAbs(s.Outbox) {
		k.warn(check, "write the full path", "%s counts from the folder that kapacitord runs in", s.Outbox)
	}
	there := existing(s.Outbox)
	writing := use{fs.ModeDir, "folder", "write in", mayWrite | mayExecute, "it cannot be looked at: "}
	if there == s.Outbox {
		writing.mode |= mayRead
	}
	info, ok := k.usable(check, there, writing, setIt, setIt+", or let "+k.user+" write there")
	if !ok {
		return
	}
	k.space(there, s.OutboxMaxSize)
	if name, ok := system.NetworkFileSystem(there); ok {
		k.warn(check, "set --outbox (BIGPANDA_OUTBOX) to a folder on a disk of this host", "%s is on a network file system (%s), where it may be damaged", there, name)
	}
	if name, ok := k.p.passingFileSystem(there); ok {
		k.warn(check, "mount a volume there, or set --outbox (BIGPANDA_OUTBOX) to a folder on one or on a disk",
			"%s is on %s: what was not delivered is lost with the container, or with the machine's next start", there, name)
	}
	if there != s.Outbox {
		k.ok(check, "%s is not there yet: %s may make it in %s", s.Outbox, k.user, there)
		return
	}
	if fault, hint := system.FolderFault(s.Outbox); fault != "" {
		hint += ", or " + setIt
		// Whoever has forgotten sudo -u must not take the outbox from kapacitord's user.
		if owner, ok := system.Owner(info); ok && owner != 0 && os.Geteuid() == 0 {
			hint = fmt.Sprintf("if the function runs as %s, run this as it: %s %s check; else %s",
				system.UserName(owner), system.RunAs(owner), programName, hint)
		}
		k.fail(check, hint, "%s", fault)
		return
	}
	if parent := system.LooseParent(s.Outbox); parent != "" {
		k.warn(check, "chmod +t "+parent, "others may put another folder in the place of %s, as they may write to %s", s.Outbox, parent)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		k.warn(check, "chmod 700 "+s.Outbox, "others may look into %s (%s, of %s), which holds payloads", s.Outbox, info.Mode(), ownerOf(info))
	} else {
		k.ok(check, "%s, which %s may write (%s, of %s)", s.Outbox, k.user, info.Mode(), ownerOf(info))
	}
	k.queues(ctx, s.Outbox)
}

// existing is a folder, or the nearest one above that is there.
func existing(dir string) string {
	for {
		_, err := os.Stat(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func (k *checkup) space(dir string, maxSize int64) {
	available, err := system.Free(dir)
	if err != nil {
		k.note("disk", "", "how much is free cannot be told: %s", err)
		return
	}
	free := int64(min(available, 1<<62))
	switch {
	case free < leastSpace:
		k.fail("disk", "make room, or set --outbox (BIGPANDA_OUTBOX) to another disk", "%s is free at %s", size(free), dir)
	case free < maxSize:
		k.warn("disk", "make room, or set --outbox-max-size (BIGPANDA_OUTBOX_MAX_SIZE) to less",
			"%s is free at %s, and the queue may grow to %s", size(free), dir, size(maxSize))
	default:
		k.ok("disk", "%s is free at %s", size(free), dir)
	}
}

// queues looks at what each use of the function has queued.
func (k *checkup) queues(ctx context.Context, dir string) {
	targets, _, err := findTargets(ctx, dir, "", "", k.hidden)
	if err != nil {
		k.fail("queue", "", "%s", err)
	}
	now := time.Now()
	for _, tgt := range targets {
		held := "held by no process"
		if tgt.Process != 0 {
			held = fmt.Sprintf("held by process %d", tgt.Process)
		}
		found := strings.Join([]string{tgt.name(), counted(tgt.Queued, "alert", "alerts") + " queued", "oldest " + age(tgt.Oldest, now),
			count(tgt.Dead) + " dead", held}, ", ")
		waits := !tgt.Oldest.IsZero() && now.Sub(tgt.Oldest) > waitsLong
		remarks := strings.Join(remarks(tgt.Status, now), "; ")
		switch {
		case len(tgt.Held) > 0, tgt.DiskRefuses:
			k.fail("queue", "", "%s: %s", found, remarks)
		case waits, tgt.Dead > 0, len(tgt.Damaged) > 0, tgt.Queued > 0 && tgt.Process == 0:
			hint := "see " + programName + " outbox"
			if tgt.Dead > 0 {
				hint = "see " + programName + " outbox dead for what BigPanda refused"
			}
			if remarks != "" {
				found += ": " + remarks
			}
			k.warn("queue", hint, "%s", found)
		default:
			k.ok("queue", "%s", found)
		}
	}
}
