package udf_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

type (
	tags       = map[string]string
	fields     = map[string]any
	properties = map[string]string
)

// plain is what every alert has of a point of "cpu" with id "id" and host "a".
func plain(more properties) properties {
	p := properties{"status": "critical", "check": "id", "description": "id is CRITICAL", "task": "task:cpu", "host": "a"}
	maps.Copy(p, more)
	for name, value := range more {
		if value == "" {
			delete(p, name)
		}
	}
	return p
}

// One point, and all that is sent of it but the timestamp.
func TestPayload(t *testing.T) {
	t.Parallel()
	const long = "é" // of two bytes
	critical := at(0, "id", "CRITICAL")
	point := func(t tags, f fields) pt {
		p := critical
		for name, v := range t {
			p = p.tagged(name, v)
		}
		for name, v := range f {
			p = p.with(name, v)
		}
		return p
	}
	without := func(tag string) pt {
		p := critical
		p.tags = maps.Clone(p.tags)
		delete(p.tags, tag)
		return p
	}

	for _, tt := range []struct {
		name    string
		options []*agent.Option
		point   pt
		want    properties
	}{
		// The whole of it.
		{"the least", nil, critical, plain(nil)},
		{"as |alert() and Chronograf make it", nil,
			point(tags{"cpu": "cpu-total", "dc": "ams"}, fields{"usage": 93.25, "n": 4, "up": true, "why": "load", "message": "CPU of a is 93%", "duration": 3 * time.Minute}),
			plain(properties{"description": "CPU of a is 93%", "cpu": "cpu-total", "dc": "ams", "usage": "93.25", "n": "4", "up": "true", "why": "load"})},
		{"with everything", all(
			opt("id", "{{ .TaskName }}/{{ .Name }}/{{ .Tags.dc }}"), opt("message", "{{ .ID }}: {{ .Fields.usage }}"),
			opt("details", "{{ .Message }}!"), opt("host", "{{ .Tags.dc }}-1"), opt("incidentIdentifier", "{{ .ID }}#1"),
			opt("primaryProperty", "dc"), opt("secondaryProperty", "check"), opt("attribute", "team", "{{ .Details }}!"),
			opt("attribute", "at", "{{ .Time.Unix }}"), opt("attribute", "for", "{{ .Duration }}"), opt("attribute", "level", "{{ .Level }}")),
			point(tags{"dc": "ams"}, fields{"usage": 93.25, "duration": 3 * time.Minute}),
			properties{
				"status": "critical", "check": "task/cpu/ams", "description": "task/cpu/ams: 93.25", "details": "task/cpu/ams: 93.25!",
				"task": "task:cpu", "host": "ams-1", "incident_identifier": "task/cpu/ams#1", "primary_property": "dc",
				"secondary_property": "check", "dc": "ams", "alertID": "id", "usage": "93.25",
				"team": "task/cpu/ams: 93.25!!", "at": fmt.Sprint(epoch), "for": "3m0s", "level": "CRITICAL",
			}},

		// Check, the id.
		{"id of a field", nil, without("alertID").with("alertID", "f"), plain(properties{"check": "f", "description": "f is CRITICAL"})},
		{"id of the tag before the field", nil, critical.with("alertID", "f"), plain(properties{"alertID": "f"})},
		{"id of the field when the tag is empty", nil, without("alertID").tagged("alertID", "").with("alertID", "f"), plain(properties{"check": "f", "description": "f is CRITICAL"})},
		{"id of none", nil, without("alertID"), plain(properties{"check": "cpu:nil", "description": "cpu:nil is CRITICAL"})},
		{"id of the group", nil, without("alertID").grouped("host=a"), plain(properties{"check": "cpu:host=a", "description": "cpu:host=a is CRITICAL"})},
		{"idTag", all(opt("idTag", "x")), point(tags{"x": "t"}, nil), plain(properties{"check": "t", "description": "t is CRITICAL", "alertID": "id"})},
		{"idField", all(opt("idField", "x")), point(nil, fields{"x": 5}), plain(properties{"check": "5", "description": "5 is CRITICAL", "alertID": "id"})},
		{"idTag of a point without", all(opt("idTag", "x")), critical, plain(nil)},
		{"idField of a point without", all(opt("idField", "x")), without("alertID").with("alertID", "f"), plain(properties{"check": "f", "description": "f is CRITICAL"})},
		{"idTag that is empty", all(opt("idTag", "x")), without("alertID").tagged("x", ""), plain(properties{"check": "cpu:nil", "description": "cpu:nil is CRITICAL"})},
		{"id template", all(opt("id", "{{ .Name }}|{{ .TaskName }}|{{ .Group }}|{{ .Tags.host }}")), critical.grouped("g"), plain(properties{"check": "cpu|task|g|a", "description": "cpu|task|g|a is CRITICAL", "alertID": "id"})},
		{"id template that fails", all(opt("id", "{{ index .Tags.host 9 }}")), critical, plain(properties{"check": "cpu:nil", "description": "cpu:nil is CRITICAL", "alertID": "id"})},
		{"the id may be the host", all(opt("idTag", "host")), critical, plain(properties{"check": "a", "description": "a is CRITICAL", "alertID": "id"})},

		// Description, the message.
		{"message of its field", nil, critical.with("message", "m"), plain(properties{"description": "m"})},
		{"message of no field", nil, critical.tagged("message", "m"), plain(properties{"message": "m"})},
		{"message that is a number", nil, critical.with("message", 1.5), plain(properties{"description": "1.5"})},
		{"message that is empty", nil, critical.with("message", ""), plain(nil)},
		{"messageField", all(opt("messageField", "x")), point(nil, fields{"x": "m", "message": "n"}), plain(properties{"description": "m", "message": "n"})},
		{"messageField of a point without", all(opt("messageField", "x")), critical.with("message", "n"), plain(properties{"description": "n"})},
		{"message template", all(opt("message", "{{ .ID }} {{ .Level }} {{ .Fields.x }}")), point(nil, fields{"x": "y", "message": "n"}), plain(properties{"description": "id CRITICAL y", "x": "y", "message": "n"})},
		{"message template that fails", all(opt("message", "{{ index .Fields.x 9 }}")), critical, plain(nil)},
		{"message template that renders nothing", all(opt("message", "{{ .Tags.x }}")), critical, plain(properties{"description": ""})},
		{"message of 2,048 characters", nil, critical.with("message", strings.Repeat(long, 2048)), plain(properties{"description": strings.Repeat(long, 2048)})},
		{"message of 2,049 characters", nil, critical.with("message", strings.Repeat(long, 2049)), plain(properties{"description": strings.Repeat(long, 2048)})},
		{"message of 2,048 bytes and one more", nil, critical.with("message", strings.Repeat("m", 2048)+long), plain(properties{"description": strings.Repeat("m", 2048)})},
		{"message of a template, cut", all(opt("message", strings.Repeat("m", 2047)+"{{ .Fields.x }}")), critical.with("x", "€uro"), plain(properties{"description": strings.Repeat("m", 2047) + "€", "x": "€uro"})},
		{"description as an attribute, cut", all(opt("attribute", "description", strings.Repeat(long, 2049))), critical, plain(properties{"description": strings.Repeat(long, 2048)})},
		{"what is not a description is not cut", all(opt("details", "{{ .Message }}")), critical.with("message", strings.Repeat(long, 3000)), plain(properties{"description": strings.Repeat(long, 2048), "details": strings.Repeat(long, 3000)})},

		// Details.
		{"details", all(opt("details", "{{ .Message }}, {{ .ID }}, {{ .Group }}")), critical, plain(properties{"details": "id is CRITICAL, id, nil"})},
		{"details that render nothing", all(opt("details", "{{ .Tags.x }}")), critical, plain(nil)},
		{"details that fail", all(opt("details", "a {{ index .Tags.host 9 }}")), critical, plain(nil)},
		{"details with JSON", all(opt("details", "{{ json .Fields }}{{ jsonCompact .Tags }}")), critical.with("n", 3).with("s", "<a> & 'b'"),
			plain(properties{"n": "3", "s": "<a> & 'b'", "details": `{"n":3,"s":"\u003ca\u003e \u0026 'b'"}` + "\n" + `{"host":"a"}`})},
		{"details with JSON of all", all(opt("details", "{{ jsonCompact . }}")), critical,
			plain(properties{"details": `{"Name":"cpu","TaskName":"task","Group":"nil","Tags":{"host":"a"},"ID":"id","Fields":{},"Level":"CRITICAL",` +
				`"Time":"2023-11-14T22:13:20Z","Duration":0,"Message":"id is CRITICAL"}`})},
		{"details with JSON of what is not there", all(opt("details", "{{ json .Fields.x }}{{ jsonCompact .Tags.x }}")), critical, plain(properties{"details": "null\nnull"})},
		{"details with JSON of what it cannot tell", all(opt("details", "a{{ json .Fields }}{{ jsonCompact .Fields }}b")), critical.with("x", math.NaN()), plain(properties{"x": "NaN", "details": "ab"})},
		{"details with JSON of too much", all(opt("details", "{{ jsonCompact .Fields }}")), critical.with("x", strings.Repeat("x", 1<<20)), plain(properties{"x": strings.Repeat("x", 1<<20)})},
		{"details with JSON that grows too much", all(opt("details", "{{ len (json .Fields) }}")), critical.with("x", strings.Repeat("\x01", 1<<18)), plain(properties{"x": strings.Repeat("\x01", 1<<18)})},
		{"details are seen by host and attributes", all(opt("details", "d"), opt("host", "{{ .Details }}h"), opt("attribute", "x", "{{ .Details }}x")), critical, plain(properties{"details": "d", "host": "dh", "x": "dx"})},

		// Host.
		{"host of the tag, without attributes", all(opt("autoAttributes", "")), critical, plain(nil)},
		{"host of the tag, with attributes of fields", all(opt("autoAttributes", "fields")), critical, plain(nil)},
		{"host of a template", all(opt("host", "{{ .Tags.dc }}.{{ .Tags.host }}")), critical.tagged("dc", "ams"), plain(properties{"host": "ams.a", "dc": "ams"})},
		{"host of a template over a field", all(opt("host", "h")), critical.with("host", "f"), plain(properties{"host": "h"})},
		{"host of a field, as fields win over tags", nil, critical.with("host", "f"), plain(properties{"host": "f"})},
		{"host of an attribute", all(opt("host", "h"), opt("attribute", "host", "i")), critical, plain(properties{"host": "i"})},
		{"host of no tag", nil, without("host"), plain(properties{"host": "", "primary_property": "task"})},
		{"host of an empty tag", nil, critical.tagged("host", ""), plain(properties{"host": "", "primary_property": "task"})},
		{"host of a template that renders nothing", all(opt("host", "{{ .Tags.x }}")), critical, plain(properties{"host": "", "primary_property": "task"})},
		{"host of a template that fails", all(opt("host", "a{{ index .Tags.host 9 }}")), critical, plain(properties{"host": "", "primary_property": "task"})},

		// Primary and secondary property.
		{"primary property", all(opt("primaryProperty", "dc")), critical.tagged("dc", "ams"), plain(properties{"primary_property": "dc", "dc": "ams"})},
		{"primary property that is not there, but a host", all(opt("primaryProperty", "dc")), critical, plain(properties{"primary_property": "dc"})},
		{"primary property that is not there at all", all(opt("primaryProperty", "dc")), without("host"), plain(properties{"primary_property": "task", "host": ""})},
		{"a service instead of a host", nil, without("host").tagged("service", "s"), plain(properties{"host": "", "service": "s"})},
		{"an application as a field", nil, without("host").with("application", 7), plain(properties{"host": "", "application": "7"})},
		{"a device that is empty", nil, without("host").tagged("device", ""), plain(properties{"host": "", "primary_property": "task"})},
		{"a service that is no attribute", all(opt("autoAttributes", "fields")), without("host").tagged("service", "s"), plain(properties{"host": "", "primary_property": "task"})},
		{"a task emptied by an attribute", all(opt("attribute", "task", "")), without("host"), plain(properties{"host": "", "primary_property": "task"})},
		{"secondary property", all(opt("secondaryProperty", "dc")), critical.tagged("dc", "ams"), plain(properties{"secondary_property": "dc", "dc": "ams"})},
		{"incident identifier", all(opt("incidentIdentifier", "{{ .ID }}/{{ .Group }}/{{ .Tags.host }}")), critical, plain(properties{"incident_identifier": "id/nil/a"})},
		{"incident identifier that renders nothing", all(opt("incidentIdentifier", "{{ .Tags.x }}")), critical, plain(nil)},
		{"incident identifier that fails", all(opt("incidentIdentifier", "x{{ index .Tags.host 9 }}")), critical, plain(nil)},

		// Tags and fields as attributes.
		{"tags only", all(opt("autoAttributes", "tags")), point(tags{"t": "1"}, fields{"f": 1}), plain(properties{"t": "1"})},
		{"fields only", all(opt("autoAttributes", "fields")), point(tags{"t": "1"}, fields{"f": 1}), plain(properties{"f": "1"})},
		{"both", all(opt("autoAttributes", "fields,tags")), point(tags{"t": "1"}, fields{"f": 1}), plain(properties{"t": "1", "f": "1"})},
		{"none", all(opt("autoAttributes", "")), point(tags{"t": "1"}, fields{"f": 1}), plain(nil)},
		{"a field wins over a tag", nil, point(tags{"x": "tag"}, fields{"x": "field"}), plain(properties{"x": "field"})},
		{"an attribute wins over both", all(opt("attribute", "x", "mine")), point(tags{"x": "tag"}, fields{"x": "field"}), plain(properties{"x": "mine"})},
		{"an attribute that fails leaves its property out", all(opt("attribute", "x", "{{ index .Tags.host 9 }}")), point(tags{"x": "tag"}, nil), plain(nil)},
		{"an attribute that is empty too", all(opt("attribute", "x", "")), point(tags{"x": "tag"}, nil), plain(nil)},
		{"an attribute means what it says", all(opt("attribute", "check", "c"), opt("attribute", "task", "t"), opt("attribute", "source", "s"), opt("attribute", "primary_property", "task"), opt("attribute", "details", "d")), critical,
			plain(properties{"check": "c", "task": "t", "source": "s", "primary_property": "task", "details": "d"})},
		{"empty values are not sent", nil, point(tags{"t": ""}, fields{"f": ""}), plain(nil)},
		{"empty names are not sent", nil, point(tags{"": "t"}, fields{"": "f"}), plain(nil)},
		{"other types of field", nil, point(nil, fields{
			"zero": 0, "int": math.MinInt64, "yes": true, "no": false, "whole": 3.0, "half": 0.5, "big": 1e21, "small": 1e-7, "huge": 123456789.0,
			"nan": math.NaN(), "inf": math.Inf(1), "ninf": math.Inf(-1), "negzero": math.Copysign(0, -1),
		}), plain(properties{
			"zero": "0", "int": "-9223372036854775808", "yes": "true", "no": "false", "whole": "3", "half": "0.5", "big": "1e+21", "small": "1e-7", "huge": "123456789",
			"nan": "NaN", "inf": "+Inf", "ninf": "-Inf", "negzero": "-0",
		})},
		{"names and values of any kind", nil, point(tags{"Größe <b>": "1 & 2\n\"3\" \\ \x00", "日本": "😀"}, nil), plain(properties{"Größe <b>": "1 & 2\n\"3\" \\ \x00", "日本": "😀"})},

		{"reserved tags", nil, point(tags{
			"app_key": "1", "alerts": "2", "status": "3", "timestamp": "4", "primary_property": "5", "secondary_property": "6", "incident_identifier": "7",
			"source": "8", "_source": "9", "source_system": "10", "check": "11", "description": "12", "details": "13", "task": "14",
		}, nil), plain(properties{
			"tag_app_key": "1", "tag_alerts": "2", "tag_status": "3", "tag_timestamp": "4", "tag_primary_property": "5", "tag_secondary_property": "6", "tag_incident_identifier": "7",
			"tag_source": "8", "tag__source": "9", "tag_source_system": "10", "tag_check": "11", "tag_description": "12", "tag_details": "13", "tag_task": "14",
		})},
		{"reserved fields", nil, point(nil, fields{
			"app_key": "1", "alerts": 2, "status": 3.5, "timestamp": true, "primary_property": "5", "secondary_property": "6", "incident_identifier": "7",
			"source": "8", "_source": "9", "source_system": "10", "check": "11", "description": "12", "details": "13", "task": "14",
		}), plain(properties{
			"field_app_key": "1", "field_alerts": "2", "field_status": "3.5", "field_timestamp": "true", "field_primary_property": "5", "field_secondary_property": "6", "field_incident_identifier": "7",
			"field_source": "8", "field__source": "9", "field_source_system": "10", "field_check": "11", "field_description": "12", "field_details": "13", "field_task": "14",
		})},
		{"a reserved tag and field", nil, point(tags{"status": "t"}, fields{"status": "f"}), plain(properties{"tag_status": "t", "field_status": "f"})},
		{"a name in another case is not reserved", nil, point(tags{"Status": "t"}, nil), plain(properties{"Status": "t"})},
		{"a reserved tag does not take another one's name", nil, point(tags{"status": "3", "tag_status": "mine"}, nil), plain(properties{"tag_status": "mine"})},
		{"nor a reserved field", nil, point(nil, fields{"status": "3", "field_status": "mine"}), plain(properties{"field_status": "mine"})},

		{"what became something else is no attribute", all(opt("levelTag", "L"), opt("idField", "I"), opt("messageField", "M"), opt("durationField", "D")),
			point(tags{"L": "CRITICAL", "I": "t", "M": "t", "D": "t"}, fields{"I": "id", "M": "m", "D": 5}),
			plain(properties{"description": "m", "I": "t", "M": "t", "D": "t", "alertID": "id", "level": "CRITICAL"})},
		{"nor seen by a template", all(opt("message", "{{ range $k, $v := .Tags }}{{ $k }} {{ end }}{{ range $k, $v := .Fields }}{{ $k }} {{ end }}")),
			point(tags{"t": "1"}, fields{"f": "2", "duration": 5}), plain(properties{"description": "host t f ", "t": "1", "f": "2"})},
		{"nor the level by the id", all(opt("levelTag", "L"), opt("id", "{{ range $k, $v := .Tags }}{{ $k }} {{ end }}")), point(tags{"L": "CRITICAL"}, nil),
			plain(properties{"check": "alertID host ", "description": "alertID host  is CRITICAL", "alertID": "id", "level": "CRITICAL"})},
		{"a duration that is none stays", nil, critical.with("duration", 1.5), plain(properties{"duration": "1.5"})},
		{"the level's tag stays when the field was read", nil, critical.tagged("level", "ok"), plain(properties{"level": "ok"})},

		// Templates.
		{"a group is nil in id, message, details and incident identifier, and empty in host and attributes",
			all(opt("id", "{{ .Group }}"), opt("message", "{{ .Group }}"), opt("details", "{{ .Group }}"), opt("incidentIdentifier", "{{ .Group }}"), opt("host", "h{{ .Group }}"), opt("attribute", "x", "x{{ .Group }}")),
			critical, plain(properties{"check": "nil", "description": "nil", "details": "nil", "incident_identifier": "nil", "host": "h", "x": "x", "alertID": "id"})},
		{"and itself when there is one",
			all(opt("id", "{{ .Group }}"), opt("message", "{{ .Group }}"), opt("details", "{{ .Group }}"), opt("incidentIdentifier", "{{ .Group }}"), opt("host", "{{ .Group }}"), opt("attribute", "x", "{{ .Group }}")),
			critical.grouped("g"), plain(properties{"check": "g", "description": "g", "details": "g", "incident_identifier": "g", "host": "g", "x": "g", "alertID": "id"})},
		{"the level is Kapacitor's word", all(opt("level", "2", "CRITICAL"), opt("message", "{{ .Level }}")), critical.with("level", 2), plain(properties{"description": "CRITICAL"})},
		{"the time is UTC", all(opt("message", "{{ .Time }}")), critical, plain(properties{"description": "2023-11-14 22:13:20 +0000 UTC"})},
		{"fields as Kapacitor prints them", all(opt("message", `{{ .Fields.f }} {{ index .Fields "i" }} {{ printf "%.2f" .Fields.f }}`)), point(nil, fields{"f": 93.25, "i": 7}), plain(properties{"description": "93.25 7 93.25", "f": "93.25", "i": "7"})},
		{"no HTML is escaped", all(opt("message", `<b>{{ .Tags.host }} & "co"</b>`)), critical, plain(properties{"description": `<b>a & "co"</b>`})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, tt.options...).one(tt.point)
			wantProperties(t, c, tt.want)
			if c.AppKey != "key" || c.Time != epoch || c.Level != "CRITICAL" {
				t.Errorf("app key %q, time %d, level %q", c.AppKey, c.Time, c.Level)
			}
			// P10: the other member of the pair makes the same bytes.
			for range 10 {
				if other := start(t, tt.options...).one(tt.point); !bytes.Equal(other.Payload, c.Payload) {
					t.Fatalf("another handler makes\n%s, this one\n%s", other.Payload, c.Payload)
				}
			}
		})
	}
}

