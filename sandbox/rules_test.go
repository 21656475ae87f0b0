package sandbox

import (
	"reflect"
	"strings"
	"testing"
)

// Each row cites the sentence of BIGPANDA.md that the problem is about.
func TestProblems(t *testing.T) {
	t.Parallel()
	const app = `"app_key":"k",`
	const rest = app + `"status":"ok","host":"h"`
	for _, test := range []struct {
		name, cite string
		payload    string
		want       string // "rule: outcome (page)", several with ; between
		text       string // in the first
	}{
		{"nothing", "", rest + `,"n":3,"a":["x",1],"web_url-2":"http://x"`, "", ""},
		{"no primary property", "None: the payload is dropped", app + `"status":"ok"`, "primary property: accepted, then dropped (reference/alert-object-2)", "no primary property"},
		{"nested object", "Nested objects are not supported", rest + `,"n":{"a":1}`, "nested: refused (reference/alert-object-2)", `"n"`},
		{"object in an array", "Nested objects are not supported", rest + `,"n":[{}]`, "nested: refused (reference/alert-object-2)", `"n"`},
		{"description of 2,048", "description: at most 2,048 characters", rest + `,"description":"` + strings.Repeat("é", 2048) + `"`, "", ""},
		{"description of 2,049", "description: at most 2,048 characters", rest + `,"description":"` + strings.Repeat("é", 2049) + `"`, "description: not documented (reference/alert-object-2)", "2049 characters"},
		{"value of 513", "A tag value: 512 characters", rest + `,"a":"` + strings.Repeat("x", 513) + `"`, "long value: not documented (docs/tag-naming)", "over 512"},
		{"array of 31", "arrays 30 items", rest + `,"a":[1` + strings.Repeat(",1", 30) + `]`, "long array: not documented (docs/tag-naming)", "31 items"},
		{"upper case", "lower-case letters, digits, _, -", rest + `,"Rack":"r"`, "tag name: taken, but it cannot be searched (docs/tag-naming)", `"Rack"`},
		{"begins with a digit", "start with a letter", rest + `,"1st":"r"`, "tag name: taken, but it cannot be searched (docs/tag-naming)", `"1st"`},
		{"a dot", "lower-case letters, digits, _, -", rest + `,"a.b":"r"`, "tag name: taken, but it cannot be searched (docs/tag-naming)", `"a.b"`},
		{"a name of 64", "at most 64 characters", rest + `,"` + strings.Repeat("a", 64) + `":"r"`, "", ""},
		{"a name of 65", "at most 64 characters", rest + `,"` + strings.Repeat("a", 65) + `":"r"`, "tag name: taken, but it cannot be searched (docs/tag-naming)", "64"},
		{"source", "Reserved: source, _source, source_system", rest + `,"source":"x"`, "reserved name: not documented (docs/tag-naming)", "reserved"},
		{"_source", "Reserved: source, _source, source_system", rest + `,"_source":"x"`, "reserved name: not documented (docs/tag-naming)", "reserved"},
		{"source_system", "Reserved: source, _source, source_system", rest + `,"source_system":"x"`, "reserved name: not documented (docs/tag-naming)", "reserved"},
		{"incident_identifier", "Reserved, but what the API itself takes", rest + `,"incident_identifier":"x"`, "", ""},
		{"a fraction", "string, integer or array", rest + `,"a":1.5`, "kind of value: not documented (reference/alert-object-2)", "1.5"},
		{"null", "string, integer or array", rest + `,"a":null`, "kind of value: not documented (reference/alert-object-2)", "null"},
		{"a boolean", "string, integer or array", rest + `,"a":true`, "kind of value: not documented (reference/alert-object-2)", "true"},
		{"empty", "unknown: empty strings", rest + `,"a":""`, "empty value: not documented (reference/alert-object-2)", `"a"`},
		{"status in upper case", "in lower case", app + `"status":"OK","host":"h"`, "status: refused (docs/status)", `"OK"`},
		{"no status", "an object with app_key, status and properties", app + `"host":"h"`, "status: refused (docs/status)", "missing"},
		{"no app_key", "an object with app_key, status and properties", `"status":"ok","host":"h"`, "app key: refused (reference/alerts)", "missing"},
		{"timestamp a text", "timestamp: Unix seconds", rest + `,"timestamp":"1"`, "timestamp: refused (reference/alert-object-2)", "whole number"},
		{"a property twice", "unknown", rest + `,"host":"i"`, "twice: refused ()", `"host"`},
		{"two at once", "", rest + `,"A":"","source":1`, "reserved name: not documented (docs/tag-naming); empty value: not documented (reference/alert-object-2); tag name: taken, but it cannot be searched (docs/tag-naming)", "source"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			problems := problemsOf(objectFields("{" + test.payload + "}"))
			for _, p := range problems {
				got = append(got, p.Rule+": "+p.Outcome+" ("+p.Page+")")
			}
			if strings.Join(got, "; ") != test.want {
				t.Fatalf("%q\ngot  %q\nwant %q", test.cite, got, test.want)
			}
			if len(problems) > 0 && !strings.Contains(problems[0].Text, test.text) {
				t.Errorf("the text is %q, without %q", problems[0].Text, test.text)
			}
		})
	}
}

// What a rule calls refused is refused, what it calls dropped is dropped, and
// the others are taken: the two cannot drift apart.
func TestOutcomesAreTrue(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, test := range []struct{ body string }{
		{`{"app_key":"k","status":"ok","host":"h"}`}, {`{"status":"ok","host":"h"}`}, {`{"app_key":"","status":"ok","host":"h"}`},
		{`{"app_key":"k","status":"on","host":"h"}`}, {`{"app_key":"k","status":"ok","host":"h","timestamp":1.5}`},
		{`{"app_key":"k","status":"ok","host":"h","a":[[]]}`}, {`{"app_key":"k","status":"ok","host":"h","a":1,"a":2}`},
		{`{"app_key":"k","status":"ok"}`}, {`{"app_key":"k","status":"ok","host":"h","source":"s"}`},
		{`{"app_key":"k","status":"ok","host":"h","a":null}`}, {`{"app_key":"k","status":"ok","host":"h","a":""}`},
		{`{"app_key":"k","status":"ok","host":"h","description":"` + strings.Repeat("x", 3000) + `"}`},
		{`{"app_key":"k","status":"ok","host":"h","a":"` + strings.Repeat("x", 600) + `"}`},
		{`{"app_key":"k","status":"ok","host":"h","a":[1` + strings.Repeat(",1", 40) + `]}`},
		{`{"app_key":"k","status":"ok","host":"h","A":"x"}`},
	} {
		want, dropped := 201, 0
		strict := false
		for _, p := range problemsOf(objectFields(test.body)) {
			seen[p.Rule] = true
			switch p.Outcome {
			case outcomeRefused:
				want = 400
			case outcomeDropped:
				dropped = 1
			case outcomeUnsure:
				strict = true
			}
		}
		s := start(t, Options{})
		s.post(test.body, want)
		if s.Stats().Dropped != dropped && want == 201 {
			t.Errorf("%.80s: %d dropped", test.body, s.Stats().Dropped)
		}
		s.Reset()
		if s.setFaults(Faults{Strict: true}); strict {
			want = 400
		}
		s.post(test.body, want)
	}
	var unseen []string
	for _, r := range rules {
		if !seen[r.name] {
			unseen = append(unseen, r.name)
		}
	}
	if !reflect.DeepEqual(unseen, []string(nil)) {
		t.Errorf("no row for %q", unseen)
	}
}
