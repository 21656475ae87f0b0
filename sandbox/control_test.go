package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestIndex(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	got := s.call("GET", "/", "")
	if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
		t.Errorf("%+v", got)
	}
	for _, word := range []string{Path, "/faults", "/events", "/requests", "/alerts", "retry_after"} {
		if !strings.Contains(got.body, word) {
			t.Errorf("%s is not named in\n%s", word, got.body)
		}
	}
}

func TestControlErrors(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, test := range []struct {
		method, path, body string
		want               int
		reason             string
	}{
		{"GET", "/nowhere", "", 404, "no such path"},
		{"POST", "/", "", 404, "no such path"},
		{"POST", "/faults", "{}", 405, "GET, PUT, DELETE"},
		{"PUT", "/events", "{}", 405, "GET, DELETE"},
		{"POST", "/requests", "", 405, "GET"},
		{"DELETE", "/alerts", "", 405, "GET"},
		{"PUT", "/faults", `{"statu":1}`, 400, `did you mean \"status\"?`},
		{"PUT", "/faults", `{"token":"(set)"}`, 400, "none is set"},
		{"PUT", "/faults", strings.Repeat(" ", maxFaultsBody+1), 400, "too large"},
		{"GET", "/events?since=x", "", 400, `since=\"x\"`},
		{"GET", "/requests?limit=-1", "", 400, `limit=\"-1\"`},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			got := s.call(test.method, test.path, test.body)
			var answer struct{ Error string }
			if got.status != test.want || !strings.Contains(got.body, test.reason) {
				t.Errorf("%d %s, want %d with %s", got.status, got.body, test.want, test.reason)
			}
			if err := json.Unmarshal([]byte(got.body), &answer); err != nil || answer.Error == "" {
				t.Errorf("%s: %v", got.body, err)
			}
			if (got.header.Get("Allow") != "") != (test.want == 405) {
				t.Errorf("Allow: %q", got.header.Get("Allow"))
			}
		})
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	steps := []struct{ method, body, want string }{
		{"GET", "", `{}`},
		{"PUT", `{"status":503,"retry_after":2,"token":"t"}`, `{"status":503,"retry_after":"2s","token":"(set)"}`},
		{"PUT", `{"status":500,"token":"(set)"}`, `{"status":500,"token":"(set)"}`},
		{"GET", "", `{"status":500,"token":"(set)"}`},
		{"DELETE", "", `{}`},
		{"GET", "", `{}`},
	}
	for i, step := range steps {
		got := s.call(step.method, "/faults", step.body)
		if got.status != 200 || !sameJSON(t, got.body, step.want) {
			t.Errorf("%s: %d %s, want %s", step.method, got.status, got.body, step.want)
		}
		if i == 2 && s.Faults() != (Faults{Status: 500, Token: "t"}) {
			t.Errorf("%+v", s.Faults())
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	decode(t, []byte(a), &x)
	decode(t, []byte(b), &y)
	return reflect.DeepEqual(x, y)
}

// What HTTP gives out is what Go gives out.
func TestLists(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Keep: 5000})
	s.now = fixed(1000)
	for _, path := range []string{"/events", "/requests", "/alerts"} {
		if got := s.call("GET", path, ""); strings.Join(strings.Fields(got.body), "") != "[]" {
			t.Errorf("empty %s: %q", path, got.body)
		}
	}
	for i := range 25 {
		s.post(string(batchBody(i, 100)), 201)
	}
	s.post(`nonsense <&>`, 400)
	var events []Event
	var requests []Request
	var alerts []Incident
	for path, v := range map[string]any{"/events": &events, "/requests": &requests, "/alerts": &alerts} {
		got := s.call("GET", path, "")
		decode(t, []byte(got.body), v)
		if got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: content type %q", path, got.header.Get("Content-Type"))
		}
	}
	want := s.Events()
	if len(events) != 2500 || len(events) != len(want) {
		t.Fatalf("%d events, want %d", len(events), len(want))
	}
	for i, e := range events {
		if !e.Received.Equal(want[i].Received) {
			t.Fatalf("received %v, want %v", e.Received, want[i].Received)
		}
		e.Received, e.before = want[i].Received, want[i].before
		if e != want[i] {
			t.Fatalf("event %+v\nwant  %+v", e, want[i])
		}
	}
	if len(requests) != 26 || requests[25].Reason != s.lastRequest().Reason || len(alerts) != 100 || alerts[7].Events != 25 {
		t.Errorf("%d requests, %d alerts, %+v", len(requests), len(alerts), alerts[7])
	}
	for query, want := range map[string][2]uint64{
		"since=2400": {2401, 2500}, "since=10&limit=3": {11, 13}, "limit=1500": {1, 1500}, "since=100&limit=2000": {101, 2100},
	} {
		var part []Event
		decode(t, []byte(s.call("GET", "/events?"+query, "").body), &part)
		if part[0].Seq != want[0] || part[len(part)-1].Seq != want[1] || len(part) != int(want[1]-want[0]+1) {
			t.Errorf("%s: %d to %d", query, part[0].Seq, part[len(part)-1].Seq)
		}
	}
	if got := s.call("DELETE", "/events", ""); got.status != 204 || len(s.Events()) != 0 {
		t.Errorf("DELETE /events: %+v", got)
	}
}

