package sandbox

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// maxPages is how many pages are told of changes at once. A browser opens
	// no more than six connections to one address.
	maxPages = 32
	// liveStep is how much time passes at least between two updates to a page:
	// what happens meanwhile goes in one. A person sees no delay in it.
	liveStep = 50 * time.Millisecond
	// livePatience is how long a page may take to read an update, the first of which
	// may have megabytes. After that it is cut off; when it comes back it is told what
	// it has missed.
	livePatience = 30 * time.Second
	// liveRequests is how many requests are in one update at most, the newest.
	// The numbers show that some are missing.
	liveRequests = 200
)

// cursor is how far a page has been told of things. It is what the browser
// sends back, as Last-Event-ID, when it has lost its connection.
type cursor struct {
	life                 uint64 // of the record
	event, request, gone uint64
}

func (c cursor) String() string {
	return fmt.Sprintf("%d-%d-%d-%d", c.life, c.event, c.request, c.gone)
}

// readCursor returns the zero value, which is nobody's, for what is none.
func readCursor(text string) (c cursor) {
	if _, err := fmt.Sscanf(text, "%d-%d-%d-%d", &c.life, &c.event, &c.request, &c.gone); err != nil {
		return cursor{}
	}
	return c
}

// update is what a page is told.
type update struct {
	// Reset: forget all that was told before.
	Reset bool `json:"reset,omitempty"`
	// Incidents are new or have changed; Gone are the ids of those that are
	// no longer kept.
	Incidents []Incident `json:"incidents,omitempty"`
	Gone      []uint64   `json:"gone,omitempty"`
	Requests  []Request  `json:"requests,omitempty"` // without their bodies
	Stats     Stats      `json:"stats"`
	Faults    Faults     `json:"faults"`
	// KeepIncidents is how many are kept at most. NeedsToken: not every token
	// is accepted.
	KeepIncidents int  `json:"keep_incidents"`
	NeedsToken    bool `json:"needs_token"`
	Demo          bool `json:"demo,omitempty"` // see Options
}

// updateSince returns what has changed after c, the cursor after that, and a
// channel that is closed when there is more.
func (s *Server) updateSince(c cursor) (update, cursor, <-chan struct{}) {
	faults := s.Faults()
	r := &s.record
	r.mu.Lock()
	defer r.mu.Unlock()
	now := cursor{r.life, r.events.added, r.requests.added, r.incidents.gone.added}
	u := update{Stats: r.copyStats(), Faults: faults, KeepIncidents: r.incidents.keep, NeedsToken: s.options.Token != "" || faults.Token != "", Demo: s.options.Demo}
	if missed := now.gone - c.gone; c.life != now.life || missed > uint64(len(r.incidents.gone.kept)) {
		c = cursor{}
		u.Reset = true
	} else {
		u.Gone = r.incidents.gone.after(c.gone, 0)
	}
	u.Incidents = r.incidents.after(c.event, 0)
	u.Requests = r.requests.after(max(c.request, now.request-min(now.request, liveRequests)), 0)
	for i := range u.Requests {
		u.Requests[i].Body = ""
	}
	return u, now, r.changed
}

// serveLive tells a page of changes, as server-sent events, until it goes, is
// too slow, or the Server is closed. Nothing is queued for it: each update is
// what has changed since the last, so that a slow page costs nothing but its
// connection.
func (s *Server) serveLive(w http.ResponseWriter, r *http.Request) {
	defer s.pages.Add(-1)
	if s.pages.Add(1) > maxPages {
		fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d pages are open already: close some", maxPages))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	at := readCursor(r.Header.Get("Last-Event-ID"))
	out := http.NewResponseController(w)
	fmt.Fprint(w, "retry: 500\n\n")
	for {
		u, next, changed := s.updateSince(at)
		// Where there is no connection, there is no deadline to set.
		_ = out.SetWriteDeadline(time.Now().Add(livePatience))
		if _, err := fmt.Fprintf(w, "id: %s\ndata: %s\n", next, marshal(u)); err != nil || out.Flush() != nil {
			return // the page has gone, or takes too long
		}
		at = next
		time.Sleep(liveStep)
		select {
		case <-changed:
		case <-s.faults.closed.Done():
			return
		case <-r.Context().Done():
			return
		}
	}
}
