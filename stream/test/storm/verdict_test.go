package storm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A verdict is what became of the changes of a run, or of all runs of a row.
type verdict struct {
	runs       int
	accepted   int // changes whose points came back
	delivered  int // of them, those that BigPanda has taken
	dead       int // those that it refuses, and that are dead letters
	expired    int // those that MaxAge has removed before they were delivered
	lost       int // all other ones
	duplicates int // alerts that were taken again
	disordered int // first deliveries that came after a later one of their alert
	beyond     int // requests that came too early for the rate
	gap        time.Duration
	rate       float64 // alerts in a second, from the first accepted to the last delivered
	problems   []string
}

const header = "row                             runs accepted delivered  dead expired lost duplicates out of order beyond rate longest gap   alerts/s"

func (v verdict) row(name string) string {
	return fmt.Sprintf("%-31s %4d %8d %9d %5d %7d %4d %10d %12d %11d %10.1fs %10.0f",
		name, v.runs, v.accepted, v.delivered, v.dead, v.expired, v.lost, v.duplicates, v.disordered, v.beyond, v.gap.Seconds(), v.rate)
}

// add adds a run to those of a row: sums, the longest gap, the mean rate.
func (v *verdict) add(run verdict) {
	v.rate = (v.rate*float64(v.runs) + run.rate) / float64(v.runs+1)
	v.runs++
	v.accepted += run.accepted
	v.delivered += run.delivered
	v.dead += run.dead
	v.expired += run.expired
	v.lost += run.lost
	v.duplicates += run.duplicates
	v.disordered += run.disordered
	v.beyond += run.beyond
	v.gap = max(v.gap, run.gap)
	v.problems = append(v.problems, run.problems...)
}

func (v *verdict) problem(format string, args ...any) {
	if len(v.problems) < 10 {
		v.problems = append(v.problems, fmt.Sprintf(format, args...))
	}
}

// judge holds what BigPanda has taken against what was accepted.
func (s *storm) judge() verdict {
	v := verdict{runs: 1}
	accepted := make(map[change]time.Time)
	var began time.Time
	for _, n := range s.nodes {
		for c, at := range n.echoes() {
			if earlier, ok := accepted[c]; !ok || at.Before(earlier) {
				accepted[c] = at
			}
			if began.IsZero() || at.Before(began) {
				began = at
			}
		}
	}
	v.accepted = len(accepted)

	s.api.mu.Lock()
	requests := slices.Clone(s.api.requests)
	s.api.mu.Unlock()
	newest := make(map[string]int)
	delivered := make(map[change]bool)
	var last, first time.Time
	for _, q := range requests {
		if !q.isTaken() {
			continue
		}
		if first.IsZero() {
			first = q.answered
		} else {
			v.gap = max(v.gap, q.answered.Sub(last))
		}
		last = q.answered
		for _, c := range q.changes {
			switch before := newest[c.host]; {
			case delivered[c]:
				v.duplicates++
				continue
			case c.seq < before:
				v.disordered++
				v.problem("%s: change %d came at %s, after change %d", c.host, c.seq, clock(q.answered), before)
			}
			delivered[c] = true
			newest[c.host] = max(newest[c.host], c.seq)
		}
	}
	for c := range delivered {
		if _, ok := accepted[c]; ok {
			v.delivered++
		}
	}
	for c, at := range accepted {
		switch {
		case delivered[c]:
		case strings.HasPrefix(c.host, badPrefix):
			v.dead++
		default:
			v.lost++
			v.problem("%s: change %d, accepted at %s, never came", c.host, c.seq, clock(at))
		}
	}
	v.expired = min(s.expired, v.lost)
	v.lost -= v.expired
	if took := last.Sub(began); took > 0 {
		v.rate = float64(v.delivered) / took.Seconds()
	}
	v.beyond = beyond(requests, s.rate)
	return v
}

// beyond counts the requests that came in a second which had as many as the rate allows.
// A request that was held up on its way may come beside the next: two are let pass.
func beyond(requests []*request, perSecond int) (n int) {
	if perSecond == 0 {
		return 0
	}
	var came []time.Time
	for _, q := range requests {
		came = append(came, q.came)
	}
	slices.SortFunc(came, time.Time.Compare)
	for i := range came {
		if first := i - perSecond - 2; first >= 0 && came[i].Sub(came[first]) < time.Second {
			n++
		}
	}
	return n
}

func clock(t time.Time) string { return t.UTC().Format("04:05.000") }

// check fails a test for what must not be (P4, P5). Alerts may come twice where the row
// says so, and where a deliverer did: a lease could not be renewed in time, as on a machine
// with far too much to do, and requests are broken off; or NATS was away when what was
// delivered was to be written down, and another one had the lease after it.
func (v verdict) check(t *testing.T, r row, saysTwice bool) {
	t.Helper()
	if v.accepted == 0 {
		t.Error("nothing was accepted")
	}
	if v.lost+v.disordered+v.beyond > 0 || v.duplicates > 0 && !r.repeats && !saysTwice {
		t.Errorf("lost %d, out of order %d, beyond the rate %d, duplicates %d:\n%s", v.lost, v.disordered, v.beyond, v.duplicates, strings.Join(v.problems, "\n"))
	}
	if v.dead != r.dead*v.runs {
		t.Errorf("%d dead letters in %d runs, want %d in each", v.dead, v.runs, r.dead)
	}
}
