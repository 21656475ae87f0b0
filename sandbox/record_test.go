package sandbox

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// alert makes the body of one alert.
func alert(host, status string, timestamp int64) string {
	return fmt.Sprintf(`{"app_key":"k","status":%q,"host":%q,"timestamp":%d}`, status, host, timestamp)
}

// BIGPANDA.md: "201 created. 204 for an exact duplicate"; "A duplicate is a
// payload that is identical as a whole"; "Older pages are harsher: […] the
// later event is dropped".
func TestDuplicatesAndStale(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, step := range []struct {
		name             string
		body             string
		want             int
		duplicate, stale bool
	}{
		{"new", alert("a", "critical", 100), 201, false, false},
		{"the same", alert("a", "critical", 100), 204, true, false},
		{"the same in other words", ` {"timestamp":100, "status":"critical", "host":"\u0061", "app_key":"k"} `, 204, true, false},
		{"the same as a batch of one", `{"app_key":"k","alerts":[{"status":"critical","host":"a","timestamp":100}]}`, 204, true, false},
		{"another status in the same second", alert("a", "ok", 100), 201, false, true},
		{"later", alert("a", "ok", 101), 201, false, false},
		{"older than the newest", alert("a", "warning", 50), 201, false, true},
		{"another alert, older", alert("b", "warning", 50), 201, false, false},
		{"the same, when another was newer", alert("a", "critical", 100), 204, true, false},
	} {
		t.Run(step.name, func(t *testing.T) {
			reply := s.post(step.body, step.want)
			if step.want == 204 && reply.body != "" {
				t.Errorf("204 with a body: %s", reply.body)
			}
			events := s.Events()
			if e := events[len(events)-1]; e.Duplicate != step.duplicate || e.Stale != step.stale {
				t.Errorf("%+v", e)
			}
		})
	}
	want := []Incident{
		{ID: 1, Key: `["k","values","a",""]`, AppKey: "k", Title: "a", Status: "ok", Timestamp: 101, Since: 101, Events: 8, Changes: 1, LastEvent: 9, LastChange: 6},
		{ID: 8, Key: `["k","values","b",""]`, AppKey: "k", Title: "b", Status: "warning", Timestamp: 50, Since: 50, Events: 1, LastEvent: 8, LastChange: 8},
	}
	if got := s.Alerts(); !reflect.DeepEqual(got, want) {
		t.Errorf("alerts %+v\nwant   %+v", got, want)
	}
	stats := s.Stats()
	wantStats := Stats{Requests: 9, Statuses: map[int]int{201: 5, 204: 4}, Events: 9, Duplicates: 4, Stale: 2, Incidents: 2}
	if !reflect.DeepEqual(stats, wantStats) {
		t.Errorf("stats %+v\nwant  %+v", stats, wantStats)
	}
}

func TestPartlyDuplicateBatch(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.now = fixed(1000)
	s.post(`{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"ok","host":"a"}]}`, 201)
	s.post(`{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"ok","host":"b"}]}`, 201)
	s.post(`{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"ok","host":"b"}]}`, 204)
	var flags []bool
	for i, e := range s.Events() {
		flags = append(flags, e.Duplicate)
		if e.Seq != uint64(i+1) || e.Timestamp != 1000 || e.Received.Unix() != 1000 {
			t.Errorf("event %d: %+v", i+1, e)
		}
	}
	if want := []bool{false, true, true, false, true, true}; !reflect.DeepEqual(flags, want) {
		t.Errorf("duplicates %v, want %v", flags, want)
	}
	if q := s.lastRequest(); q.FirstEvent != 5 || q.Accepted != 2 || q.Duplicates != 2 {
		t.Errorf("%+v", q)
	}
}

// BIGPANDA.md: "None: the payload is dropped."
func TestDropped(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.post(`{"app_key":"k","status":"ok","check":"c"}`, 201)
	e := s.Events()[0]
	if !strings.Contains(e.Dropped, "primary property") || e.Key != "" || len(s.Alerts()) != 0 || s.Stats().Dropped != 1 {
		t.Errorf("%+v, alerts %v", e, s.Alerts())
	}
}

