package sandbox

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const oneAlert = `{"app_key":"k","status":"ok","host":"h"}`

// What each fault that answers makes of a good request.
func TestFaultAnswers(t *testing.T) {
	t.Parallel()
	three := `{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"ok","host":"b"},{"status":"bad","host":"c"}]}`
	for _, test := range []struct {
		name        string
		faults      Faults
		body        string // oneAlert
		want        int
		retryAfter  string
		answer      string // contained in the body
		contentType string
		fault       string
		accepted    int
	}{
		{name: "status", faults: Faults{Status: 503}, want: 503, answer: `{"error":"the fault \"status\""}`, contentType: "application/json", fault: "status"},
		{name: "status of success takes nothing", faults: Faults{Status: 200}, want: 200, fault: "status"},
		{name: "status with Retry-After", faults: Faults{Status: 429, RetryAfter: 1500 * time.Millisecond}, want: 429, retryAfter: "2", fault: "status"},
		{name: "body of a proxy", faults: Faults{Body: "<html>log in</html>"}, want: 200, answer: "<html>log in</html>", contentType: "text/html; charset=utf-8", fault: "body"},
		{name: "status and body", faults: Faults{Status: 502, Body: "bad gateway"}, want: 502, answer: "bad gateway", contentType: "text/plain; charset=utf-8", fault: "status"},
		{name: "accept: only the answer is lost", faults: Faults{Status: 500, Accept: true}, want: 500, fault: "status", accepted: 1},
		{name: "another token", faults: Faults{Token: "only-this"}, want: 401, answer: "the token is wrong"},
		{name: "the right token", faults: Faults{Token: testToken}, want: 201, accepted: 1},
		{name: "too many alerts", faults: Faults{MaxAlerts: 2}, body: three, want: 413, answer: "more than 2 alerts", fault: "max_alerts"},
		{name: "too many alerts, with 400", faults: Faults{MaxAlerts: 2, Status: 400}, body: three, want: 400, fault: "max_alerts"},
		{name: "not too many alerts", faults: Faults{MaxAlerts: 1, Status: 400}, want: 201, accepted: 1},
		{name: "one bad of three", body: three, want: 400, answer: "alert 3 of 3"},
		{name: "partial: the good two", faults: Faults{Partial: true}, body: three, want: 201, answer: `"refused":1`, accepted: 2},
		{name: "partial: none is good", faults: Faults{Partial: true}, body: `{"app_key":"k","alerts":[{"host":"a"}]}`, want: 400, answer: "status is missing"},
		{name: "match", faults: Faults{Status: 400, Match: `"host":"h"`}, want: 400, fault: "status"},
		{name: "no match", faults: Faults{Status: 400, Match: "poison"}, want: 201, accepted: 1},
		{name: "latency", faults: Faults{Latency: time.Millisecond}, want: 201, accepted: 1},
		{name: "latency and status", faults: Faults{Latency: time.Millisecond, Status: 504}, want: 504, fault: "status"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{Token: testToken, Faults: test.faults})
			if test.body == "" {
				test.body = oneAlert
			}
			got := s.post(test.body, test.want)
			if got.header.Get("Retry-After") != test.retryAfter || !strings.Contains(got.body, test.answer) {
				t.Errorf("answer %+v", got)
			}
			if test.contentType != "" && got.header.Get("Content-Type") != test.contentType {
				t.Errorf("content type %q, want %q", got.header.Get("Content-Type"), test.contentType)
			}
			q := s.lastRequest()
			if q.Fault != test.fault || q.Accepted != test.accepted || len(s.Events()) != test.accepted || q.RetryAfter != test.retryAfter {
				t.Errorf("in the record: %+v and %d events", q, len(s.Events()))
			}
		})
	}
}

// BIGPANDA.md, unknown: "nulls, empty strings, floats, booleans; what happens
// to values over a limit".
func TestStrict(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, property, reason string }{
		{"a text", `"a":"x"`, ""},
		{"an integer", `"a":-3`, ""},
		{"an array", `"a":["x",2]`, ""},
		{"null", `"a":null`, "null: not a text"},
		{"a boolean", `"a":true`, "true: not a text"},
		{"a fraction", `"a":1.5`, "1.5: not a text"},
		{"an exponent", `"a":1e3`, "1e3: not a text"},
		{"empty", `"a":""`, `property \"a\" is empty`},
		{"null in an array", `"a":["x",null]`, "not a text"},
		{"512 characters", `"a":"` + strings.Repeat("é", 512) + `"`, ""},
		{"513 characters", `"a":"` + strings.Repeat("é", 513) + `"`, "513 characters, over 512"},
		{"a description of 2,048", `"description":"` + strings.Repeat(`\u00e9`, 2048) + `"`, ""},
		{"a description of 2,049", `"description":"` + strings.Repeat("x", 2049) + `"`, "2049 characters, over 2048"},
		{"an array of 30", `"a":[1` + strings.Repeat(",1", 29) + `]`, ""},
		{"an array of 31", `"a":[1` + strings.Repeat(",1", 30) + `]`, "31 items, over 30"},
		{"a reserved name", `"source_system":"x"`, "reserved"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{})
			body := `{"app_key":"k","status":"ok","host":"h",` + test.property + `}`
			s.post(body, 201)
			s.Reset()
			s.setFaults(Faults{Strict: true})
			want := 201
			if test.reason != "" {
				want = 400
			}
			if got := s.post(body, want); !strings.Contains(got.body, test.reason) {
				t.Errorf("reason %s, want %s", got.body, test.reason)
			}
		})
	}
}

