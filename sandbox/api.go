package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// How much of a body, and of another text that a client chose, a Request keeps,
// and of how many alerts the names.
const (
	bodyKept    = 1024
	textKept    = 256
	carriedKept = 3
)

const goneReason = "the client went before the answer"

// answer is what becomes of a call.
type answer struct {
	Request // what the record gets of it; Status is 0 where no answer is given
	body    []byte
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	received := s.now()
	c := readCall(w, r)
	a := s.handle(c)
	q := a.Request
	q.Received, q.Took = received, s.now().Sub(received)
	q.Method, q.Path, q.UserAgent, q.Reason = keep(c.Method), keep(c.URL.Path), keep(r.UserAgent()), keep(a.Reason)
	q.Bytes, q.Body = c.size, string(bytes.ToValidUTF8(c.body[:min(len(c.body), bodyKept)], nil))
	q.AppKey, q.Alerts, q.Carried = c.batch.appKey, len(c.batch.items), carried(c.batch.items)
	// Before the answer, so that a client that has it finds the record there.
	s.record.answered(&q)
	if s.options.OnRequest != nil {
		defer s.options.OnRequest(q)
	}
	switch {
	case a.Fault == "drop":
		panic(http.ErrAbortHandler) // by which net/http closes the connection, and says nothing
	case a.Status != 0:
		a.write(w)
	}
}

// carried names the first alerts of a request, by what came.
func carried(items []item) (named []Carried) {
	for _, it := range items[:min(len(items), carriedKept)] {
		fields := objectFields(it.raw)
		c := Carried{Title: keep(strings.Clone(titleOf(fields)))}
		if status := valueOf(fields, "status").Str; slices.Contains(statuses, status) {
			c.Status = strings.Clone(status)
		}
		named = append(named, c)
	}
	return named
}

// keep cuts a text to what a Request keeps of it.
func keep(text string) string { return cut(text, textKept) }

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// handle does to a call what the faults in force say, and what they leave.
func (s *Server) handle(c call) answer {
	ctx := c.Context()
	for {
		st := s.faults.next(c.body, len(c.batch.items), s.now())
		if st.Latency > 0 {
			over := s.pause(ctx, st.Latency, st.lifted)
			if ctx.Err() != nil {
				return answer{Request: Request{Reason: goneReason, Fault: "latency"}}
			}
			if !over {
				continue
			}
		}
		if st.key == "" {
			return s.take(c, st.Faults)
		}
		var taken answer
		if st.Accept {
			taken = s.take(c, st.Faults)
		}
		q := taken.Request
		q.Fault = st.key
		switch {
		case st.Hang:
			if s.pause(ctx, -1, st.lifted); ctx.Err() != nil {
				q.Status, q.Reason = 0, goneReason
				return answer{Request: q}
			}
			if st.Accept {
				return taken
			}
			continue
		case st.Drop:
			q.Status, q.Reason = 0, "the connection was dropped"
			return answer{Request: q}
		}
		q.Status, q.Reason = cmp.Or(st.Status, 200), fmt.Sprintf("the fault %q%s", st.key, st.limit)
		if st.RetryAfter > 0 {
			q.RetryAfter = fmt.Sprint(int64(math.Ceil(st.RetryAfter.Seconds())))
		}
		return answer{Request: q, body: []byte(st.Body)}
	}
}

// pause waits for d, or without end if d is negative. over is false where lifted
// was closed or the client went before. Stats counts who waits.
func (s *Server) pause(ctx context.Context, d time.Duration, lifted <-chan struct{}) (over bool) {
	s.record.waiting(1)
	defer s.record.waiting(-1)
	var timeout <-chan time.Time
	if d >= 0 {
		timeout = time.After(d)
	}
	select {
	case <-timeout:
		return true
	case <-lifted:
	case <-ctx.Done():
	}
	return false
}

// take is the Alerts API as documented: it judges a call and takes its alerts.
func (s *Server) take(c call, f Faults) answer {
	if c.URL.Path != Path && c.URL.Path != OIMPath {
		return refuse(http.StatusNotFound, "no such path: the Alerts API is at "+Path+", the Open Integration Manager at "+OIMPath)
	}
	if c.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "the method is "+c.Method+", not POST")
	}
	token := cmp.Or(f.Token, s.options.Token)
	given, reason := c.token()
	if reason == "" && token != "" && given != token {
		reason = "the token is wrong"
	}
	if reason != "" {
		return refuse(http.StatusUnauthorized, reason)
	}
	// The documentation has no 415: what is wrong with a header is a 400.
	if t, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return refuse(http.StatusBadRequest, "Content-Type is not application/json")
	}
	if e := c.Header.Get("Content-Encoding"); e != "" && e != "identity" && !(f.Gzip && c.isGzip()) {
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
	case len(s.options.AppKeys) > 0 && !slices.Contains(s.options.AppKeys, c.batch.appKey):
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
	a := answer{Request: Request{Status: http.StatusCreated, Reason: reason, Accepted: len(good), Dropped: dropped}}
	a.FirstEvent, a.Duplicates = s.record.take(good, s.now())
	switch {
	case bad > 0:
		a.body = marshal(map[string]any{"status": "created", "accepted": len(good), "refused": bad, "error": reason})
	case a.Duplicates == len(good):
		a.Status = http.StatusNoContent
	default:
		a.body = []byte(`{"status":"created"}` + "\n")
	}
	return a
}

func refuse(status int, reason string) answer {
	return answer{Request: Request{Status: status, Reason: reason}}
}

// write sends the answer.
func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	setHeaders(h) // a fault's body may be HTML, which must not run as the console's
	if a.RetryAfter != "" {
		h.Set("Retry-After", a.RetryAfter)
	}
	if a.Status == http.StatusMethodNotAllowed {
		h.Set("Allow", http.MethodPost)
	}
	body := a.body
	if len(body) == 0 && a.Status >= 300 && a.Status != http.StatusNotModified {
		body = marshal(map[string]any{"error": a.Reason})
	}
	if json.Valid(body) { // what else there may be, net/http knows by how it begins
		h.Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.Status)
	w.Write(body) // an error is the client's loss; the record has it
}