func TestKeepBoundsMemory(t *testing.T) {
	t.Parallel()
	const keep = 10
	s := start(t, Options{Keep: keep})
	for i := range 3 * keep {
		s.post(alert(fmt.Sprint("host", i), "critical", int64(i)), 201)
	}
	events, requests := s.Events(), s.Requests()
	if len(events) != keep || len(requests) != keep {
		t.Fatalf("%d events and %d requests, want %d", len(events), len(requests), keep)
	}
	if events[0].Title != "host20" || events[keep-1].Title != "host29" || events[0].Seq != 21 || requests[0].Seq != 21 {
		t.Errorf("kept are %+v to %+v", events[0], events[keep-1])
	}
	if n := len(s.record.seen); n != keep {
		t.Errorf("%d payloads hang on, want %d", n, keep)
	}
	if stats := s.Stats(); stats.Events != 3*keep || stats.Requests != 3*keep || stats.Incidents != 3*keep {
		t.Errorf("%+v", stats)
	}
	s.post(alert("host20", "critical", 20), 204) // kept until now, and again from now on
	s.post(alert("host0", "critical", 0), 201)   // forgotten
	for i := range keep - 2 {
		s.post(alert(fmt.Sprint("more", i), "ok", 0), 201)
	}
	s.post(alert("host20", "critical", 20), 204)
}

func TestReset(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.post(alert("a", "ok", 1), 201)
	s.setFaults(Faults{Status: 503, Match: "nothing"})
	s.Reset()
	if len(s.Events())+len(s.Requests())+len(s.Alerts()) != 0 || s.Faults() != (Faults{}) || s.Stats().Requests != 0 {
		t.Errorf("after Reset: %+v, %+v", s.Stats(), s.Faults())
	}
	s.post(alert("a", "ok", 1), 201)
	if e := s.Events()[0]; e.Seq != 2 || e.Duplicate {
		t.Errorf("after Reset: %+v", e)
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	r := ring[int]{keep: 3}
	for n := range 8 {
		if old, full := r.add(n + 1); full != (n >= 3) || full && old != n-2 {
			t.Errorf("add %d: %d, %v fell out", n+1, old, full)
		}
	}
	for _, test := range []struct {
		after uint64
		limit int
		want  []int
	}{
		{0, 0, []int{6, 7, 8}}, {5, 0, []int{6, 7, 8}}, {6, 0, []int{7, 8}}, {8, 0, nil}, {99, 0, nil}, {0, 2, []int{6, 7}}, {7, 2, []int{8}},
	} {
		if got := r.after(test.after, test.limit); !reflect.DeepEqual(got, test.want) {
			t.Errorf("after %d, limit %d: %v, want %v", test.after, test.limit, got, test.want)
		}
	}
}

// What was dropped by weight is gone as what fell out is, whatever came between.
func TestRingDrop(t *testing.T) {
	t.Parallel()
	for keep := 1; keep <= 5; keep++ {
		r := ring[int]{keep: keep}
		var want []int
		for n := range 200 {
			if n*n%7 < 3 {
				r.drop()
				want = want[min(1, len(want)):]
			}
			r.add(n + 1)
			want = append(want, n+1)
			want = want[max(0, len(want)-keep):]
			if got := r.after(0, 0); !reflect.DeepEqual(got, want) || cap(r.kept) > 2*keep {
				t.Fatalf("keep %d: %v, want %v", keep, got, want)
			}
			for i, v := range want {
				if got, ok := r.at(uint64(v)); !ok || got != v {
					t.Fatalf("keep %d: value %d is %d, %v", keep, i, got, ok)
				}
			}
			if _, ok := r.at(uint64(n + 1 - len(want))); ok {
				t.Fatalf("keep %d: what was dropped is there", keep)
			}
		}
	}
}

// Few alerts that are huge are too much as well as many that are small.
func TestHugeTextsAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.record.keepBytes, s.record.incidents.keepBytes = 100_000, 50_000
	for i := range 40 {
		s.post(fmt.Sprintf(`{"app_key":"k","status":"critical","host":"host-%d-%s","d":"%s"}`, i, strings.Repeat("x", 3000), strings.Repeat("y", 20_000)), 201)
		if r := &s.record; r.bytes > r.keepBytes || len(r.seen) != len(r.events.kept) {
			t.Fatalf("%d bytes, %d events, %d seen", r.bytes, len(r.events.kept), len(r.seen))
		}
		if m := &s.record.incidents; m.bytes > m.keepBytes || len(m.byKey) != len(m.byID) {
			t.Fatalf("%d bytes, %d incidents", m.bytes, len(m.byKey))
		}
	}
	if events, incidents := s.Events(), s.Incidents(); len(events) != 3 || events[2].Seq != 40 || len(incidents) != 8 || s.Stats().IncidentsDropped != 32 {
		t.Errorf("%d events, %d incidents, %+v", len(events), len(incidents), s.Stats())
	}
	s.Reset()
	if r := &s.record; r.bytes != 0 || r.incidents.bytes != 0 {
		t.Errorf("after Reset %d and %d bytes are left", r.bytes, r.incidents.bytes)
	}
	s.post(`{"app_key":"k","status":"ok","host":"`+strings.Repeat("z", 200_000)+`"}`, 201)
	if len(s.Events()) != 1 || len(s.Incidents()) != 1 {
		t.Error("one that is over the bound by itself is not kept")
	}
}