// A key that is not there renders as nothing, wherever it stands.
func TestMissingKeys(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"{{ .Fields.x }}", "{{ .Tags.x }}", `{{ index .Fields "x" }}`, `{{ index .Tags "x" }}`, "{{ .Fields.x.y }}", "{{ .Details }}",
		"{{ $x := .Fields.x }}{{ $x }}", "{{ $.Fields.x }}", "{{ $.Tags.x }}", "{{ (.Fields.x) }}", `{{ (index .Fields "x") }}`,
		"{{ if .Fields.x }}no{{ else }}{{ .Fields.x }}{{ end }}", "{{ if .Tags.x }}no{{ end }}", "{{ if not .Fields.x }}{{ .Fields.y }}{{ end }}",
		"{{ if .Tags.host }}{{ .Tags.x }}{{ .Fields.x }}{{ end }}", "{{ with .Fields }}{{ .x }}{{ end }}", "{{ with .Tags }}{{ .x }}{{ end }}",
		"{{ with .Fields.x }}no{{ end }}", "{{ with .Fields.x }}no{{ else }}{{ .Fields.x }}{{ end }}",
		"{{ range .Fields.x }}no{{ end }}", "{{ range .Fields.x }}no{{ else }}{{ .Fields.x }}{{ end }}",
		"{{ range .Tags }}{{ $.Fields.x }}{{ end }}", "{{ range $k, $v := .Tags }}{{ index $.Fields $v }}{{ end }}",
		`{{ define "d" }}{{ .x }}{{ end }}{{ template "d" .Fields }}`, `{{ define "d" }}{{ . }}{{ end }}{{ template "d" .Fields.x }}`,
		`{{ block "b" .Fields }}{{ .x }}{{ end }}`, `{{ define "d" }}{{ $.x }}{{ end }}{{ template "d" .Tags }}`,
		`{{ printf "%v" .Fields.x }}`, `{{ printf "%s%.2f%d%q" .Fields.x .Fields.y .Tags.x .Fields.x }}`, `{{ .Fields.x | printf "%v" }}`,
		"{{ print .Fields.x }}", "{{ print .Tags.x }}", "{{ html .Fields.x }}", "{{ .Tags.x | html }}", "{{ js .Fields.x }}", "{{ urlquery .Fields.x }}",
	} {
		t.Run(text, func(t *testing.T) {
			r := start(t, opt("attribute", "a", text), opt("attribute", "b", "b"+text+"b"), opt("attribute", "c", "{{ .Tags.host }}"+text+"c"))
			wantProperties(t, r.one(at(0, "id", "CRITICAL")), plain(properties{"b": "bb", "c": "ac"}))
			r.wantLogged(0)
		})
	}
	t.Run("but for the end of a line", func(t *testing.T) {
		c := start(t, opt("message", "a{{ println .Fields.x }}b")).one(at(0, "id", "CRITICAL"))
		if got := c.properties["description"]; got != "a\nb" {
			t.Errorf("rendered %q", got)
		}
	})
	t.Run("and one that is there as itself", func(t *testing.T) {
		r := start(t, opt("message", `{{ .Fields.x }} {{ print .Fields.x 1 "a" }} {{ println .Fields.x }}{{ printf "%03d" .Fields.i }} {{ html .Tags.t }} {{ js .Tags.t }} {{ urlquery .Tags.t }} {{ .Fields.b }}`),
			opt("autoAttributes", ""))
		c := r.one(at(0, "id", "CRITICAL").with("x", 1.5).with("i", 7).with("b", false).tagged("t", "<'&>"))
		want := "1.5 1.5 1a 1.5\n007 &lt;&#39;&amp;&gt; \\u003C\\'\\u0026\\u003E %3C%27%26%3E false"
		if got := c.properties["description"]; got != want {
			t.Errorf("rendered\n%q, want\n%q", got, want)
		}
	})
}

