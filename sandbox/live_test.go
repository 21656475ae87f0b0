package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// feed is a page that is told of changes.
type feed struct {
	t     *testing.T
	body  io.ReadCloser
	lines *bufio.Scanner
	id    string // of the last update
}

func (s *sandbox) open(lastID string) *feed {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", s.url+"/live", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", lastID)
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 64<<20)
	return &feed{t: s.t, body: res.Body, lines: lines}
}

// next returns the next update.
func (f *feed) next() (u update) {
	f.t.Helper()
	for f.lines.Scan() {
		line := f.lines.Text()
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			f.id = id
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(data), &u); err != nil {
			f.t.Fatal(err)
		}
		return u
	}
	f.t.Fatalf("the stream ended: %v", f.lines.Err())
	return u
}

// until reads updates until one is as wanted.
func (f *feed) until(cond func(update) bool) update {
	f.t.Helper()
	for {
		if u := f.next(); cond(u) {
			return u
		}
	}
}

func titles(u update) string {
	var all []string
	for _, c := range u.Incidents {
		all = append(all, c.Title+" "+c.Status)
	}
	return strings.Join(all, ", ")
}

func TestLive(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Token: testToken})
	s.record.incidents.init(3)
	s.post(alert("a", "critical", 1), 201)
	f := s.open("")
	u := f.next()
	if !u.Reset || titles(u) != "a critical" || len(u.Requests) != 1 || u.Requests[0].Body != "" || u.Stats.Events != 1 || u.KeepIncidents != 3 || !u.NeedsToken {
		t.Errorf("the first: %+v", u)
	}
	s.post(alert("b", "warning", 2), 201)
	if u = f.until(func(u update) bool { return len(u.Incidents) > 0 }); u.Reset || titles(u) != "b warning" {
		t.Errorf("a new one: %+v", u)
	}
	s.post(alert("a", "ok", 3), 201)
	if u = f.until(func(u update) bool { return len(u.Incidents) > 0 }); titles(u) != "a ok" {
		t.Errorf("a change: %+v", u)
	}
	s.setFaults(Faults{Status: 503, Token: testToken})
	if u = f.until(func(u update) bool { return u.Faults.Status != 0 }); u.Faults.Status != 503 || u.Faults.Token != tokenShown {
		t.Errorf("faults: %+v", u)
	}
	s.post(alert("a", "ok", 3), 503)
	if u = f.until(func(u update) bool { return len(u.Requests) > 0 && u.Requests[0].Status == 503 }); u.Requests[0].Fault != "status" {
		t.Errorf("a request: %+v", u)
	}
	s.setFaults(Faults{})
	s.post(`{"app_key":"k","alerts":[{"status":"critical","host":"c"},{"status":"critical","host":"d"}]}`, 201)
	if u = f.until(func(u update) bool { return len(u.Gone) > 0 }); fmt.Sprint(u.Gone) != "[1]" || titles(u) != "c critical, d critical" {
		t.Errorf("one too many: %+v", u)
	}
	s.Reset()
	if u = f.until(func(u update) bool { return u.Reset }); len(u.Incidents) != 0 || u.Stats.Events != 0 {
		t.Errorf("after Reset: %+v", u)
	}
	s.Close()
	if f.lines.Scan(); f.lines.Err() != nil {
		t.Errorf("Close cuts the page off: %v", f.lines.Err())
	}
}

// A page that comes back is told what it has missed; one that cannot know what
// it has missed begins anew.
func TestLiveResumes(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.record.incidents.init(5)
	s.post(alert("a", "critical", 1), 201)
	s.post(alert("b", "critical", 1), 201)
	f := s.open("")
	f.next()
	f.body.Close()
	s.post(alert("b", "ok", 2), 201)
	f = s.open(f.id)
	if u := f.next(); u.Reset || titles(u) != "b ok" || len(u.Requests) != 1 {
		t.Errorf("it has missed one: %+v", u)
	}
	f.body.Close()
	for i := range 6 { // as many go as there are to remember, and one more
		s.post(alert(fmt.Sprint("c", i), "critical", 3), 201)
	}
	here := f.id
	if u := s.open(here).next(); u.Reset || len(u.Gone) != 3 || len(u.Incidents) != 5 {
		t.Errorf("some went: %+v", u)
	}
	for i := range 6 {
		s.post(alert(fmt.Sprint("d", i), "critical", 3), 201)
	}
	if u := s.open(here).next(); !u.Reset || len(u.Gone) != 0 || len(u.Incidents) != 5 {
		t.Errorf("too many went: %+v", u)
	}
	for _, id := range []string{"nonsense", "1-1-1-1", "18446744073709551615-9-9-9"} {
		if u := s.open(id).next(); !u.Reset || len(u.Incidents) != 5 {
			t.Errorf("id %q: %+v", id, u)
		}
	}
	s.Reset()
	if u := s.open(here).next(); !u.Reset || len(u.Incidents) != 0 {
		t.Errorf("after Reset: %+v", u)
	}
}

func TestLiveIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for i := range 30 {
		s.post(manyHosts(i*100, 100), 201)
	}
	for range 2 * liveRequests {
		s.call("POST", Path, alert("host-0", "critical", 1))
	}
	u := s.open("").next()
	if len(u.Incidents) != 3000 || len(u.Requests) != liveRequests || u.Requests[liveRequests-1].Seq != uint64(u.Stats.Requests) {
		t.Errorf("%d incidents, %d requests, the last is %d of %d", len(u.Incidents), len(u.Requests), u.Requests[len(u.Requests)-1].Seq, u.Stats.Requests)
	}
	s = start(t, Options{}) // of which a page costs less
	for range maxPages {
		s.open("").next()
	}
	got := s.call("GET", "/live", "")
	if got.status != 503 || !strings.Contains(got.body, "close some") {
		t.Errorf("one page too many: %+v", got)
	}
}

func manyHosts(from, n int) string {
	var list []string
	for i := from; i < from+n; i++ {
		list = append(list, fmt.Sprintf(`{"status":"critical","host":"host-%d"}`, i))
	}
	return `{"app_key":"k","alerts":[` + strings.Join(list, ",") + `]}`
}

// stuck is a connection that takes nothing once its time is up.
type stuck struct {
	http.ResponseWriter
	deadlines int
}

func (w *stuck) SetWriteDeadline(time.Time) error { w.deadlines++; return nil }
func (w *stuck) Flush()                           {}
func (w *stuck) Write([]byte) (int, error) {
	if w.deadlines > 0 {
		return 0, &net.OpError{Op: "write", Err: context.DeadlineExceeded}
	}
	return 0, nil
}

// A page that does not read is cut off: there is a deadline on each write.
func TestLiveSlowPage(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	w := &stuck{ResponseWriter: httptest.NewRecorder()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serveLive(w, httptest.NewRequest("GET", "/live", nil))
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it is not cut off")
	}
	if w.deadlines != 1 || s.pages.Load() != 0 {
		t.Errorf("%d deadlines, %d pages", w.deadlines, s.pages.Load())
	}
}
