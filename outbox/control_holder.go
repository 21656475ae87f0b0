package outbox

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// handOver is how long the processes that work for the same node may take to
// hand their levels over: Kapacitor waits for Init meanwhile.
const handOver = 500 * time.Millisecond

// askHolders takes over the levels of the processes that have the other
// outboxes of its node: what those told BigPanda is not told again. A numbered
// outbox has at least one beside it; the first has, when its process is
// followed by another while one from before is still there. Without the levels
// it begins all the same.
func (d *Disk) askHolders() {
	dir, name := filepath.Split(d.folder)
	base, _, numbered := strings.Cut(name, "~")
	ctx, cancel := context.WithTimeout(context.Background(), handOver)
	defer cancel()
	var all []Level
	var err error
	holders := 0
	if numbered {
		holders++
		all, err = levelsOf(ctx, filepath.Join(dir, base))
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != name && strings.HasPrefix(e.Name(), base+"~") {
			// One that does not answer is gone, and its levels are read with
			// those of others that are; or it begins at this moment, too.
			levels, _, askErr := NewControl(filepath.Join(dir, e.Name()), nil).levels(ctx)
			all = append(all, levels...)
			if askErr == nil {
				holders++
			}
		}
	}
	if holders == 0 {
		return
	}
	// Of two records of one series the later one is put last.
	slices.SortStableFunc(all, func(a, b Level) int { return cmp.Compare(a.Time, b.Time) })
	d.mu.Lock()
	err = errors.Join(err, d.takeLevels(all))
	d.mu.Unlock()
	if err != nil {
		d.log.Warn("another process works for this node and does not hand its levels over: what it has told is told again",
			"folder", filepath.Join(dir, base), "levels", len(all), "error", err)
		return
	}
	d.mu.Lock()
	d.inherited = true // also when there are none: nothing is open
	d.mu.Unlock()
	d.log.Info("another process works for this node: this one starts from its levels", "folder", d.folder, "levels", len(all))
}

// levelsOf asks one holder, again while it is only beginning, and returns what
// came until an error.
func levelsOf(ctx context.Context, folder string) ([]Level, error) {
	for c := NewControl(folder, nil); ; {
		levels, again, err := c.levels(ctx)
		if err == nil || !again && !nobodyListens(err) {
			return levels, err
		}
		if lock, lockErr := tryLock(folder); lockErr == nil {
			lock.Close()
			return nil, nil // it is gone: its levels are read with the other leftovers
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return levels, err
		}
	}
}
