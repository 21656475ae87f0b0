package sandbox

import (
	"cmp"
	"container/list"
	"slices"
	"time"
)

const (
	// keepIncidents is how many incidents are kept. With the history
	// of each, 10,000 take from 5 MB to 40 MB.
	keepIncidents = 10_000

	// keepChanges is how many changes of status an incident remembers, the
	// newest ones.
	keepChanges = 100

	// An alert flaps that changes more than flapChanges times in flapTime
	// (docs/status).
	flapChanges = 4
	flapTime    = int64(time.Hour / time.Second)
)

// Incident is an alert as BigPanda shows it to who looks at the screen: its
// events so far, told apart by the documented rules, under one title. It stays
// one incident when it is resolved and comes again.
type Incident struct {
	ID       uint64 `json:"id"` // the seq of its first event
	Key      string `json:"key"`
	AppKey   string `json:"app_key"`
	Title    string `json:"title"`
	Subtitle string `json:"subtitle,omitempty"`
	Status   string `json:"status"`
	// Timestamp, in Unix seconds, is the highest of its events, and Since that
	// of the event that brought the status.
	Timestamp int64 `json:"timestamp"`
	Since     int64 `json:"since"`
	// Events counts all its events, with duplicates and stale ones; Changes,
	// how often its status became another.
	Events  int `json:"events"`
	Changes int `json:"changes"`
	// FlappingUntil, in Unix seconds, is when it has changed four times or
	// less in an hour, if it does not change again; 0: it does not flap.
	FlappingUntil int64 `json:"flapping_until,omitempty"`
	// LastEvent is the seq of its last event, LastChange of the one that
	// brought the status.
	LastEvent  uint64 `json:"last_event"`
	LastChange uint64 `json:"last_change"`
}

// Change is a step of an incident's status.
type Change struct {
	At     int64  `json:"at"` // the event's timestamp
	Status string `json:"status"`
	Event  uint64 `json:"event"`
}

// incident is an Incident with what only its own page shows.
type incident struct {
	Incident
	shown   uint64     // the seq of the last event that counts: its tags are shown
	changes []Change   // the first status and the changes, oldest first
	in      *list.List // one of the two of incidents
	element *list.Element
}

// incidents are bounded: of those that are over keep or keepBytes, the resolved one goes
// that has been quiet for longest; when none is resolved, the open one.
//
//	resolved  oldest ◀── … ──▶ newest     by last event: what changed after
//	open      oldest ◀── … ──▶ newest     event N is at the right ends
type incidents struct {
	keep     int
	byKey    map[string]*incident
	byID     map[uint64]*incident
	open     list.List    // of *incident
	resolved list.List    // of *incident
	gone     ring[uint64] // ids that were given up
	dropped  int          // how many, since the last clear

	bytes, keepBytes int // the weights of all, and how much they may be
}

func (c *incident) weight() int { return len(c.Key) + len(c.Title) + len(c.Subtitle) }

func (m *incidents) init(keep int) {
	m.keep, m.gone.keep, m.keepBytes = keep, keep, keepBytes/4
	m.clear()
}

func (m *incidents) clear() {
	m.byKey, m.byID = make(map[string]*incident), make(map[uint64]*incident)
	m.open.Init()
	m.resolved.Init()
	m.gone.clear()
	m.dropped, m.bytes = 0, 0
}

// enter adds an event to the incident of its alert, and tells whether the event
// is stale.
func (m *incidents) enter(e *Event) {
	c := m.byKey[e.Key]
	if c == nil {
		c = &incident{Incident: Incident{ID: e.Seq, Key: e.Key, AppKey: e.AppKey}}
		m.byKey[c.Key], m.byID[c.ID] = c, c
	} else {
		m.bytes -= c.weight()
		e.Stale = !e.Duplicate && e.Timestamp <= c.Timestamp
	}
	e.before, c.LastEvent = c.LastEvent, e.Seq
	if c.Events++; c.Events == 1 || !e.Duplicate && !e.Stale {
		c.shown = e.Seq
		c.Title, c.Subtitle, c.Timestamp = e.Title, e.Subtitle, e.Timestamp
		if c.Status != e.Status {
			c.change(Change{e.Timestamp, e.Status, e.Seq})
		}
	}
	m.bytes += c.weight()
	m.toEnd(c)
	for len(m.byKey) > 1 && (len(m.byKey) > m.keep || m.bytes > m.keepBytes) {
		m.giveUpOne()
	}
}

func (c *incident) change(step Change) {
	if c.Status != "" {
		c.Changes++
	}
	c.Status, c.Since, c.LastChange = step.Status, step.At, step.Event
	if len(c.changes) == keepChanges {
		c.changes = slices.Delete(c.changes, 0, 1)
	}
	c.changes = append(c.changes, step)
	c.FlappingUntil = 0
	if c.Changes > flapChanges {
		first := c.changes[len(c.changes)-1-flapChanges]
		if until := first.At + flapTime; until >= step.At {
			c.FlappingUntil = until
		}
	}
}

// toEnd puts an incident at the end of the list of its status.
func (m *incidents) toEnd(c *incident) {
	to := &m.open
	if c.Status == "ok" {
		to = &m.resolved
	}
	if c.in != nil {
		c.in.Remove(c.element)
	}
	c.in, c.element = to, to.PushBack(c)
}

func (m *incidents) giveUpOne() {
	from := &m.resolved
	if from.Len() == 0 {
		from = &m.open
	}
	c := from.Remove(from.Front()).(*incident)
	delete(m.byKey, c.Key)
	delete(m.byID, c.ID)
	m.bytes -= c.weight()
	m.gone.add(c.ID)
	m.dropped++
}

// after returns the incidents with an event after that of seq, in the order of
// their last events, at most limit of them; 0: all.
func (m *incidents) after(seq uint64, limit int) []Incident {
	var found []Incident
	for _, l := range []*list.List{&m.open, &m.resolved} {
		for e := l.Back(); e != nil; e = e.Prev() {
			c := e.Value.(*incident)
			if c.LastEvent <= seq {
				break
			}
			found = append(found, c.Incident)
		}
	}
	slices.SortFunc(found, func(a, b Incident) int { return cmp.Compare(a.LastEvent, b.LastEvent) })
	return found[:min(cmp.Or(limit, len(found)), len(found))]
}
