package sandbox

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// wide returns an alert of about n bytes.
func wide(n int) string {
	return `{"app_key":"k","status":"ok","host":"h","details":"` + strings.Repeat("x", n) + `"}`
}

// Each row cites the sentence of BIGPANDA.md that it holds the sandbox to, or
// "unknown", where the sandbox takes the harsher reading.
func TestAnswers(t *testing.T) {
	t.Parallel()
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			if r.Header.Del(name); value != "" {
				r.Header.Set(name, value)
			}
		}
	}
	// oim has the token and app key of a call in headers, "" for none.
	oim := func(token, key string) func(*http.Request) {
		return func(r *http.Request) {
			header("Authorization", "")(r)
			header("X-Auth-Token", token)(r)
			header("X-App-Key", key)(r)
		}
	}
	const keyless = `{"status":"critical","host":"web01"}`
	const good = `{"app_key":"k","status":"critical","host":"web01"}`
	for _, test := range []struct {
		name   string
		cite   string
		method string // POST
		path   string // Path
		body   string
		edit   func(*http.Request)
		want   int
		reason string // contained in the JSON of the answer
	}{
		{name: "one alert", cite: "an object with app_key, status and properties", body: good, want: 201},
		{name: "several alerts", cite: `{"app_key": …, "alerts": [ … ]}, app_key once`,
			body: `{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"critical","host":"b"}]}`, want: 201},
		{name: "several, app_key last", cite: `{"app_key": …, "alerts": [ … ]}`,
			body: `{"alerts":[{"status":"ok","host":"a"}],"app_key":"k"}`, want: 201},
		{name: "white space", cite: "Content-Type: application/json", body: " {\n\t\"app_key\" : \"k\" ,\r\n \"status\": \"ok\", \"host\" :\"h\" } ", want: 201},
		{name: "status ok", cite: "status: ok, critical, warning, unknown, acknowledged", body: `{"app_key":"k","status":"ok","host":"h"}`, want: 201},
		{name: "status warning", cite: "status: ok, critical, warning, unknown, acknowledged", body: `{"app_key":"k","status":"warning","host":"h"}`, want: 201},
		{name: "status unknown", cite: "status: ok, critical, warning, unknown, acknowledged", body: `{"app_key":"k","status":"unknown","host":"h"}`, want: 201},
		{name: "status acknowledged", cite: "status: ok, critical, warning, unknown, acknowledged", body: `{"app_key":"k","status":"acknowledged","host":"h"}`, want: 201},
		{name: "status in upper case", cite: "in lower case", body: `{"app_key":"k","status":"OK","host":"h"}`, want: 400, reason: `status \"OK\" is none of`},
		{name: "status of another word", cite: "status: ok, critical, …", body: `{"app_key":"k","status":"info","host":"h"}`, want: 400, reason: "none of ok"},
		{name: "status a number", cite: "status: ok, critical, …", body: `{"app_key":"k","status":1,"host":"h"}`, want: 400, reason: "status 1 is none of"},
		{name: "no status", cite: "an object with app_key, status and properties", body: `{"app_key":"k","host":"h"}`, want: 400, reason: "status is missing"},
		{name: "no app_key", cite: "an object with app_key, status and properties", body: `{"status":"ok","host":"h"}`, want: 400, reason: "app_key is missing"},
		{name: "empty app_key", cite: "unknown: empty strings", body: `{"app_key":"","status":"ok","host":"h"}`, want: 400, reason: "app_key"},
		{name: "an app_key of 512 bytes", cite: "unknown: values over a limit", body: `{"app_key":"` + strings.Repeat("k", 512) + `","status":"ok","host":"h"}`, want: 404, reason: "no integration has this app_key"},
		{name: "an app_key of 513 bytes", cite: "unknown: values over a limit", body: `{"app_key":"` + strings.Repeat("k", 513) + `","status":"ok","host":"h"}`, want: 400, reason: "app_key is longer than 512 bytes"},
		{name: "app_key null", cite: "unknown: nulls", body: `{"app_key":null,"status":"ok","host":"h"}`, want: 400, reason: "app_key"},
		{name: "several without app_key", cite: "app_key once", body: `{"alerts":[{"status":"ok","host":"h"}]}`, want: 400, reason: "app_key is missing"},
		{name: "app_key inside a batch", cite: "app_key once", body: `{"app_key":"k","alerts":[{"app_key":"k","status":"ok","host":"h"}]}`, want: 400, reason: "app_key stands inside"},
		{name: "status beside alerts", cite: "unknown", body: `{"app_key":"k","status":"ok","alerts":[{"status":"ok","host":"h"}]}`, want: 400, reason: "beside alerts"},
		{name: "alerts empty", cite: "unknown", body: `{"app_key":"k","alerts":[]}`, want: 400, reason: "alerts is empty"},
		{name: "alerts no array", cite: "alerts: [ … ]", body: `{"app_key":"k","alerts":{"status":"ok"}}`, want: 400, reason: "not an array"},
		{name: "an alert that is no object", cite: "alerts: [ … ]", body: `{"app_key":"k","alerts":["ok"]}`, want: 400, reason: "not a JSON object"},
		{name: "one bad alert of two", cite: "unknown: the status of a batch with one bad item",
			body: `{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"bad","host":"b"}]}`, want: 400, reason: "alert 2 of 2: status"},
		{name: "integer and array", cite: "Property values: string, integer or array", body: `{"app_key":"k","status":"ok","host":"h","n":3,"a":["x",1]}`, want: 201},
		{name: "nested object", cite: "Nested objects are not supported", body: `{"app_key":"k","status":"ok","host":"h","n":{"a":1}}`, want: 400, reason: `property \"n\" holds a nested`},
		{name: "object in an array", cite: "Nested objects are not supported", body: `{"app_key":"k","status":"ok","host":"h","n":[1,{}]}`, want: 400, reason: "nested"},
		{name: "array in an array", cite: "Property values: string, integer or array", body: `{"app_key":"k","status":"ok","host":"h","n":[[1]]}`, want: 400, reason: "nested"},
		{name: "a property twice", cite: "unknown", body: `{"app_key":"k","status":"ok","host":"h","host":"i"}`, want: 400, reason: "twice"},
		{name: "null, float, boolean, empty", cite: "unknown: a switch, strict", body: `{"app_key":"k","status":"ok","host":"h","a":null,"b":1.5,"c":true,"d":""}`, want: 201},
		{name: "timestamp", cite: "timestamp: Unix seconds", body: `{"app_key":"k","status":"ok","host":"h","timestamp":1700000000}`, want: 201},
		{name: "timestamp a fraction", cite: "timestamp: Unix seconds", body: `{"app_key":"k","status":"ok","host":"h","timestamp":1.5}`, want: 400, reason: "whole number of seconds"},
		{name: "timestamp a text", cite: "timestamp: Unix seconds", body: `{"app_key":"k","status":"ok","host":"h","timestamp":"1"}`, want: 400, reason: "timestamp"},
		{name: "no primary property", cite: "None: the payload is dropped", body: `{"app_key":"k","status":"ok","check":"c"}`, want: 201},
		{name: "not JSON", cite: "Content-Type: application/json", body: `{"app_key":"k",`, want: 400, reason: "not JSON"},
		{name: "empty body", cite: "an object", body: ``, want: 400, reason: "empty"},
		{name: "two objects", cite: "an object", body: good + good, want: 400, reason: "not JSON"},
		{name: "an array", cite: "an object", body: `[` + good + `]`, want: 400, reason: "not a JSON object"},
		{name: "not UTF-8", cite: "unknown", body: "{\"app_key\":\"k\",\"status\":\"ok\",\"host\":\"\xff\"}", want: 400, reason: "not UTF-8"},
		{name: "a body of just under 6 MB", cite: "Payload at most 6 MB", body: wide(6<<20 - 100), want: 201},
		{name: "a body over 6 MB", cite: "Payload at most 6 MB", body: wide(6 << 20), want: 413, reason: "over 6 MB"},
		{name: "no token", cite: "Authorization: Bearer; 401", body: good, edit: header("Authorization", ""), want: 401, reason: "missing"},
		{name: "wrong token", cite: "401", body: good, edit: header("Authorization", "Bearer other"), want: 401, reason: "the token is wrong"},
		{name: "token without Bearer", cite: "Authorization: Bearer <org token>", body: good, edit: header("Authorization", testToken), want: 401, reason: "Bearer"},
		{name: "token under Basic", cite: "Authorization: Bearer <org token>", body: good, edit: header("Authorization", "Basic "+testToken), want: 401, reason: "Bearer"},
		{name: "no content type", cite: "Content-Type: application/json", body: good, edit: header("Content-Type", ""), want: 400, reason: "Content-Type"},
		{name: "another content type", cite: "Content-Type: application/json", body: good, edit: header("Content-Type", "text/plain"), want: 400, reason: "Content-Type"},
		{name: "content type with charset", cite: "Content-Type: application/json", body: good, edit: header("Content-Type", "application/json; charset=utf-8"), want: 201},
		{name: "compressed", cite: "unknown: whether request bodies may be compressed", body: good, edit: header("Content-Encoding", "gzip"), want: 400, reason: "compressed"},
		{name: "GET", cite: "POST …/data/v2/alerts", method: "GET", want: 405, reason: "not POST"},
		{name: "PUT", cite: "POST …/data/v2/alerts", method: "PUT", body: good, want: 405, reason: "not POST"},
		{name: "another version", cite: "POST …/data/v2/alerts", path: "/data/v1/alerts", body: good, want: 404, reason: "no such path"},
		{name: "token in the query", cite: "?access_token=… where a client cannot send headers", path: Path + "?access_token=" + testToken, body: good, edit: header("Authorization", ""), want: 201},
		{name: "wrong token in the query", cite: "401", path: Path + "?access_token=other", body: good, edit: header("Authorization", ""), want: 401, reason: "the token is wrong"},
		{name: "token in OIM's header", cite: "header (x-auth-token) of OIM alone", body: good, edit: oim(testToken, ""), want: 401, reason: "missing"},
		{name: "OIM", cite: "POST …/oim/api/alerts, the same bearer token", path: OIMPath, body: good, want: 201},
		{name: "OIM, several", cite: "the same single and multiple form", path: OIMPath, body: `{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"critical","host":"b"}]}`, want: 201},
		{name: "OIM, query", cite: "query (access_token, app_key)", path: OIMPath + "?access_token=" + testToken + "&app_key=k", body: keyless, edit: header("Authorization", ""), want: 201},
		{name: "OIM, headers", cite: "header (x-auth-token, x-app-key)", path: OIMPath, body: keyless, edit: oim(testToken, "k"), want: 201},
		{name: "OIM, several, headers", cite: "header (x-auth-token, x-app-key)", path: OIMPath, body: `{"alerts":[` + keyless + `]}`, edit: oim(testToken, "k"), want: 201},
		{name: "OIM, wrong token", cite: "401", path: OIMPath, body: keyless, edit: oim("other", "k"), want: 401, reason: "the token is wrong"},
		{name: "OIM, another app key", cite: "404 exists", path: OIMPath, body: keyless, edit: oim(testToken, "nobody"), want: 404, reason: "app_key"},
		{name: "OIM, two app keys", cite: "unknown", path: OIMPath + "?app_key=l", body: good, want: 400, reason: "another in the query"},
		{name: "OIM, an app key that is no text", cite: "unknown", path: OIMPath + "?app_key=k", body: `{"app_key":1,"status":"ok","host":"h"}`, want: 400, reason: "app_key is not a text"},
		{name: "OIM, no app key", cite: "app_key", path: OIMPath, body: keyless, want: 400, reason: "app_key is missing"},
		{name: "OIM, GET", cite: "POST …/oim/api/alerts", path: OIMPath, method: "GET", want: 405, reason: "not POST"},
		{name: "another path of OIM", cite: "POST …/oim/api/alerts", path: "/oim/alerts", body: good, want: 404, reason: "no such path"},
		{name: "another app key", cite: "404 exists", body: `{"app_key":"nobody","status":"ok","host":"h"}`, want: 404, reason: "app_key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{Token: testToken, AppKeys: []string{"k"}})
			if test.method == "" {
				test.method = "POST"
			}
			if test.path == "" {
				test.path = Path
			}
			got, err := s.do(test.method, test.path, test.body, test.edit)
			if err != nil {
				t.Fatal(err)
			}
			if got.status != test.want || !strings.Contains(got.body, test.reason) {
				t.Fatalf("%q\ngot %d %s\nwant %d with %s", test.cite, got.status, got.body, test.want, test.reason)
			}
			if !json.Valid([]byte(got.body)) {
				t.Errorf("the answer is not JSON: %s", got.body)
			}
			q := s.lastRequest()
			if q.Status != test.want || q.Method != test.method || q.Path != strings.Split(test.path, "?")[0] {
				t.Errorf("in the record: %+v", q)
			}
			taken := test.want < 300
			if (q.Reason == "") != taken || (q.Accepted > 0) != taken || (len(s.Events()) > 0) != taken {
				t.Errorf("in the record: %+v and %d events", q, len(s.Events()))
			}
			if test.want == 405 && got.header.Get("Allow") != "POST" {
				t.Errorf("no Allow header with 405")
			}
		})
	}
}