// Whatever a template makes of the data, the payload is UTF-8.
func TestInvalidUTF8(t *testing.T) {
	t.Parallel()
	critical := at(0, "id", "CRITICAL").tagged("city", "Zürich")
	for _, tt := range []struct{ name, template, want string }{
		{"half a character", "{{ slice .Tags.city 0 2 }}", "Z\uFFFD"},
		{"the other half", "{{ slice .Tags.city 2 4 }}", "\uFFFDr"},
		{"a constant", `{{ "\xff" }}!`, "\uFFFD!"},
		{"a byte of a text", `{{ printf "%c" 56320 }}`, "\uFFFD"},
		{"the text of the template", "a\xffb", "a\uFFFDb"},
	} {
		for _, option := range []string{"id", "message", "details", "host", "incidentIdentifier", "attribute"} {
			t.Run(tt.name+" in "+option, func(t *testing.T) {
				o := opt(option, tt.template)
				name := map[string]string{"id": "check", "message": "description", "incidentIdentifier": "incident_identifier", "attribute": "x"}[option]
				if name == "" {
					name = option
				}
				if option == "attribute" {
					o = opt(option, name, tt.template)
				}
				r := start(t, o)
				changes := append(r.send(critical), r.send(at(1, "id", "OK").tagged("city", "Zürich"))...)
				wantTold(t, changes, "CRITICAL@0 OK@1")
				wantOneAlert(t, changes)
				if got := changes[0].properties[name]; got != tt.want {
					t.Errorf("%s is %q, want %q", name, got, tt.want)
				}
			})
		}
	}
	t.Run("in the name of an attribute", func(t *testing.T) {
		c := start(t, opt("attribute", "a\xffb", "x")).one(critical)
		if c.properties["a\uFFFDb"] != "x" {
			t.Errorf("properties %q", c.properties)
		}
	})
	// The protocol gives none, but a point may not break the payload.
	t.Run("in the point", func(t *testing.T) {
		r := start(t)
		changes := r.send(at(0, "i\xffd", "CRITICAL").tagged("t\xff", "\xfe").with("message", strings.Repeat("\xff", 3000)))
		wantTold(t, changes, "CRITICAL@0")
		if got := changes[0].properties["t\uFFFD"]; got != "\uFFFD" {
			t.Errorf("properties %q", changes[0].properties)
		}
	})
}

