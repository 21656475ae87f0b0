package udf

import (
	"html"
	"strings"
	"time"
)

// An AlertEvent is what an alert node of Kapacitor found, as its post handler sends
// it (Kapacitor, alert/types.go, Data): unlike a point it says by itself what its
// level is. Neither its task nor its group is in it.
type AlertEvent struct {
	ID, Message string
	Details     string // an HTML template of Kapacitor's has made it
	Time        time.Time
	Duration    time.Duration // since the incident began, which is 0
	Level       Level
	Previous    Level // of the topic's event before it with this id

	Name   string            // of the measurement; empty for several together
	Tags   map[string]string // of its series
	Fields map[string]any    // each a string, a bool, a Whole or a Fraction
}

// Event takes an alert event. The change that it makes is in the store when it returns
// (P4). Nothing about an event may end the process (P1).
func (h *Handler) Event(a AlertEvent) {
	if h.store == nil {
		return
	}
	h.lock()
	defer h.mu.Unlock()
	h.takeEvent(a)
	h.commit()
}

func (h *Handler) takeEvent(a AlertEvent) {
	defer h.survive("handling an event failed: it makes no alert; please report this")
	h.counts.Points++
	h.arrived()
	e := event{level: a.Level, duration: a.Duration, incident: a.Level != OK && (a.Previous == OK || a.Duration == 0)}
	e.time, e.ahead = h.date(a.Time.UnixNano())
	h.state.saw(e.time)
	if !h.mayChange(&e) {
		return
	}
	// A topic keeps its state by the id alone.
	e.id = []byte(a.ID)
	if h.decide(&e) {
		h.alert(&e, content{name: a.Name, tags: a.Tags, fields: a.Fields, host: a.Tags["host"], message: a.Message, details: a.Details})
	}
}

// postedDetails are the details of an event as a property: Kapacitor's own handler
// undoes the escapes of their HTML, and leaves out what begins like the JSON that they
// are unless the alert node says otherwise (services/bigpanda/service.go).
func postedDetails(details string) string {
	if text := html.UnescapeString(details); !strings.HasPrefix(text, "{") {
		return text
	}
	return ""
}
