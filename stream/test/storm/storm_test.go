// Package storm holds the suite of many nodes, NATS servers and deliverers, which it has
// fail in every way there is, to ask what became of each change then. `make storm-ha`
// runs it at length and prints the table of docs/.
package storm

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/stream/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

var (
	runs = flag.Int("storm.runs", 1, "how often each row of TestStorm is run")
	full = flag.Bool("storm.full", false, "rows of TestStorm are as long as the table says, in place of a few seconds")
	only = flag.String("storm.row", "", "run only the rows of TestStorm whose names contain this")
)

// A size is how much a run does.
type size struct {
	series, of int // changes as fast as they go: of so many series, so many of each
	pace       int // changes a second, else
	calm       time.Duration
	outage     time.Duration // how long a server is down, or a node cut off
	down       time.Duration // how long all of NATS is
	behind     time.Duration // how far a node is
	ttl        time.Duration // of the lease
}

var (
	short = size{series: 200, of: 10, pace: 200, calm: time.Second, outage: 2 * time.Second, down: 3 * time.Second, behind: 3 * time.Second, ttl: 2 * time.Second}
	long  = size{series: 2000, of: 10, pace: 500, calm: 5 * time.Second, outage: 10 * time.Second, down: 30 * time.Second, behind: 2 * time.Minute, ttl: 5 * time.Second}
)

// A row is one kind of failure.
type row struct {
	name     string
	servers  int
	alone    bool // nothing else runs meanwhile: its speed is measured
	repeats  bool // alerts may come twice: a deliverer dies, or an answer is lost
	rate     int
	dead     int // dead letters that are expected
	settings []string
	run      func(*storm)
}

func TestStorm(t *testing.T) {
	z := short
	if *full {
		z = long
	}
	var mu sync.Mutex
	table := make(map[string]*verdict)
	t.Run("rows", func(t *testing.T) {
		for _, r := range rows {
			if !strings.Contains(r.name, *only) {
				continue
			}
			table[r.name] = &verdict{}
			for n := range *runs {
				t.Run(fmt.Sprintf("%s/%d", r.name, n+1), func(t *testing.T) {
					if !r.alone {
						t.Parallel()
					}
					s := newStorm(t, r, z)
					r.run(s)
					s.settle()
					v := s.judge()
					v.check(t, r, s.saysTwice())
					t.Logf("\n%s\n%s", header, v.row(r.name))
					mu.Lock()
					defer mu.Unlock()
					table[r.name].add(v)
				})
			}
		}
	})
	var b strings.Builder
	for _, r := range rows {
		if v := table[r.name]; v != nil {
			fmt.Fprintln(&b, v.row(r.name))
		}
	}
	t.Logf("\n%s\n%s", header, b.String())
}