// An incident's page holds as much as can be looked at, and says where the rest is.
func TestHugeEventsComeInPages(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	huge := strings.Repeat("x", 400<<10)
	for i := range 5 {
		s.post(fmt.Sprintf(`{"app_key":"k","status":"ok","host":"h","n":%d,"timestamp":%[1]d,"d":%q}`, i+1, huge), 201)
	}
	var seqs []uint64
	for path := "/incidents/1"; path != ""; {
		var page IncidentPage
		decode(t, []byte(s.call("GET", path, "").body), &page)
		if len(page.Alerts) == 0 || len(page.Alerts) > 2 {
			t.Fatalf("%s shows %d events", path, len(page.Alerts))
		}
		for _, a := range page.Alerts {
			seqs = append(seqs, a.Seq)
		}
		if path = ""; page.Before > 0 {
			path = fmt.Sprintf("/incidents/1?before=%d", page.Before)
		}
	}
	if want := []uint64{5, 4, 3, 2, 1}; !reflect.DeepEqual(seqs, want) {
		t.Errorf("events %d, want %d", seqs, want)
	}
}

// What a client chose is not kept in full, in a request as in its events.
func TestHugeRequestTexts(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	name := strings.Repeat("é", 1<<20)
	s.post(fmt.Sprintf(`{"app_key":"k","status":"ok","host":"h",%q:{}}`, name), 400)
	if q := s.lastRequest(); len(q.Reason) > textKept+len("…") || !strings.HasSuffix(q.Reason, "é…") {
		t.Errorf("the reason has %d bytes", len(q.Reason))
	}
	s.call("GET", "/data/"+strings.Repeat("x", 9000), "")
	if q := s.lastRequest(); len(q.Path) > textKept+len("…") {
		t.Errorf("the path has %d bytes", len(q.Path))
	}
}

func TestWaitFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		asked := 0
		done := make(chan error)
		go func() {
			done <- s.WaitFor(t.Context(), func(stats Stats) bool {
				asked++
				return stats.Events == 2 && len(s.Events()) == 2
			})
		}()
		for want := 1; want <= 3; want++ {
			synctest.Wait()
			if asked != want {
				t.Errorf("asked %d times, want %d: once, and after each change", asked, want)
			}
			if want < 3 {
				s.record.take(readBatch([]byte(alert("a", "ok", int64(want))), "").items, time.Now())
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.WaitFor(ctx, func(stats Stats) bool { return stats.Events == 3 })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Events:2") {
			t.Errorf("with no change: %v", err)
		}
	})
}

// Many clients at once, with readers and changing faults: each alert is
// taken once, and events of one request are neighbours.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	const clients, posts, alerts = 8, 20, 5
	s := start(t, Options{})
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			s.call("GET", "/events?since=3&limit=20", "")
			s.Alerts()
			s.Requests()
			if err := s.SetFaults(Faults{Latency: time.Microsecond, Count: 3}); err != nil {
				t.Error(err)
			}
		}
	})
	for c := range clients {
		writers.Go(func() {
			for p := range posts {
				var list []string
				for a := range alerts {
					list = append(list, fmt.Sprintf(`{"status":"ok","host":"%d-%d-%d"}`, c, p, a))
				}
				got, err := s.do("POST", Path, `{"app_key":"k","alerts":[`+strings.Join(list, ",")+`]}`, nil)
				if err != nil || got.status != 201 {
					t.Errorf("post: %d, %v", got.status, err)
				}
			}
		})
	}
	s.waitFor(func(stats Stats) bool { return stats.Requests == clients*posts })
	writers.Wait()
	close(stop)
	readers.Wait()
	if stats := s.Stats(); stats.Incidents != clients*posts*alerts || stats.Events != stats.Incidents {
		t.Errorf("%+v", stats)
	}
	for _, q := range s.Requests() {
		prefix := ""
		for _, e := range s.Events()[q.FirstEvent-1:][:q.Accepted] {
			request := e.Title[:strings.LastIndexByte(e.Title, '-')]
			if prefix == "" {
				prefix = request
			}
			if request != prefix {
				t.Fatalf("events of %s among those of %s", request, prefix)
			}
		}
	}
}
