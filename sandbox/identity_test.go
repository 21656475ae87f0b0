package sandbox

import (
	"testing"
)

// What BIGPANDA.md says of the primary and the secondary property.
func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		properties string // besides app_key and status
		key        string
		title      string
		subtitle   string
	}{
		{"host first", `"device":"d","application":"a","service":"s","host":"h"`, `["k","values","h",""]`, "h", ""},
		{"then service", `"device":"d","application":"a","service":"s"`, `["k","values","s",""]`, "s", ""},
		{"then application", `"device":"d","application":"a"`, `["k","values","a",""]`, "a", ""},
		{"then device", `"device":"d"`, `["k","values","d",""]`, "d", ""},
		{"the one that is named", `"primary_property":"rack","rack":"r1","host":"h"`, `["k","values","r1",""]`, "r1", ""},
		{"the one that is named is not there", `"primary_property":"rack","host":"h"`, `["k","values","h",""]`, "h", ""},
		{"check is the secondary one", `"host":"h","sensor":"s","check":"c"`, `["k","values","h","c"]`, "h", "c"},
		{"then sensor", `"host":"h","sensor":"s"`, `["k","values","h","s"]`, "h", "s"},
		{"the secondary one that is named", `"host":"h","check":"c","secondary_property":"disk","disk":"sda"`, `["k","values","h","sda"]`, "h", "sda"},
		{"the secondary one that is named is not there", `"host":"h","check":"c","secondary_property":"disk"`, `["k","values","h","c"]`, "h", "c"},
		{"an incident identifier replaces both", `"host":"h","check":"c","incident_identifier":"i"`, `["k","incident","i"]`, "h", "c"},
		{"an integer", `"host":7,"check":-1`, `["k","values","7","-1"]`, "7", "-1"},
		{"an array", `"host":["a","b",3]`, `["k","values","a|b|3",""]`, "a|b|3", ""},
		{"empty counts as absent", `"host":"","service":"s","check":""`, `["k","values","s",""]`, "s", ""},
		{"null counts as absent", `"host":null,"service":"s"`, `["k","values","s",""]`, "s", ""},
		{"none", `"check":"c"`, ``, "", "c"},
		{"none, and an incident identifier", `"incident_identifier":"i"`, ``, "", ""},
		{"escapes", `"host":"a\"\u00e9\n"`, `["k","values","a\"é\n",""]`, "a\"é\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := readBatch([]byte(`{"app_key":"k","status":"ok",`+test.properties+`}`), "")
			if b.err != "" || len(b.items) != 1 || b.items[0].refused != "" {
				t.Fatalf("refused: %+v", b)
			}
			got := b.items[0]
			if got.Key != test.key || got.Title != test.title || got.Subtitle != test.subtitle {
				t.Errorf("got %q, %q, %q\nwant %q, %q, %q", got.Key, got.Title, got.Subtitle, test.key, test.title, test.subtitle)
			}
			if (got.Dropped != "") != (test.key == "") {
				t.Errorf("dropped: %q", got.Dropped)
			}
		})
	}
}

func TestKeysTellAlertsApart(t *testing.T) {
	t.Parallel()
	key := func(body string) string { return readBatch([]byte(body), "").items[0].Key }
	base := key(`{"app_key":"k","status":"ok","host":"a","check":"b"}`)
	for _, test := range []struct {
		name, body string
		same       bool
	}{
		{"another status and more", `{"app_key":"k","status":"critical","timestamp":1,"host":"a","check":"b","x":"y"}`, true},
		{"the same values under other names", `{"app_key":"k","status":"ok","service":"a","sensor":"b"}`, true},
		{"another app key", `{"app_key":"l","status":"ok","host":"a","check":"b"}`, false},
		{"no secondary property", `{"app_key":"k","status":"ok","host":"a"}`, false},
		{"values that look alike when joined", `{"app_key":"k","status":"ok","host":"a\",\"b"}`, false},
		{"an incident identifier", `{"app_key":"k","status":"ok","host":"a","check":"b","incident_identifier":"a"}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := key(test.body); (got == base) != test.same {
				t.Errorf("key %s, and the first %s", got, base)
			}
		})
	}
}
