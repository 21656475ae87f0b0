package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
)

// How many alerts an answer about an incident or a request shows, unless it is
// asked for another number, and at most.
const (
	shownAlerts    = 50
	maxShownAlerts = 1000
	// maxShownBytes is how large the payloads of an incident's events may be
	// together; one is always shown.
	maxShownBytes = 1 << 20
)

// Shown is an alert for somebody to look at.
type Shown struct {
	*Event           // none if the alert was refused
	Text   string    `json:"text"` // the payload as indented JSON
	Issues []Problem `json:"problems"`
}

// Tag is a property of an alert as BigPanda shows it.
type Tag struct {
	Name   string   `json:"name"`
	Values []string `json:"values"` // the items of an array, else the one value
}

// IncidentPage is what GET /incidents/ID answers.
type IncidentPage struct {
	Incident
	Timeline []Change `json:"timeline"` // oldest first; the first is where it begins
	Tags     []Tag    `json:"tags"`     // of the event that brought it where it is
	// Alerts are its events, newest first. Older ones are to be had with
	// ?before=Before; 0: there are none, or they are no longer kept.
	Alerts []Shown `json:"alert_list"`
	Before uint64  `json:"before,omitempty"`
}

// RequestPage is what GET /requests/SEQ answers.
type RequestPage struct {
	Request
	Issues []Problem `json:"problems"` // of the request as a whole
	// Alerts are those it held, in its order: the accepted ones as far as
	// they are kept, at most 1,000; of a refused request, those that can be
	// read in the beginning of the body.
	Alerts []Shown `json:"alert_list"`
}

// number returns the one of a path, and for what is none, one that nothing has.
func number(r *http.Request) uint64 {
	seq, _ := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	return seq
}

func (s *Server) getIncident(w http.ResponseWriter, r *http.Request) {
	before, limit, ok := queryNumbers(w, r, "before")
	if !ok {
		return
	}
	page, shown, events, ok := s.record.incidentPage(number(r), before, int(min(cmp.Or(limit, shownAlerts), maxShownAlerts)))
	if !ok {
		fail(w, http.StatusNotFound, errors.New("no such incident: /incidents lists those that are kept"))
		return
	}
	page.Tags = []Tag{}
	for _, f := range objectFields(string(shown)) {
		page.Tags = append(page.Tags, Tag{f.name, shownItems(f.Result)})
	}
	page.Alerts = showEvents(events)
	writeJSON(w, page)
}

// incidentPage returns what is known of an incident, the payload of the event
// that it shows, and its events before the one of seq before, newest first.
func (r *record) incidentPage(id, before uint64, limit int) (page IncidentPage, shown Payload, events []Event, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.incidents.byID[id]
	if c == nil {
		return page, "", nil, false
	}
	page.Incident, page.Timeline = c.Incident, slices.Clone(c.changes)
	if e, kept := r.events.at(c.shown); kept {
		shown = e.Payload
	}
	size := 0
	for e, kept := r.events.at(c.LastEvent); kept; e, kept = r.events.at(e.before) {
		if n := len(events); n == limit || n > 0 && size+len(e.Payload) > maxShownBytes {
			page.Before = events[n-1].Seq
			break
		}
		if before == 0 || e.Seq < before {
			events = append(events, e)
			size += len(e.Payload)
		}
	}
	return page, shown, events, true
}

func (s *Server) getRequest(w http.ResponseWriter, r *http.Request) {
	q, events, ok := s.record.requestPage(number(r))
	if !ok {
		fail(w, http.StatusNotFound, errors.New("no such request: /requests lists those that are kept"))
		return
	}
	page := RequestPage{Request: q, Issues: []Problem{}, Alerts: showEvents(events)}
	if q.Bytes > maxBody {
		page.Issues = append(page.Issues, Problem{"size", "", bigReason, outcomeRefused, "reference/alerts"})
	}
	if q.Accepted == 0 && q.Bytes <= len(q.Body) {
		page.Alerts = showBody(q.Body, q.AppKey)
	}
	writeJSON(w, page)
}

// requestPage returns a request and the events that came of it.
func (r *record) requestPage(seq uint64) (q Request, events []Event, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q, ok = r.requests.at(seq); ok && q.Accepted > 0 {
		events = r.events.after(q.FirstEvent-1, min(q.Accepted, maxShownAlerts))
	}
	isOther := func(e Event) bool { return e.Seq >= q.FirstEvent+uint64(q.Accepted) }
	return q, slices.DeleteFunc(events, isOther), ok
}

// showEvents adds to each event what the documentation has against it.
func showEvents(events []Event) []Shown {
	shown := make([]Shown, len(events))
	for i := range events {
		e := &events[i]
		shown[i] = Shown{e, indent(string(e.Payload)), problemsOf(objectFields(string(e.Payload)))}
		if e.Duplicate {
			shown[i].Issues = append(shown[i].Issues, Problem{"duplicate", "", "it is identical to an earlier one as a whole", "ignored", "docs/deduplication"})
		}
		if e.Stale {
			shown[i].Issues = append(shown[i].Issues, Problem{"stale", "timestamp", "its timestamp is not later than the last one of its incident", "may be ignored", "docs/deduplication"})
		}
	}
	return shown
}

// showBody reads the alerts of a body that was refused, with the app key of its
// request.
func showBody(body, appKey string) []Shown {
	shown := []Shown{}
	b := readBatch([]byte(body), appKey)
	for _, it := range b.items {
		s := Shown{Text: indent(it.raw), Issues: []Problem{}}
		if it.raw[0] == '{' {
			s.Issues = problemsOf(withAppKey(objectFields(it.raw), b.key))
		}
		isRefused := func(p Problem) bool { return p.Outcome == outcomeRefused }
		if it.refused != "" && !slices.ContainsFunc(s.Issues, isRefused) {
			s.Issues = append(s.Issues, Problem{"alert", "", it.refused, outcomeRefused, "reference/alerts"})
		}
		shown = append(shown, s)
	}
	return shown
}

// indent writes JSON for people; numbers stay as they were written.
func indent(data string) string {
	var out bytes.Buffer
	must(json.Indent(&out, []byte(data), "", "  ")) // it was read before
	return out.String()
}
