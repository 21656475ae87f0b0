package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// How much of a body, and of another text that a client chose, a Request keeps.
const (
	bodyKept = 1024
	textKept = 256
)

// answer is what becomes of a call.
type answer struct {
	status     int // 0: none is given
	body       []byte
	retryAfter string
	allow      string
	reason     string
	fault      string
	drop       bool // status is 0: the connection is closed

	first      uint64 // event
	accepted   int
	duplicates int
	dropped    int
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	received := s.options.Now()
	buffer, _ := s.bodies.Get().(*bytes.Buffer)
	if buffer == nil {
		buffer = new(bytes.Buffer)
	}
	defer s.bodies.Put(buffer)
	c := readCall(r, buffer)
	a := s.handle(r.Context(), c)
	q := Request{
		Received: received, Took: s.options.Now().Sub(received),
		Method: keep(c.method), Path: keep(c.path), UserAgent: keep(r.UserAgent()),
		Bytes: c.size, Body: string(bytes.ToValidUTF8(c.body[:min(len(c.body), bodyKept)], nil)),
		AppKey: c.batch.appKey, Alerts: len(c.batch.items),
		Status: a.status, RetryAfter: a.retryAfter, Reason: keep(a.reason), Fault: a.fault,
		Accepted: a.accepted, Duplicates: a.duplicates, Dropped: a.dropped, FirstEvent: a.first,
	}
	// Before the answer, so that a client that has it finds the record there.
	s.record.answered(&q)
	if s.options.OnRequest != nil {
		defer s.options.OnRequest(q)
	}
	switch {
	case a.drop:
		drop(w)
	case a.status != 0:
		a.write(w)
	}
}

// keep cuts a text to what a Request keeps of it.
func keep(text string) string {
	if len(text) <= textKept {
		return text
	}
	return strings.ToValidUTF8(text[:textKept], "") + "…"
}

// handle does to a call what the faults in force say, and what they leave.
func (s *Server) handle(ctx context.Context, c call) answer {
	for {
		st := s.faults.next(c.body, len(c.batch.items), s.options.Now())
		if st.Latency > 0 {
			switch s.pause(ctx, st.Latency, st.lifted) {
			case pauseLifted:
				continue
			case pauseGone:
				return answer{reason: "the client went before the answer", fault: "latency"}
			}
		}
		if st.key == "" {
			return s.take(c, st.Faults)
		}
		var taken answer
		if st.Accept {
			taken = s.take(c, st.Faults)
		}
		a := st.answer()
		switch {
		case st.Hang:
			gone := s.pause(ctx, -1, st.lifted) == pauseGone
			if !gone && st.Accept {
				return taken
			}
			if !gone {
				continue
			}
			a = answer{reason: "the client went before the answer"}
		case st.Drop:
			a = answer{reason: "the connection was dropped", drop: true}
		}
		a.fault = st.key
		a.first, a.accepted, a.duplicates, a.dropped = taken.first, taken.accepted, taken.duplicates, taken.dropped
		return a
	}
}

// pause is the function pause, counted in Stats.
func (s *Server) pause(ctx context.Context, d time.Duration, lifted <-chan struct{}) pauseEnd {
	s.record.waiting(1)
	defer s.record.waiting(-1)
	return pause(ctx, d, lifted)
}

// take is the Alerts API as documented: it judges a call and takes its alerts.
func (s *Server) take(c call, f Faults) answer {
	if c.path != Path && c.path != OIMPath {
		return refuse(http.StatusNotFound, "no such path: the Alerts API is at "+Path+", the Open Integration Manager at "+OIMPath)
	}
	if c.method != http.MethodPost {
		a := refuse(http.StatusMethodNotAllowed, "the method is "+c.method+", not POST")
		a.allow = http.MethodPost
		return a
	}
	token := f.Token
	if token == "" {
		token = s.options.Token
	}
	given, reason := c.token()
	if reason == "" && token != "" && given != token {
		reason = "the token is wrong"
	}
	if reason != "" {
		return refuse(http.StatusUnauthorized, reason)
	}
	// The documentation has no 415: what is wrong with a header is a 400.
	if t, _, err := mime.ParseMediaType(c.header.Get("Content-Type")); err != nil || t != "application/json" {
		return refuse(http.StatusBadRequest, "Content-Type is not application/json")
	}
	if e := c.header.Get("Content-Encoding"); e != "" && e != "identity" && !(f.Gzip && isGzip(c.header)) {
		return refuse(http.StatusBadRequest, "Content-Encoding is set, and compressed bodies are not documented")
	}
	switch {
	case errors.Is(c.readErr, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "the body did not come within "+s.bodyTimeout.String())
	case c.readErr != nil:
		return refuse(http.StatusBadRequest, "the body ended early, or is not what Content-Encoding says")
	case len(c.body) > maxBody:
		return refuse(http.StatusRequestEntityTooLarge, bigReason)
	case c.batch.err != "":
		return refuse(http.StatusBadRequest, c.batch.err)
	case s.appKeys != nil && !s.appKeys[c.batch.appKey]:
		return refuse(http.StatusNotFound, "no integration has this app_key")
	}
	return s.takeItems(c.batch, f)
}

// takeItems takes the good alerts of a batch, unless a bad one has it refused.
func (s *Server) takeItems(b batch, f Faults) answer {
	var good []item
	dropped, bad, reason := 0, 0, ""
	for i, it := range b.items {
		why := it.refused
		if why == "" && f.Strict {
			why = reasonOf(objectFields(string(it.Payload)), outcomeUnsure)
		}
		if why == "" {
			good = append(good, it)
			if it.Dropped != "" {
				dropped++
			}
			continue
		}
		if bad++; bad == 1 && len(b.items) > 1 {
			why = fmt.Sprintf("alert %d of %d: %s", i+1, len(b.items), why)
		}
		reason = cmp.Or(reason, why)
	}
	if bad > 0 && (!f.Partial || len(good) == 0) {
		return refuse(http.StatusBadRequest, reason)
	}
	a := answer{status: http.StatusCreated, reason: reason, accepted: len(good), dropped: dropped}
	a.first, a.duplicates = s.record.take(good, s.options.Now())
	switch {
	case bad > 0:
		a.body = errorBody(map[string]any{"status": "created", "accepted": len(good), "refused": bad, "error": reason})
	case a.duplicates == len(good):
		a.status = http.StatusNoContent
	default:
		a.body = []byte(`{"status":"created"}` + "\n")
	}
	return a
}

func refuse(status int, reason string) answer { return answer{status: status, reason: reason} }

// write sends the answer.
func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	setHeaders(h) // a fault's body may be HTML, which must not run as the console's
	for name, value := range map[string]string{"Allow": a.allow, "Retry-After": a.retryAfter} {
		if value != "" {
			h.Set(name, value)
		}
	}
	body := a.body
	if len(body) == 0 && a.status >= 300 && a.status != http.StatusNotModified {
		body = errorBody(map[string]any{"error": a.reason})
	}
	if len(body) > 0 {
		h.Set("Content-Type", contentType(body))
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(a.status)
	w.Write(body) // an error is the client's loss; the record stands
}

func contentType(body []byte) string {
	switch {
	case body[0] == '<':
		return "text/html; charset=utf-8"
	case json.Valid(body):
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

func errorBody(v map[string]any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic("sandbox: " + err.Error())
	}
	return append(body, '\n')
}

// drop closes the connection. One that cannot be taken over (HTTP/2) is
// aborted by the server in answer to the panic, which it does not log.
func drop(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	connection.Close()
}
