// Package powerloss holds the outbox to its promises when the power goes.
//
// A killed process proves nothing about fsync: what it wrote is in the
// kernel's hands. So the file operations of a process that works on outboxes
// are recorded, under strace, in one row with what it was promised; each round
// replays them up to some point, makes up what a disk may hold when the power
// goes there, and opens that.
package powerloss

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/test"
)

var (
	rounds = flag.Int("rounds", test.Volume(60, 20), "losses of power per trace")
	seed   = flag.Uint64("seed", 1, "of the losses")
	only   = flag.Int("round", -1, "only this one of the rounds")
)

// TestPowerLoss loses the power at random moments (P4, P5).
func TestPowerLoss(t *testing.T) {
	t.Run("recorded now", func(t *testing.T) { survives(t, record(t)) })
	t.Run("kept", func(t *testing.T) { survives(t, readKept(t)) })
}

func survives(t *testing.T, ops []op) {
	r := run(t, ops, *rounds, *rounds)
	t.Log(r)
	for _, f := range r.failures[:min(5, len(r.failures))] {
		t.Error(f)
	}
}

// TestPowerLossIsNoticed shows that the rounds find what they are there to
// find: each case plants a bug in the kept trace.
func TestPowerLossIsNoticed(t *testing.T) {
	ops := readKept(t)
	isSync := func(o op) bool { return o.call == "sync" || o.call == "datasync" }
	third := 0
	compacted, named := false, make(map[string]bool)
	tests := []struct {
		name    string
		without func(op) bool
	}{
		{"no sync at all", isSync},
		{"no sync of data", func(o op) bool { return o.call == "datasync" }},
		{"a third of the syncs of data are left out", func(o op) bool {
			third++
			return o.call == "datasync" && third%3 == 0
		}},
		{"no sync of folders", func(o op) bool { return isSync(o) && !strings.Contains(o.path, ".db") }},
		{"no sync of folders from the first compaction on", func(o op) bool {
			compacted = compacted || o.call == "rename" && named[o.to]
			named[o.to] = true
			return compacted && isSync(o) && !strings.Contains(o.path, ".db")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var planted []op
			gone := make([]int, 1, len(ops)+1) // how many are left out before each
			for _, o := range ops {
				left := gone[len(gone)-1]
				if tt.without(o) {
					gone = append(gone, left+1)
					continue
				}
				o.since -= gone[o.since]
				planted = append(planted, o)
				gone = append(gone, left)
			}
			if len(planted) == len(ops) {
				t.Fatal("nothing was left out")
			}
			r := run(t, planted, 150, 1)
			if len(r.failures) == 0 {
				t.Fatalf("nothing was found: %v", r)
			}
			t.Logf("%v; the first: %v", r, r.failures[0])
		})
	}
}

// A result is what came of some rounds.
type result struct {
	rounds, promises int
	verdict
	failures []error
	took     time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%d losses of power, %d failures; %d promises kept, %d changes came back, %d of them had been acknowledged; %.1f s",
		r.rounds, len(r.failures), r.promises, r.changes, r.again, r.took.Seconds())
}

// run loses the power in some rounds, each at a point of its own, until there
// are enough failures.
func run(t *testing.T, ops []op, rounds, enough int) (r result) {
	t.Helper()
	began := time.Now()
	type round struct {
		number, cut int
		random      *rand.Rand
	}
	var all []round
	for i := range rounds {
		random := rand.New(rand.NewPCG(*seed, uint64(i)))
		if cut := random.IntN(len(ops) + 1); *only < 0 || *only == i {
			all = append(all, round{i, cut, random})
		}
	}
	slices.SortFunc(all, func(a, b round) int { return a.cut - b.cut })
	d := newDisk()
	var said []string
	for _, round := range all {
		if len(r.failures) == enough {
			break
		}
		for d.seq < round.cut {
			o := ops[d.seq]
			if o.call == "say" {
				said = append(said, strings.TrimSpace(string(o.data)))
			}
			if err := d.apply(o); err != nil {
				t.Fatal(err)
			}
		}
		promises, err := readPromises(said)
		if err != nil {
			t.Fatal(err)
		}
		folder := scratch(t)
		how, err := d.lose(round.random, folder)
		if err != nil {
			t.Fatal(err)
		}
		v, err := check(folder, promises)
		if err != nil {
			r.failures = append(r.failures, fmt.Errorf("round %d, after %d of %d operations and %d promises, %s: %w",
				round.number, round.cut, len(ops), len(promises), how, err))
		}
		os.RemoveAll(folder)
		r.rounds++
		r.promises += len(promises)
		r.changes += v.changes
		r.again += v.again
	}
	r.took = time.Since(began)
	return r
}

// scratch is a folder in memory where there is such a thing: the syncs of what
// is only looked at take most of a round's time elsewhere.
func scratch(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "powerloss")
	if err != nil {
		folder, err = os.MkdirTemp("", "powerloss")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}
