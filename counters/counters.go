// Package counters is what is counted of one use of the function. What is counted
// belongs to whoever does it; the outbox of the use adds the parts up, keeps the sum
// over restarts, and gives it to those who ask.
package counters

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Levels are the indices of Input.Changes and Input.Active, in Kapacitor's order.
var Levels = [...]string{"ok", "info", "warning", "critical"}

// Input is counted of the points, by the handler.
type Input struct {
	Points       int `json:"points,omitempty"`
	NoLevel      int `json:"no_level,omitempty"`      // nothing says what their level is
	UnknownLevel int `json:"unknown_level,omitempty"` // a word that is no level
	TooOld       int `json:"too_old,omitempty"`       // changes older than .maxAge()
	Templates    int `json:"templates,omitempty"`     // that failed
	Panics       int `json:"panics,omitempty"`

	Changes [len(Levels)]int `json:"changes,omitzero"` // to each level
	// Active are the series that are not OK. It is no counter: it is the process's,
	// and not kept.
	Active [len(Levels)]int `json:"active,omitzero"`
}

// Output is counted of deliveries, by the sender.
type Output struct {
	Delivered  int `json:"delivered,omitempty"`  // alerts
	Duplicates int `json:"duplicates,omitempty"` // those of them that BigPanda had (204)
	Retries    int `json:"retries,omitempty"`    // alerts in requests that failed, and that are sent again
	// Requests by outcome: Accepted, or a bigpanda.Reason.
	Requests map[string]int `json:"requests,omitempty"`
	// Answered is how long requests took, whatever came of them.
	Answered Histogram `json:"answered,omitzero"`
}

// Accepted is the outcome of a request whose alerts BigPanda has.
const Accepted = "accepted"

// Queue is counted of changes, by the outbox.
type Queue struct {
	Dead    int `json:"dead,omitempty"`     // refused for good
	GivenUp int `json:"given_up,omitempty"` // intermediate ones, at the limit
	Expired int `json:"expired,omitempty"`  // too old for the stream before they were delivered
	// ToDurable is how long it took from when the function had the point to when the
	// change was on disk, and ToDelivered from there to BigPanda's answer.
	ToDurable   Histogram `json:"to_durable,omitzero"`
	ToDelivered Histogram `json:"to_delivered,omitzero"`
}

// Counters are all of them.
type Counters struct {
	Input
	Output
	Queue
}

// Add adds others. What others holds is not kept.
func (c *Counters) Add(others Counters) {
	c.Input.Add(others.Input)
	c.Output.Add(others.Output)
	c.Queue.Add(others.Queue)
}

// Add adds others.
func (c *Input) Add(others Input) {
	c.Points += others.Points
	c.NoLevel += others.NoLevel
	c.UnknownLevel += others.UnknownLevel
	c.TooOld += others.TooOld
	c.Templates += others.Templates
	c.Panics += others.Panics
	for level := range Levels {
		c.Changes[level] += others.Changes[level]
		c.Active[level] += others.Active[level]
	}
}

// Add adds others.
func (c *Output) Add(others Output) {
	c.Delivered += others.Delivered
	c.Duplicates += others.Duplicates
	c.Retries += others.Retries
	c.Requests = maps.Clone(c.Requests)
	for outcome, n := range others.Requests {
		if c.Requests == nil {
			c.Requests = make(map[string]int)
		}
		c.Requests[outcome] += n
	}
	c.Answered.Add(others.Answered)
}

// Add adds others.
func (c *Queue) Add(others Queue) {
	c.Dead += others.Dead
	c.GivenUp += others.GivenUp
	c.Expired += others.Expired
	c.ToDurable.Add(others.ToDurable)
	c.ToDelivered.Add(others.ToDelivered)
}

// Buckets are the upper bounds of those of a Histogram, in seconds: from an fsync to
// an outage. Histograms are kept by them: other ones need another name in the record.
var Buckets = [...]float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 3600}

// A Histogram counts times.
type Histogram struct {
	Counts [len(Buckets) + 1]int `json:"counts"` // by bucket, each by itself; the last is of what is longer
	Sum    float64               `json:"sum"`    // in seconds
}

// Observe counts a time. A clock that was set back makes it 0.
func (h *Histogram) Observe(d time.Duration) {
	seconds := max(0, d.Seconds())
	i, _ := slices.BinarySearchFunc(Buckets[:], seconds, cmp.Compare[float64])
	h.Counts[i]++
	h.Sum += seconds
}

// Add adds others.
func (h *Histogram) Add(others Histogram) {
	for i, n := range others.Counts {
		h.Counts[i] += n
	}
	h.Sum += others.Sum
}
