package config

import (
	"reflect"
	"strings"
	"testing"

	"bigpanda-udf/udf"
)

func TestHandlerFile(t *testing.T) {
	full := udf.Defaults{
		AppKey: "k", Host: "{{ index .Tags \"host\" }}", PrimaryProperty: "device", SecondaryProperty: "sensor",
		AutoAttributes: "tags,fields",
		Attributes:     map[string]string{"env": "{{ .Name }}", "port": "8080", "load": "1.5", "up": "true", "list": `["a","b"]`, "nothing": "null", "odd": "[\"{{`{{`}}\"]"},
	}
	for _, tt := range []struct {
		name, file, text string
		want             udf.Defaults
		url              string
		err              string // after the file's name
	}{
		{name: "only the kind", file: "h.yaml", text: "kind: bigpanda", want: udf.Defaults{AutoAttributes: "tags,fields"}},
		{name: "YAML", file: "h.yaml", text: `
id: bigpanda
topic: cpu
kind: bigpanda
match: ""
options:
  app-key: k
  url: http://127.0.0.1:1/x
  host: '{{ index .Tags "host" }}'
  primary-property: device
  secondary-property: sensor
  attributes:
    env: '{{ .Name }}'
    port: 8080
    load: 1.5
    up: true
    list: [a, b]
    nothing: null
    odd: ["{{"]
`, want: full, url: "http://127.0.0.1:1/x"},
		{name: "JSON", file: "h.json", text: `{"id": "bigpanda", "topic": "cpu", "kind": "bigpanda", "options": {
			"app-key": "k", "url": "http://127.0.0.1:1/x", "host": "{{ index .Tags \"host\" }}",
			"primary-property": "device", "secondary-property": "sensor",
			"attributes": {"env": "{{ .Name }}", "port": 8080, "load": 1.5, "up": true, "list": ["a", "b"], "nothing": null, "odd": ["{{"]}}}`,
			want: full, url: "http://127.0.0.1:1/x"},
		{name: "JSON without an extension", file: "handler", text: ` {"kind": "bigpanda", "options": {"app-key": "k"}}`,
			want: udf.Defaults{AppKey: "k", AutoAttributes: "tags,fields"}},
		{name: "keys in camel case", file: "h.yaml", text: "kind: bigpanda\noptions: {appKey: k, primaryProperty: p, secondaryProperty: s}",
			want: udf.Defaults{AppKey: "k", PrimaryProperty: "p", SecondaryProperty: "s", AutoAttributes: "tags,fields"}},
		{name: "a date stays a text", file: "h.yaml", text: "kind: bigpanda\noptions: {attributes: {since: 2020-01-01}}",
			want: udf.Defaults{Attributes: map[string]string{"since": "2020-01-01"}, AutoAttributes: "tags,fields"}},

		{name: "no kind", file: "h.yaml", text: "id: x", err: "kind is null: only kind: bigpanda is for this program"},
		{name: "another kind", file: "h.yaml", text: "kind: slack", err: `kind is "slack": only kind: bigpanda is for this program`},
		{name: "the kind in another case", file: "h.yaml", text: "kind: BigPanda", err: `kind is "BigPanda": only kind: bigpanda is for this program`},
		{name: "a match", file: "h.yaml", text: "kind: bigpanda\nmatch: level() == CRITICAL", err: "match is not known here: remove it, and choose the points with |where() or the alert's own conditions in the TICKscript"},
		{name: "an unknown key", file: "h.yaml", text: "kind: bigpanda\noption: {}", err: `key "option" is unknown: did you mean options?`},
		{name: "an unknown option", file: "h.yaml", text: "kind: bigpanda\noptions: {primary-prop: x}", err: `option "primary-prop" is unknown: did you mean primary-property?`},
		{name: "an option in snake case", file: "h.yaml", text: "kind: bigpanda\noptions: {app_key: x}", err: `option "app_key" is unknown: did you mean app-key?`},
		{name: "an option like no other", file: "h.json", text: `{"kind": "bigpanda", "options": {"channel": "x"}}`, err: `option "channel" is unknown: remove it`},
		{name: "an option in two spellings", file: "h.yaml", text: "kind: bigpanda\noptions: {appKey: a, app-key: b}", err: "option app-key is given twice: keep one"},
		{name: "an option that is no text", file: "h.yaml", text: "kind: bigpanda\noptions: {app-key: 12}", err: "option app-key is not a text: put its value 12 in quotes"},
		{name: "options that are no map", file: "h.yaml", text: "kind: bigpanda\noptions: [a]", err: "options is not a map: write option: value lines below it"},
		{name: "attributes that are no map", file: "h.yaml", text: "kind: bigpanda\noptions: {attributes: x}", err: "option attributes is not a map: write name: value lines below it"},
		{name: "no map at all", file: "h.yaml", text: "- a", err: "it is not a handler: write kind: bigpanda, and options: below it"},
		{name: "bad YAML", file: "h.yaml", text: "kind: [", err: "it is not YAML: line 1: did not find expected node content"},
		{name: "bad JSON", file: "h.json", text: "{", err: "it is not JSON: unexpected end of JSON input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file, tt.text)
			s, err := Resolve(map[string]string{"handler": path}, environment(nil))
			if tt.err != "" {
				if want := "handler file " + path + ": " + tt.err; err == nil || err.Error() != want {
					t.Errorf("the error is\n%v, want\n%v", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(s.Defaults, tt.want) {
				t.Errorf("the defaults are\n%#v, want\n%#v", s.Defaults, tt.want)
			}
			if tt.url != "" && s.URL != tt.url {
				t.Errorf("the URL is %q", s.URL)
			}
		})
	}
}

func TestHandlerFileIsMissing(t *testing.T) {
	_, err := Resolve(map[string]string{"handler": "/nonexistent/h.yaml"}, environment(nil))
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/h.yaml") || !strings.Contains(err.Error(), "name a file that this user may read") {
		t.Errorf("the error is %v", err)
	}
}