func TestAnyToken(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.post(`{"app_key":"k","status":"ok","host":"h"}`, 201)
	got, err := s.do("POST", Path, "{}", func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") })
	if err != nil || got.status != 401 {
		t.Errorf("an empty token: %d, %v", got.status, err)
	}
}

// P9: whatever is done with the token, it is in nothing that the sandbox
// keeps or shows.
func TestTokenIsNowhere(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Token: testToken})
	s.post(`{"app_key":"k","status":"ok","host":"h"}`, 201)
	s.post(`{"app_key":"k"}`, 400)
	for _, authorization := range []string{testToken, "Basic " + testToken, "Bearer x" + testToken} {
		if _, err := s.do("POST", Path, "{}", func(r *http.Request) { r.Header.Set("Authorization", authorization) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{"?access_token=" + testToken, "?app_key=k&access_token=x" + testToken} {
		if _, err := s.do("POST", OIMPath+query, "{}", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Header.Set("X-Auth-Token", testToken)
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.setFaults(Faults{Token: testToken})
	for _, path := range []string{"/", "/faults", "/events", "/requests", "/requests/3", "/alerts", "/incidents", "/incidents/1", "/stats", "/presets"} {
		if got := s.call("GET", path, ""); got.status != 200 || strings.Contains(got.body, testToken) {
			t.Errorf("GET %s: %d %s", path, got.status, got.body)
		}
	}
}

func TestOnRequest(t *testing.T) {
	t.Parallel()
	told := make(chan Request, 2)
	s := start(t, Options{OnRequest: func(q Request) { told <- q }})
	s.post(`{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"ok","host":"b"}]}`, 201)
	if q := <-told; !reflect.DeepEqual(q, s.lastRequest()) || q.Alerts != 2 || q.Accepted != 2 || q.FirstEvent != 1 || q.AppKey != "k" {
		t.Errorf("told %+v, in the record %+v", q, s.lastRequest())
	}
	s.post(`nonsense`, 400)
	if q := <-told; !reflect.DeepEqual(q, s.lastRequest()) || q.Status != 400 || q.Body != "nonsense" {
		t.Errorf("told %+v, in the record %+v", q, s.lastRequest())
	}
}

// A request names the first of its alerts, whether they were taken or not.
func TestCarried(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for _, test := range []struct {
		name, body string
		want       []Carried
	}{
		{"one", alert("web-1", "critical", 1), []Carried{{"web-1", "critical"}}},
		{"the first three", `{"app_key":"k","alerts":[{"status":"ok","host":"a"},{"status":"warning","service":"b"},{"status":"ok","host":"c"},{"status":"ok","host":"d"}]}`,
			[]Carried{{"a", "ok"}, {"b", "warning"}, {"c", "ok"}}},
		{"refused for another property", `{"app_key":"k","status":"ok","host":"a","labels":{}}`, []Carried{{"a", "ok"}}},
		{"refused for its status", `{"app_key":"k","status":"bad","host":"a"}`, []Carried{{"a", ""}}},
		{"no primary property", `{"app_key":"k","status":"ok","check":"c"}`, []Carried{{"", "ok"}}},
		{"a long name", alert(long, "ok", 1), []Carried{{long[:textKept] + "…", "ok"}}},
		{"none", `{"app_key":"k","alerts":[]}`, nil},
		{"no object", `{"app_key":"k","alerts":[1]}`, []Carried{{}}},
		{"nonsense", `nonsense`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{})
			s.call("POST", Path, test.body)
			if q := s.lastRequest(); !slices.Equal(q.Carried, test.want) {
				t.Errorf("%+v, want %+v", q.Carried, test.want)
			}
			s.call("PUT", "/faults", `{"status":503}`)
			s.call("POST", Path, test.body)
			if q := s.lastRequest(); q.Status != 503 || !slices.Equal(q.Carried, test.want) {
				t.Errorf("in an outage %+v, want %+v", q, test.want)
			}
		})
	}
}
