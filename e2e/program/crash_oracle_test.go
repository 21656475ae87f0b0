package program

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// A verdict is what became of all changes.
type verdict struct {
	passed, delivered, unsure  int
	lost, disordered, overtook int
	duplicates, unexplained    int
	wrongEnd                   int
	problems                   []string
}

const crashHeader = "kills lives    fed passed  unsure delivered lost duplicates unexplained disordered overtaken wrong end"

func (v verdict) row(c *crash) string {
	return fmt.Sprintf("%5d %5d %6d %6d %7d %9d %4d %10d %11d %10d %9d %9d",
		len(c.kills), c.lives, len(c.changes), v.passed, v.unsure, v.delivered, v.lost, v.duplicates, v.unexplained,
		v.disordered, v.overtook, v.wrongEnd)
}

func (v *verdict) addProblem(format string, args ...any) {
	if len(v.problems) < 10 {
		v.problems = append(v.problems, fmt.Sprintf(format, args...))
	}
}

// An arrival is a change at BigPanda.
type arrival struct {
	event    sandbox.Event
	answered bool // well, and in good time
	// from the begin of the request until the alert was taken
	begin, end time.Time
}

// judge holds what came against what was fed.
func (c *crash) judge() verdict {
	events, requests := c.api.Events(), c.api.Requests()
	for _, e := range events[len(c.seqs):] {
		seq, _ := strconv.Atoi(e.Payload.Text("seq"))
		c.seqs = append(c.seqs, seq)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var v verdict
	arrivals := make(map[int][]arrival)
	newest := make(map[*crashAlert]arrival)
	answers := answersOf(requests)
	for _, e := range events {
		seq := c.seqOf(e)
		if seq < 1 || seq > len(c.changes) {
			v.addProblem("an alert that nobody fed: %s", e.Payload)
			continue
		}
		change := c.changes[seq-1]
		a := arrival{event: e, begin: e.Received, end: e.Received}
		if q, ok := answers(e.Seq); ok {
			a.begin = q.Received
			a.answered = q.Status/100 == 2 && q.Fault == "" && q.Took < crashTimeout/4
		}
		if earlier := arrivals[seq]; len(earlier) > 0 {
			v.duplicates++
			if !slices.ContainsFunc(earlier, func(b arrival) bool { return !b.answered || c.killedAt(b) }) {
				v.unexplained++
				q, _ := answers(earlier[0].event.Seq)
				v.addProblem("change %d of %s came again, %v later, without a reason: the first was answered %d after %v", seq, change.alert.host, e.Received.Sub(earlier[0].end), q.Status, q.Took)
			}
		} else if n, ok := newest[change.alert]; ok && c.wrongOrder(n.event, e) {
			if change.alert.overlaps {
				v.overtook++
			} else {
				v.disordered++
				v.addProblem("change %d of %s (%v, timestamp %d) came at %s, after %d (%v, timestamp %d) at %s", seq, change.alert.host, change, e.Timestamp,
					clock(e.Received), c.seqOf(n.event), c.changes[c.seqOf(n.event)-1], n.event.Timestamp, clock(n.end))
			}
		}
		arrivals[seq] = append(arrivals[seq], a)
		if n, ok := newest[change.alert]; !ok || c.seqOf(n.event) < seq {
			newest[change.alert] = a
		}
	}
	v.delivered = len(arrivals)
	shown := make(map[string]string)
	for _, a := range c.api.Alerts() {
		shown[a.Title] = a.Status
	}
	for _, a := range c.alerts {
		for i, change := range a.changes {
			if change.passed.IsZero() {
				continue
			}
			v.passed++
			if change.unsure {
				v.unsure++
			} else if !arrived(a.changes[:i+1], arrivals) {
				v.lost++
				v.addProblem("lost: change %d of %s to %s, passed on at %s", change.seq, a.host, change.level, change.passed.Format(time.StampMilli))
			}
		}
		if n := len(a.changes); n > 0 && shown[a.host] != statusOf(a.changes[n-1].level) {
			v.wrongEnd++
			v.addProblem("%s is shown as %s and is %s", a.host, shown[a.host], a.changes[n-1].level)
		}
	}
	return v
}

// arrived reports whether BigPanda knows the last of an alert's changes. If it
// is not known what the program held when the point came, it may have held this
// very level: then another change that brought it there must have come. So it is
// with one that was sure to be taken and brought nothing new.
func arrived(changes []*crashChange, arrivals map[int][]arrival) bool {
	last := changes[len(changes)-1]
	for i := len(changes) - 1; i >= 0; i-- {
		if changes[i].level == last.level && len(arrivals[changes[i].seq]) > 0 {
			return true
		}
		if i < len(changes)-1 && changes[i].sure() {
			return changes[i].level == last.level && arrived(changes[:i+1], arrivals)
		}
	}
	return false
}

// wrongOrder reports whether an event should have come before another of its
// alert, or BigPanda takes it for one that should. The timestamp of a change
// that was lost with the memory of a process is not known to the next.
func (c *crash) wrongOrder(before, e sandbox.Event) bool {
	sure := c.changes[c.seqOf(before)-1].sure()
	return c.seqOf(e) < c.seqOf(before) || sure && e.Timestamp <= before.Timestamp
}

// killedAt reports whether a process was killed while it had a request under
// way (which may be read only after that), or before it can be asked to have
// taken note of the answer.
func (c *crash) killedAt(a arrival) bool {
	return slices.ContainsFunc(c.kills, func(kill time.Time) bool {
		return kill.After(a.begin.Add(-time.Second)) && kill.Before(a.end.Add(time.Second))
	})
}

// answersOf returns a function that finds the request of an event, by its seq.
func answersOf(requests []sandbox.Request) func(seq uint64) (sandbox.Request, bool) {
	requests = slices.DeleteFunc(requests, func(q sandbox.Request) bool { return q.Accepted == 0 })
	slices.SortFunc(requests, func(a, b sandbox.Request) int { return int(a.FirstEvent) - int(b.FirstEvent) })
	return func(seq uint64) (sandbox.Request, bool) {
		i, found := slices.BinarySearchFunc(requests, seq, func(q sandbox.Request, seq uint64) int { return int(q.FirstEvent) - int(seq) })
		if !found {
			i--
		}
		if i < 0 || seq >= requests[i].FirstEvent+uint64(requests[i].Accepted) {
			return sandbox.Request{}, false
		}
		return requests[i], true
	}
}

// String says how far a change is known to have come.
func (c *crashChange) String() string {
	return fmt.Sprintf("%s fed %s, passed on %s, unsure %v", c.level, clock(c.fed), clock(c.passed), c.unsure)
}

func clock(t time.Time) string { return t.UTC().Format("04:05.000") }

// seqOf returns which change an event is of, 0 for none: events are counted from 1,
// and all of them are kept.
func (c *crash) seqOf(e sandbox.Event) int { return c.seqs[e.Seq-1] }

func statusOf(level string) string {
	if level == "INFO" {
		return "ok"
	}
	return strings.ToLower(level)
}

// check fails a test for what must not be. Alerts of two processes of one task
// and node may overtake one another (P5): BigPanda puts them in order.
func (v verdict) check(t *testing.T) {
	t.Helper()
	if v.lost+v.disordered+v.wrongEnd > 0 || v.unexplained > v.delivered/100+2 {
		t.Errorf("lost %d, out of order %d, wrong at the end %d, duplicates without a reason %d:\n%s",
			v.lost, v.disordered, v.wrongEnd, v.unexplained, strings.Join(v.problems, "\n"))
	} else if len(v.problems) > 0 {
		t.Log(strings.Join(v.problems, "\n"))
	}
}