// What a template or a point lacks is said once, not with every alert.
func TestPayloadNotices(t *testing.T) {
	t.Parallel()
	t.Run("no primary property", func(t *testing.T) {
		r := start(t, opt("autoAttributes", ""))
		for i := range 5 {
			p := at(float64(i), fmt.Sprint("id", i), "CRITICAL")
			delete(p.tags, "host")
			r.send(p)
		}
		r.wantLogged(1, "level=WARN", "no primary property", ".host('…')", ".primaryProperty('…')", "id=id0")
	})
	t.Run("failing templates", func(t *testing.T) {
		const bad = "{{ index .Tags.host 9 }}"
		r := start(t, opt("id", bad), opt("message", bad), opt("details", bad), opt("incidentIdentifier", bad), opt("host", bad),
			opt("attribute", "x", bad), opt("attribute", "y", bad))
		wantTold(t, r.send(at(0, "id", "WARNING"), at(1, "id", "CRITICAL"), at(2, "id", "OK")), "WARNING@0 CRITICAL@1 OK@2")
		for _, option := range []string{"option=id", "option=message", "option=details", "option=incidentIdentifier", "option=host", `option="attribute x"`, `option="attribute y"`} {
			r.wantLogged(1, "level=ERROR", "a template failed", option+" ", "mend the template")
		}
		r.h.Stop()
		r.wantLogged(1, "failed_templates=19", "changes=3")
	})
}