// A web page of another origin can neither look in nor reach in.
func TestGuard(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Hosts: []string{"Sandbox.example"}})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	own := "127.0.0.1:" + port
	for _, test := range []struct {
		name, method, host string
		header             [2]string
		want               int
	}{
		{"by address", "GET", own, [2]string{}, 200},
		{"as localhost", "GET", "localhost:" + port, [2]string{}, 200},
		{"as IPv6 loopback", "GET", "[::1]:" + port, [2]string{}, 200},
		{"under a name that it was told", "GET", "sandbox.example", [2]string{}, 200},
		{"under another name (DNS rebinding)", "GET", "evil.example:" + port, [2]string{}, 403},
		{"under a name that begins alike", "GET", "localhost.evil.example", [2]string{}, 403},
		{"under another address", "GET", "192.0.2.1:" + port, [2]string{}, 403},
		{"change, no browser", "DELETE", own, [2]string{}, 200},
		{"change, own page", "DELETE", own, [2]string{"Origin", "http://" + own}, 200},
		{"change, another origin", "DELETE", own, [2]string{"Origin", "http://evil.example"}, 403},
		{"change, another port", "DELETE", own, [2]string{"Origin", "http://127.0.0.1:1"}, 403},
		{"change, no origin to tell", "DELETE", own, [2]string{"Origin", "null"}, 403},
		{"change, cross-site", "DELETE", own, [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"change, same origin", "DELETE", own, [2]string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"change, under another name", "DELETE", "evil.example", [2]string{"Origin", "http://evil.example"}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := s.do(test.method, "/faults", "", func(r *http.Request) {
				r.Host = test.host
				if test.header[0] != "" {
					r.Header.Set(test.header[0], test.header[1])
				}
			})
			if err != nil || got.status != test.want {
				t.Errorf("%d %s, %v; want %d", got.status, got.body, err, test.want)
			}
		})
	}
}

// Nor can it add alerts by leading a name of its own to this machine, or fill the
// record.
func TestGuardOfTheAPI(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Hosts: []string{"Sandbox.example"}})
	for host, want := range map[string]int{
		"": 201, "localhost": 201, "[::1]:8089": 201, "sandbox.example:8089": 201,
		"evil.example": 403, "evil.example:8089": 403, "192.0.2.1": 403,
	} {
		before := s.Stats().Requests
		got, err := s.do("POST", Path, `{"app_key":"k","status":"ok","host":"`+host+`"}`, func(r *http.Request) {
			if host != "" {
				r.Host = host
			}
		})
		if err != nil || got.status != want {
			t.Errorf("host %q: %d %s, %v; want %d", host, got.status, got.body, err, want)
		}
		if want == 403 && (s.Stats().Requests != before || !strings.Contains(got.body, "Host header")) {
			t.Errorf("host %q: it is in the record, or the reason is not said: %s", host, got.body)
		}
	}
}

// The address that the connection came in on serves as a name, also when the
// sandbox listens on all of them.
func TestGuardListenAddress(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for host, want := range map[string]int{"192.0.2.7:8089": 200, "192.0.2.8:8089": 403, "": 403} {
		local := &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 8089}
		for _, path := range []string{"/faults", Path} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(local))))
			if want == 200 && path == Path {
				want = 405 // as the API says to a GET
			}
			if w.Code != want {
				t.Errorf("%s of host %q: %d, want %d", path, host, w.Code, want)
			}
		}
	}
}

func ExampleServer() {
	s := New(Options{Token: "secret"})
	server := httptest.NewServer(s)
	defer server.Close()
	defer s.Close()

	s.SetFaults(Faults{Status: 503, Count: 1})
	for range 2 {
		r, _ := http.NewRequest("POST", server.URL+Path, strings.NewReader(`{"app_key":"k","status":"ok","host":"web01"}`))
		r.Header.Set("Authorization", "Bearer secret")
		r.Header.Set("Content-Type", "application/json")
		if res, err := server.Client().Do(r); err == nil {
			res.Body.Close()
			fmt.Println(res.StatusCode)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.WaitFor(ctx, func(stats Stats) bool { return stats.Events == 1 })
	fmt.Println(err, s.Events()[0].Payload.Text("host"))
	// Output:
	// 503
	// 201
	// <nil> web01
}