func TestCountClearsItself(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.setFaults(Faults{Status: 503, Count: 2, Match: `"h"`})
	s.post(`{"app_key":"k","status":"ok","host":"other"}`, 201) // does not count
	s.post(oneAlert, 503)
	if f := s.Faults(); f.Count != 1 || f.Status != 503 {
		t.Errorf("after one of two: %+v", f)
	}
	s.post(oneAlert, 503)
	if f := s.Faults(); f != (Faults{}) {
		t.Errorf("after two of two: %+v", f)
	}
	s.post(oneAlert, 201)
}

func TestRate(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := start(t, Options{})
	s.now = func() time.Time { return now }
	s.setFaults(Faults{Rate: 2})
	s.post(oneAlert, 201)
	s.post(oneAlert, 204)
	if got := s.post(oneAlert, 429); got.header.Get("Retry-After") != "1" {
		t.Errorf("%+v", got)
	}
	now = now.Add(500 * time.Millisecond)
	s.post(oneAlert, 204)
	s.post(oneAlert, 429)
	s.setFaults(Faults{Rate: 0.1, NoRetryAfter: true})
	s.post(oneAlert, 204)
	if got := s.post(oneAlert, 429); got.header.Get("Retry-After") != "" {
		t.Errorf("%+v", got)
	}
	s.setFaults(Faults{Rate: 0.1})
	s.post(oneAlert, 204)
	if got := s.post(oneAlert, 429); got.header.Get("Retry-After") != "10" {
		t.Errorf("%+v", got)
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{false, true} {
		s := start(t, Options{Faults: Faults{Drop: true, Accept: accept, Count: 1}})
		// One that the client does not repeat by itself on a new connection.
		got, err := s.do("POST", Path, oneAlert, func(r *http.Request) { r.GetBody = nil })
		if err == nil {
			t.Fatalf("answered: %+v", got)
		}
		q := s.lastRequest()
		if q.Status != 0 || q.Fault != "drop" || (q.Accepted == 1) != accept || len(s.Events()) != q.Accepted {
			t.Errorf("accept %v: %+v", accept, q)
		}
	}
}

// A request hangs until the faults are others; then it goes on as though it
// came now.
func TestHangRelease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		faults  Faults
		release func(*sandbox)
		want    int
	}{
		{"cleared", Faults{Hang: true}, func(s *sandbox) { s.setFaults(Faults{}) }, 201},
		{"others", Faults{Hang: true}, func(s *sandbox) { s.setFaults(Faults{Status: 503}) }, 503},
		{"cleared over HTTP", Faults{Hang: true}, func(s *sandbox) { s.call("DELETE", "/faults", "") }, 201},
		{"reset", Faults{Hang: true}, func(s *sandbox) { s.Reset() }, 201},
		{"closed", Faults{Hang: true}, func(s *sandbox) { s.Close(); s.Close() }, 201},
		{"accepted before", Faults{Hang: true, Accept: true}, func(s *sandbox) { s.setFaults(Faults{Status: 503}) }, 201},
		{"the count does not release", Faults{Hang: true, Count: 1}, func(s *sandbox) {
			s.post(`{"app_key":"k","status":"ok","host":"other"}`, 201)
			if s.Stats().Waiting != 1 {
				t.Error("released by the count")
			}
			s.setFaults(Faults{})
		}, 201},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{Faults: test.faults})
			got := make(chan reply, 1)
			go func() {
				r, err := s.do("POST", Path, oneAlert, nil)
				if err != nil {
					t.Error(err)
				}
				got <- r
			}()
			s.waitFor(func(stats Stats) bool { return stats.Waiting == 1 })
			if n := s.Stats().Events; (n == 1) != test.faults.Accept {
				t.Errorf("%d events while it hangs", n)
			}
			test.release(s)
			if r := <-got; r.status != test.want {
				t.Errorf("status %d, want %d", r.status, test.want)
			}
			if s.Stats().Waiting != 0 {
				t.Error("hangs still")
			}
		})
	}
}

func TestHangUntilTheClientGoes(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Faults: Faults{Hang: true}})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := s.do("POST", Path, oneAlert, func(r *http.Request) { *r = *r.WithContext(ctx) })
		failed <- err
	}()
	s.waitFor(func(stats Stats) bool { return stats.Waiting == 1 })
	cancel()
	if err := <-failed; err == nil {
		t.Error("answered")
	}
	s.waitFor(func(stats Stats) bool { return stats.Requests == 1 && stats.Waiting == 0 })
	if q := s.lastRequest(); q.Status != 0 || q.Fault != "hang" || !strings.Contains(q.Reason, "client went") {
		t.Errorf("%+v", q)
	}
}

func TestCloseEndsHangsAndLatency(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Faults: Faults{Hang: true, Latency: time.Hour}})
	s.Close()
	s.post(oneAlert, 201)
	s.setFaults(Faults{Hang: true, Rate: 1})
	s.post(oneAlert, 204)
	s.post(oneAlert, 429)
}

func TestLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lifted := New(Options{}), make(chan struct{})
		began := time.Now()
		if over := s.pause(t.Context(), time.Minute, lifted); !over || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", over, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if over := s.pause(ctx, time.Minute, lifted); over || time.Since(began) != time.Minute+time.Second {
			t.Errorf("the client went: %v after %v", over, time.Since(began))
		}
		close(lifted)
		if over := s.pause(t.Context(), -1, lifted); over {
			t.Error("lifted, and over")
		}
	})
}

func TestLatencyIsLifted(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Faults: Faults{Latency: time.Hour, Count: 1}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if got, err := s.do("POST", Path, oneAlert, nil); err != nil || got.status != 201 {
			t.Errorf("%+v, %v", got, err)
		}
	}()
	s.waitFor(func(stats Stats) bool { return stats.Waiting == 1 })
	s.Reset()
	<-done
}
