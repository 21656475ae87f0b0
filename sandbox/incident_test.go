package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// change makes the body of an alert of host a that is this many minutes old.
func change(status string, minute int64) string {
	return alert("a", status, 1_000_000+60*minute)
}

// BIGPANDA.md: "timestamp […] decides which status is the latest"; "Flapping:
// over 4 changes of one alert in an hour."
func TestIncident(t *testing.T) {
	t.Parallel()
	at := func(minute int64) int64 { return 1_000_000 + 60*minute }
	for _, test := range []struct {
		name   string
		bodies []string
		want   Incident // but for what identifies it
	}{
		{"one event", []string{change("critical", 0)}, Incident{Status: "critical", Timestamp: at(0), Since: at(0), Events: 1, LastEvent: 1, LastChange: 1}},
		{"the same status again", []string{change("critical", 0), change("critical", 1)}, Incident{Status: "critical", Timestamp: at(1), Since: at(0), Events: 2, LastEvent: 2, LastChange: 1}},
		{"a change", []string{change("critical", 0), change("warning", 1)}, Incident{Status: "warning", Timestamp: at(1), Since: at(1), Events: 2, Changes: 1, LastEvent: 2, LastChange: 2}},
		{"resolved, and again", []string{change("critical", 0), change("ok", 1), change("critical", 2)}, Incident{Status: "critical", Timestamp: at(2), Since: at(2), Events: 3, Changes: 2, LastEvent: 3, LastChange: 3}},
		{"an older event changes nothing", []string{change("critical", 5), change("ok", 4)}, Incident{Status: "critical", Timestamp: at(5), Since: at(5), Events: 2, LastEvent: 2, LastChange: 1}},
		{"a duplicate changes nothing", []string{change("critical", 5), change("ok", 6), change("critical", 5)}, Incident{Status: "ok", Timestamp: at(6), Since: at(6), Events: 3, Changes: 1, LastEvent: 3, LastChange: 2}},
		{"four changes in an hour", []string{change("critical", 0), change("ok", 1), change("critical", 2), change("ok", 3), change("critical", 4)},
			Incident{Status: "critical", Timestamp: at(4), Since: at(4), Events: 5, Changes: 4, LastEvent: 5, LastChange: 5}},
		{"five changes in an hour: flapping", []string{change("critical", 0), change("ok", 1), change("critical", 2), change("ok", 3), change("critical", 4), change("ok", 61)},
			Incident{Status: "ok", Timestamp: at(61), Since: at(61), Events: 6, Changes: 5, FlappingUntil: at(61), LastEvent: 6, LastChange: 6}},
		{"five changes in more than an hour", []string{change("critical", 0), change("ok", 1), change("critical", 2), change("ok", 3), change("critical", 4), change("ok", 62)},
			Incident{Status: "ok", Timestamp: at(62), Since: at(62), Events: 6, Changes: 5, LastEvent: 6, LastChange: 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{})
			for _, body := range test.bodies {
				s.call("POST", Path, body)
			}
			test.want.ID, test.want.Key, test.want.AppKey, test.want.Title = 1, `["k","values","a",""]`, "k", "a"
			if got := s.Incidents(); !reflect.DeepEqual(got, []Incident{test.want}) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// Alerts are told apart by the documented rules; see TestIdentity.
func TestIncidentsAreToldApart(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, body := range []string{
		`{"app_key":"k","status":"ok","host":"a","check":"c"}`,
		`{"app_key":"k","status":"critical","host":"a","check":"d"}`,
		`{"app_key":"l","status":"ok","host":"a","check":"c"}`,
		`{"app_key":"k","status":"ok","host":"a","incident_identifier":"x"}`,
		`{"app_key":"k","status":"warning","host":"b","incident_identifier":"x","timestamp":99999999999}`,
		`{"app_key":"k","status":"ok","check":"no primary property"}`,
	} {
		s.post(body, 201)
	}
	var got []string
	for _, c := range s.Incidents() {
		got = append(got, fmt.Sprintf("%s %s/%s %s %d", c.AppKey, c.Title, c.Subtitle, c.Status, c.Events))
	}
	want := []string{"k a/c ok 1", "k a/d critical 1", "l a/c ok 1", "k b/ warning 2"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// Over the limit the resolved one goes that was quiet for longest; when none
// is resolved, the open one.
func TestIncidentsAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.record.incidents.init(3)
	steps := []struct{ host, status, kept string }{
		{"a", "ok", "a"}, {"b", "critical", "a b"}, {"c", "ok", "a b c"},
		{"a", "ok", "b c a"},           // again: c is the oldest resolved one now
		{"d", "critical", "b a d"},     // c goes
		{"e", "warning", "b d e"},      // a goes
		{"f", "critical", "d e f"},     // none is resolved: b goes
		{"d", "ok", "e f d"},           // resolved
		{"g", "critical", "e f g"},     // d goes, though it is not the oldest
		{"b", "critical", "f g b"},     // comes back as a new one; e goes
		{"b", "critical", "f g b"},     // nothing goes
		{"new", "ok", "f g b"},         // the only resolved one
		{"h", "acknowledged", "g b h"}, // acknowledged is not resolved
	}
	for i, step := range steps {
		s.post(alert(step.host, step.status, int64(100+i)), 201)
		var kept []string
		for _, c := range s.Incidents() {
			kept = append(kept, c.Title)
		}
		if got := strings.Join(kept, " "); got != step.kept {
			t.Fatalf("after %s %s: %q are kept, want %q", step.host, step.status, got, step.kept)
		}
	}
	if stats := s.Stats(); stats.Incidents != 3 || stats.IncidentsDropped != 7 {
		t.Errorf("%+v", stats)
	}
	if got := s.call("GET", "/incidents/1", ""); got.status != 404 || !strings.Contains(got.body, "no such incident") {
		t.Errorf("one that went: %+v", got)
	}
	s.Reset()
	if stats := s.Stats(); stats.Incidents != 0 || stats.IncidentsDropped != 0 || len(s.Incidents()) != 0 {
		t.Errorf("after Reset: %+v", stats)
	}
}

// Memory is bounded with more alerts than are kept, each with many changes.
func TestTenThousandIncidents(t *testing.T) {
	t.Parallel()
	const alerts = keepIncidents + 2500
	s := start(t, Options{Keep: 1000})
	for from := 0; from < alerts; from += 500 {
		var list []string
		for i := from; i < from+500; i++ {
			status := "critical"
			if i < 5000 && i%2 == 0 {
				status = "ok"
			}
			list = append(list, fmt.Sprintf(`{"status":%q,"host":"host-%d"}`, status, i))
		}
		s.post(`{"app_key":"k","alerts":[`+strings.Join(list, ",")+`]}`, 201)
	}
	if stats := s.Stats(); stats.Incidents != keepIncidents || stats.IncidentsDropped != 2500 {
		t.Fatalf("%+v", stats)
	}
	for i, c := range s.Incidents() {
		if c.Status == "ok" || i == 0 && c.Title != "host-1" {
			t.Fatalf("incident %d is %+v: the resolved ones had to go", i, c)
		}
	}
	for i := range 3 * keepChanges {
		s.post(alert("host-1", []string{"ok", "critical"}[i%2], int64(2_000_000_000+i)), 201)
	}
	m := &s.record.incidents
	if c := m.byKey[`["k","values","host-1",""]`]; len(c.changes) != keepChanges || c.Changes != 3*keepChanges {
		t.Errorf("%d of %d changes are kept", len(c.changes), c.Changes)
	}
	if len(m.byKey) != len(m.byID) || m.open.Len()+m.resolved.Len() != len(m.byID) || len(m.gone.kept) > keepIncidents || len(s.record.events.kept) > 1000 {
		t.Errorf("%d, %d, %d+%d, %d", len(m.byKey), len(m.byID), m.open.Len(), m.resolved.Len(), len(m.gone.kept))
	}
	var page IncidentPage
	decode(t, []byte(s.call("GET", "/incidents/2", "").body), &page)
	if page.Events != 3*keepChanges+1 || len(page.Alerts) != shownAlerts || len(page.Timeline) != keepChanges {
		t.Errorf("%+v", page.Incident)
	}
}

func TestIncidentPage(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Keep: 6})
	s.post(`{"app_key":"k","alerts":[{"status":"critical","host":"a","timestamp":100,"url":["http://x","y"],"n":12345678901234567890,"Big":"x"},{"status":"ok","host":"b"}]}`, 201)
	s.post(alert("a", "ok", 50), 201) // stale
	s.post(`{"app_key":"k","status":"critical","host":"a","timestamp":100,"url":["http://x","y"],"n":12345678901234567890,"Big":"x"}`, 204)
	var page IncidentPage
	got := s.call("GET", "/incidents/1", "")
	decode(t, []byte(got.body), &page)
	if want := []Change{{100, "critical", 1}}; page.Events != 3 || page.Status != "critical" || !reflect.DeepEqual(page.Timeline, want) {
		t.Errorf("%+v", page)
	}
	wantTags := []Tag{{"Big", []string{"x"}}, {"app_key", []string{"k"}}, {"host", []string{"a"}}, {"n", []string{"12345678901234567890"}},
		{"status", []string{"critical"}}, {"timestamp", []string{"100"}}, {"url", []string{"http://x", "y"}}}
	if !reflect.DeepEqual(page.Tags, wantTags) {
		t.Errorf("tags %v", page.Tags)
	}
	var seqs []uint64
	var rules []string
	for _, a := range page.Alerts {
		seqs = append(seqs, a.Seq)
		for _, p := range a.Issues {
			rules = append(rules, fmt.Sprint(a.Seq, " ", p.Rule))
		}
	}
	if want := []uint64{4, 3, 1}; !reflect.DeepEqual(seqs, want) {
		t.Errorf("events %v, want %v", seqs, want)
	}
	if want := []string{"4 kind of value", "4 tag name", "4 duplicate", "3 stale", "1 kind of value", "1 tag name"}; !reflect.DeepEqual(rules, want) {
		t.Errorf("problems %q, want %q", rules, want)
	}
	// A number is shown as it was sent, and not as JavaScript has it.
	if text := page.Alerts[0].Text; !strings.Contains(text, `  "n": 12345678901234567890,`) {
		t.Errorf("the text is\n%s", text)
	}
	for query, want := range map[string]string{
		"?limit=2": "[4 3] 3", "?before=3": "[1] 0", "?before=3&limit=1": "[1] 0", "?before=1": "[] 0", "?before=4&limit=1": "[3] 3",
	} {
		var part IncidentPage
		decode(t, []byte(s.call("GET", "/incidents/1"+query, "").body), &part)
		seqs := []uint64{}
		for _, a := range part.Alerts {
			seqs = append(seqs, a.Seq)
		}
		if got := fmt.Sprint(seqs, part.Before); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	// What is no longer kept is left out.
	for i := range 5 {
		s.post(alert("b", "critical", int64(2_000_000_000+i)), 201)
	}
	var late IncidentPage
	decode(t, []byte(s.call("GET", "/incidents/1", "").body), &late)
	if len(late.Alerts) != 1 || late.Before != 0 || late.Events != 3 || len(late.Tags) != 0 {
		t.Errorf("%+v", late)
	}
}

func TestRequestPage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		body     string
		alerts   int      // that are shown
		problems []string // rules, of the request and of its alerts
	}{
		{"good", `{"app_key":"k","status":"ok","host":"h"}`, 1, nil},
		{"no primary property", `{"app_key":"k","status":"ok"}`, 1, []string{"primary property"}},
		{"one of two is nested", `{"app_key":"k","alerts":[{"status":"ok","host":"h"},{"status":"ok","host":"h","n":{}}]}`, 2, []string{"nested"}},
		{"app_key inside", `{"app_key":"k","alerts":[{"app_key":"k","status":"ok","host":"h"}]}`, 1, []string{"alert"}},
		{"an alert that is none", `{"app_key":"k","alerts":[7]}`, 1, []string{"alert"}},
		{"no app_key", `{"status":"ok","host":"h"}`, 1, []string{"app key"}},
		{"not JSON", `{"app_key":`, 0, nil},
		{"an empty object", `{}`, 1, []string{"app key", "status", "primary property"}},
		{"too large", wide(6 << 20), 0, []string{"size"}},
		{"refused, and too long to be kept", `{"app_key":"k","status":"no","x":"` + strings.Repeat("x", bodyKept) + `"}`, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{})
			s.call("POST", Path, test.body)
			var page RequestPage
			got := s.call("GET", "/requests/1", "")
			decode(t, []byte(got.body), &page)
			var rules []string
			for _, p := range page.Issues {
				rules = append(rules, p.Rule)
			}
			for _, a := range page.Alerts {
				for _, p := range a.Issues {
					rules = append(rules, p.Rule)
				}
			}
			if len(page.Alerts) != test.alerts || !reflect.DeepEqual(rules, test.problems) || page.Seq != 1 {
				t.Errorf("%d alerts, problems %q, want %d and %q", len(page.Alerts), rules, test.alerts, test.problems)
			}
		})
	}
	s := start(t, Options{})
	for _, path := range []string{"/requests/1", "/requests/x", "/incidents/0", "/incidents/x", "/incidents/1?before=1"} {
		if got := s.call("GET", path, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := s.call("GET", "/incidents/1?limit=x", ""); got.status != 400 {
		t.Errorf("limit=x: %d", got.status)
	}
}

// GET /incidents takes since and limit as /events does, and lists each once.
func TestIncidentsOverHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for i := range 25 {
		s.post(string(batchBody(i, 100)), 201)
	}
	for query, want := range map[string]string{"": "100 1 2500", "?limit=3": "3 1 2403", "?since=2498": "2 99 2500", "?since=2500": "0 0 0"} {
		var list []Incident
		decode(t, []byte(s.call("GET", "/incidents"+query, "").body), &list)
		got := fmt.Sprint(len(list), 0, 0)
		if len(list) > 0 {
			got = fmt.Sprint(len(list), list[0].ID, list[len(list)-1].LastEvent)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	var stats Stats
	if err := json.Unmarshal([]byte(s.call("GET", "/stats", "").body), &stats); err != nil || stats.Incidents != 100 || stats.Statuses[201] != 25 {
		t.Errorf("%+v, %v", stats, err)
	}
}
