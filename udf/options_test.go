package udf_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// optionTypes is every option of @bigpanda() and the types of its values.
var optionTypes = map[string]string{
	"appKey":             "STRING",
	"attribute":          "STRING STRING",
	"autoAttributes":     "STRING",
	"details":            "STRING",
	"durationField":      "STRING",
	"host":               "STRING",
	"id":                 "STRING",
	"idField":            "STRING",
	"idTag":              "STRING",
	"incidentIdentifier": "STRING",
	"infoStatus":         "STRING",
	"level":              "STRING STRING",
	"levelField":         "STRING",
	"levelTag":           "STRING",
	"maxAge":             "DURATION",
	"message":            "STRING",
	"messageField":       "STRING",
	"passThrough":        "BOOL",
	"primaryProperty":    "STRING",
	"resendAfter":        "DURATION",
	"resolveAfter":       "DURATION",
	"secondaryProperty":  "STRING",
}

// A user's TICKscript is checked against this, so it is written out here.
func TestInfo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*udf.Config)
	}{
		{"ready", func(*udf.Config) {}},
		{"P2: with a bad setting", func(c *udf.Config) { c.Err = errors.New("bad") }},
		{"P2: with nothing at all", func(c *udf.Config) { *c = udf.Config{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.change)
			info, err := r.h.Info()
			if err != nil {
				t.Fatal(err)
			}
			if info.Wants != agent.EdgeType_STREAM || info.Provides != agent.EdgeType_STREAM {
				t.Errorf("edges %s and %s, want streams", info.Wants, info.Provides)
			}
			got := make(map[string]string)
			for name, o := range info.Options {
				got[name] = strings.Trim(fmt.Sprint(o.ValueTypes), "[]")
			}
			for _, name := range slices.Sorted(maps.Keys(optionTypes)) {
				if got[name] != optionTypes[name] {
					t.Errorf("option %s takes %q, want %q", name, got[name], optionTypes[name])
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("options that the design does not know: %v", got)
			}
			if len(r.opened) > 0 {
				t.Error("Info opened the outbox")
			}
		})
	}
}

// all is an option list.
func all(options ...*agent.Option) []*agent.Option { return options }

func TestInitAccepts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options []*agent.Option
	}{
		{"nothing", nil},
		{"every option that goes together", all(
			opt("appKey", "k"), opt("primaryProperty", "p"), opt("secondaryProperty", "s"),
			opt("levelField", "level"), opt("idTag", "alertID"), opt("messageField", "message"), opt("durationField", "duration"),
			opt("incidentIdentifier", "{{ .Name }} {{ .TaskName }} {{ .Group }} {{ .Tags.x }} {{ .ID }}"),
			opt("details", "{{ .ID }} {{ .Fields.x }} {{ .Level }} {{ .Time }} {{ .Duration }} {{ .Message }}"),
			opt("host", "{{ .Message }} {{ .Details }}"),
			opt("attribute", "a", "{{ .Details }}"), opt("attribute", "b", ""),
			opt("level", "SEVERE", "CRITICAL"), opt("level", "minor", "warn"),
			opt("infoStatus", "warning"), opt("autoAttributes", "tags"), opt("passThrough", false),
			opt("resendAfter", time.Hour), opt("resolveAfter", time.Hour), opt("maxAge", time.Hour))},
		{"the others", all(
			opt("levelTag", "level"), opt("id", "{{ .Name }} {{ .TaskName }} {{ .Group }} {{ .Tags.x }}"),
			opt("message", "{{ .ID }} {{ .Fields.x }} {{ .Level }} {{ .Time }} {{ .Duration }}"))},
		{"idField", all(opt("idField", "x"))},
		{"empty texts leave options unset", all(
			opt("appKey", ""), opt("levelField", ""), opt("levelTag", ""), opt("id", ""), opt("idTag", ""), opt("idField", ""),
			opt("message", ""), opt("messageField", ""), opt("details", ""), opt("host", ""), opt("incidentIdentifier", ""),
			opt("primaryProperty", ""), opt("secondaryProperty", ""), opt("durationField", ""))},
		{"infoStatus ok", all(opt("infoStatus", "ok"))},
		{"infoStatus critical", all(opt("infoStatus", "critical"))},
		{"infoStatus unknown", all(opt("infoStatus", "unknown"))},
		{"infoStatus acknowledged", all(opt("infoStatus", "acknowledged"))},
		{"autoAttributes of both", all(opt("autoAttributes", "tags,fields"))},
		{"autoAttributes with spaces and in capitals", all(opt("autoAttributes", " Fields , TAGS "))},
		{"autoAttributes of none", all(opt("autoAttributes", ""))},
		{"passThrough as it is anyway", all(opt("passThrough", true))},
		{"a word in any case for a level in any case", all(opt("level", "Down", "Crit"))},
		{"a word that is a level", all(opt("level", "OK", "CRITICAL"))},
		{"an attribute that the alert has already", all(opt("attribute", "check", "x"), opt("attribute", "description", "x"))},
		{"an attribute with another case", all(opt("attribute", "Status", "x"), opt("attribute", "status_", "x"))},
		{"a template of names within names", all(opt("message", "{{ range $k, $v := .Tags }}{{ $k }}{{ .unknown }}{{ $.ID }}{{ end }}{{ with .Fields }}{{ .Foo }}{{ end }}"))},
		{"a template that defines another", all(opt("id", `{{ define "x" }}{{ .Anything }}{{ end }}{{ template "x" .Tags }}`))},
		{"a template of only a definition", all(opt("id", `{{ define "x" }}{{ end }}`))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			if failure := r.tryInit(tt.options...); failure != "" {
				t.Errorf("Init failed: %s", failure)
			}
			if want := []string{"task/node"}; !slices.Equal(r.opened, want) {
				t.Errorf("opened %q, want %q", r.opened, want)
			}
		})
	}
}

// P2: a bad option fails Init with one sentence that names it and the hint.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	const (
		idKnows        = "it knows .Name, .TaskName, .Group, .Tags"
		incidentKnows  = idKnows + ", .ID"
		messageKnows   = incidentKnows + ", .Fields, .Level, .Time, .Duration"
		detailsKnows   = messageKnows + ", .Message"
		attributeKnows = detailsKnows + ", .Details"
		lacks          = "this template has no {{ .%s }}: %s"
	)
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		want    string
	}{
		{"unknown", all(opt("hots", "x")), "there is no option .hots(): the options are " + strings.Join(slices.Sorted(maps.Keys(optionTypes)), ", ")},
		{"unknown without a name", all(opt("")), "there is no option .(): the options are " + strings.Join(slices.Sorted(maps.Keys(optionTypes)), ", ")},

		{"no value", all(opt("host")), "option .host() takes one value, not 0"},
		{"two values", all(opt("host", "a", "b")), "option .host() takes one value, not 2"},
		{"one value of two", all(opt("attribute", "a")), "option .attribute() takes two values, not 1"},
		{"three values of two", all(opt("level", "a", "OK", "b")), "option .level() takes two values, not 3"},
		{"a value of no type", all(opt("host", nil)), "option .host() takes a text in quotes, such as 'text', not a value of type bool"},
		{"a text that is no bool", all(opt("passThrough", "no")), "option .passThrough() takes TRUE or FALSE, not a value of type string"},
		{"a number for a bool", all(opt("passThrough", 1)), "option .passThrough() takes TRUE or FALSE, not a value of type int"},
		{"a number for a duration", all(opt("maxAge", 10)), "option .maxAge() takes a duration, such as 10m, not a value of type int"},
		{"a text that is no duration", all(opt("resendAfter", "soon")), "option .resendAfter() takes a duration, such as 10m, not a value of type string"},

		{"appKey twice", all(opt("appKey", "a"), opt("appKey", "a")), "option .appKey() is given twice: keep one"},
		{"host twice", all(opt("host", "a"), opt("appKey", "x"), opt("host", "b")), "option .host() is given twice: keep one"},
		{"passThrough twice", all(opt("passThrough", true), opt("passThrough", false)), "option .passThrough() is given twice: keep one"},
		{"maxAge twice", all(opt("maxAge", time.Hour), opt("maxAge", time.Hour)), "option .maxAge() is given twice: keep one"},
		{"an attribute twice", all(opt("attribute", "a", "1"), opt("attribute", "b", "1"), opt("attribute", "a", "2")), "option .attribute('a', …) is given twice: keep one"},
		{"a level's word twice", all(opt("level", "A", "OK"), opt("level", "A", "OK")), "option .level('A', …) is given twice: keep one"},
		{"a level's word in another case", all(opt("level", "Bad", "WARNING"), opt("level", "bad", "CRITICAL")), `option .level('bad', …): "BAD" is mapped to WARNING and to CRITICAL: keep one`},

		{"two places of the level", all(opt("levelTag", "a"), opt("levelField", "b")), "options .levelField() and .levelTag() contradict each other: keep one"},
		{"two places of the id", all(opt("idTag", "a"), opt("idField", "b")), "options .idField() and .idTag() contradict each other: keep one"},
		{"id and its field", all(opt("id", "a"), opt("idField", "b")), "options .id() and .idField() contradict each other: keep one"},
		{"id and its tag", all(opt("idTag", "b"), opt("id", "a")), "options .id() and .idTag() contradict each other: keep one"},
		{"message and its field", all(opt("message", "a"), opt("messageField", "b")), "options .message() and .messageField() contradict each other: keep one"},

		{"an attribute without a name", all(opt("attribute", "", "x")), "option .attribute('', …): an attribute needs a name: put one before its template"},
		{"attribute app_key", all(opt("attribute", "app_key", "x")), "option .attribute('app_key', …): an attribute cannot be called app_key, which BigPanda defines: choose another name"},
		{"attribute alerts", all(opt("attribute", "alerts", "x")), "option .attribute('alerts', …): an attribute cannot be called alerts, which BigPanda defines: choose another name"},
		{"attribute status", all(opt("attribute", "status", "x")), "option .attribute('status', …): an attribute cannot be called status, which BigPanda defines: choose another name"},
		{"attribute timestamp", all(opt("attribute", "timestamp", "x")), "option .attribute('timestamp', …): an attribute cannot be called timestamp, which BigPanda defines: choose another name"},

		{"the status as primary property", all(opt("primaryProperty", "status")), "option .primaryProperty(): status cannot tell alerts apart: name a tag, a field or an attribute"},
		{"the timestamp as secondary property", all(opt("secondaryProperty", "timestamp")), "option .secondaryProperty(): timestamp cannot tell alerts apart: name a tag, a field or an attribute"},
		{"the status as primary property, as an attribute", all(opt("attribute", "primary_property", "status")), "option .attribute('primary_property', …): status cannot tell alerts apart: name a tag, a field or an attribute"},
		{"what names the primary property", all(opt("secondaryProperty", "primary_property")), "option .secondaryProperty(): primary_property cannot tell alerts apart: name a tag, a field or an attribute"},

		{"a word for no level", all(opt("level", "SEVERE", "BAD")), `option .level('SEVERE', …): "BAD" is no level: use OK, INFO, WARNING or CRITICAL`},
		{"a word for nothing", all(opt("level", "SEVERE", "")), `option .level('SEVERE', …): "" is no level: use OK, INFO, WARNING or CRITICAL`},
		{"no word for a level", all(opt("level", "", "OK")), "option .level('', …): there is no word to map: put the point's word before the level"},
		{"infoStatus", all(opt("infoStatus", "info")), `option .infoStatus(): "info" is no status: use one of ok, critical, warning, unknown, acknowledged`},
		{"infoStatus in capitals", all(opt("infoStatus", "OK")), `option .infoStatus(): "OK" is no status: use one of ok, critical, warning, unknown, acknowledged`},
		{"infoStatus empty", all(opt("infoStatus", "")), `option .infoStatus(): "" is no status: use one of ok, critical, warning, unknown, acknowledged`},
		{"autoAttributes", all(opt("autoAttributes", "tags,field")), `option .autoAttributes(): "field" is no kind of attribute: use 'tags', 'fields', 'tags,fields' or ''`},
		{"resendAfter of nothing", all(opt("resendAfter", 0*time.Second)), "option .resendAfter(): must be longer than nothing: leave the option out to switch it off"},
		{"resolveAfter of nothing", all(opt("resolveAfter", 0*time.Second)), "option .resolveAfter(): must be longer than nothing: leave the option out to switch it off"},
		{"maxAge of less", all(opt("maxAge", -time.Second)), "option .maxAge(): must be longer than nothing: leave the option out to switch it off"},

		{"id asks for too much", all(opt("id", "{{ .ID }}")), "option .id(): " + fmt.Sprintf(lacks, "ID", idKnows)},
		{"id asks for the host's own data", all(opt("id", "{{ .ServerInfo.Hostname }}")), "option .id(): " + fmt.Sprintf(lacks, "ServerInfo", idKnows)},
		{"incidentIdentifier asks for too much", all(opt("incidentIdentifier", "{{ .Level }}")), "option .incidentIdentifier(): " + fmt.Sprintf(lacks, "Level", incidentKnows)},
		{"message asks for itself", all(opt("message", "{{ .Message }}")), "option .message(): " + fmt.Sprintf(lacks, "Message", messageKnows)},
		{"details ask for themselves", all(opt("details", "{{ .Details }}")), "option .details(): " + fmt.Sprintf(lacks, "Details", detailsKnows)},
		{"host asks for what is unknown", all(opt("host", "{{ .Host }}")), "option .host(): " + fmt.Sprintf(lacks, "Host", attributeKnows)},
		{"attribute asks for what is unknown", all(opt("attribute", "a", "{{ .Foo }}")), "option .attribute('a', …): " + fmt.Sprintf(lacks, "Foo", attributeKnows)},
		{"in an if", all(opt("id", "{{ if .Foo }}{{ end }}")), "option .id(): " + fmt.Sprintf(lacks, "Foo", idKnows)},
		{"in an else", all(opt("id", "{{ with .Tags }}{{ else }}{{ .Foo }}{{ end }}")), "option .id(): " + fmt.Sprintf(lacks, "Foo", idKnows)},
		{"in a range, of the root", all(opt("id", "{{ range .Tags }}{{ $.Foo }}{{ end }}")), "option .id(): " + fmt.Sprintf(lacks, "Foo", idKnows)},
		{"in a pipeline", all(opt("id", `{{ .Name | printf "%s%s" .Foo }}`)), "option .id(): " + fmt.Sprintf(lacks, "Foo", idKnows)},
		{"in parentheses", all(opt("id", "{{ (index .Foo 1).Bar }}")), "option .id(): " + fmt.Sprintf(lacks, "Foo", idKnows)},
		{"in a variable", all(opt("id", "{{ $x := .Foo }}")), "option .id(): " + fmt.Sprintf(lacks, "Foo", idKnows)},
		{"handed to another template", all(opt("id", `{{ define "x" }}{{ end }}{{ template "x" .Foo }}`)), "option .id(): " + fmt.Sprintf(lacks, "Foo", idKnows)},
		{"a template that is none", all(opt("message", "{{ .ID ")), "option .message(): parse template: 1: unclosed action"},
		{"a template on several lines", all(opt("details", "a\n{{ .ID }}\n{{ end }}")), "option .details(): parse template: 3: unexpected {{end}}"},
		{"a function that there is not", all(opt("details", "{{ jsonIndent . }}")), `option .details(): parse template: 1: function "jsonIndent" not defined`},
		{"json in the id", all(opt("id", "{{ json .Tags }}")), "option .id(): only .details() has the function json, as in Kapacitor: move it there, or name single values here"},
		{"json in the incident identifier", all(opt("incidentIdentifier", "{{ .Tags | jsonCompact }}")), "option .incidentIdentifier(): only .details() has the function jsonCompact, as in Kapacitor: move it there, or name single values here"},
		{"json in the message", all(opt("message", "{{ jsonCompact .Fields }}")), "option .message(): only .details() has the function jsonCompact, as in Kapacitor: move it there, or name single values here"},
		{"json in the host", all(opt("host", "{{ json .Tags }}")), "option .host(): only .details() has the function json, as in Kapacitor: move it there, or name single values here"},
		{"json in an attribute", all(opt("attribute", "a", "{{ json .Fields }}")), "option .attribute('a', …): only .details() has the function json, as in Kapacitor: move it there, or name single values here"},
		{"a template of an attribute", all(opt("attribute", "a", "{{")), "option .attribute('a', …): parse template: 1: unclosed action"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			got := r.tryInit(tt.options...)
			if got != tt.want {
				t.Errorf("Init said\n%q, want\n%q", got, tt.want)
			}
			if strings.ContainsAny(got, "\r\n") || strings.HasSuffix(got, ".") {
				t.Errorf("not one sentence that goes on after a colon: %q", got)
			}
			if len(r.opened) > 0 {
				t.Error("the outbox was opened for nothing")
			}
		})
	}
}

// A pipeline that went through JSON gives other types: what converts without
// loss is taken.
func TestInitConverts(t *testing.T) {
	t.Parallel()
	base := at(0, "id", "CRITICAL")
	for _, tt := range []struct {
		name   string
		option *agent.Option
		want   string // of the attribute x
	}{
		{"int", opt("attribute", "x", 5), "5"},
		{"double", opt("attribute", "x", 2.5), "2.5"},
		{"bool", opt("attribute", "x", true), "true"},
		{"seconds", opt("attribute", "x", 10*time.Second), "10s"},
		{"minutes and seconds", opt("attribute", "x", 90*time.Second), "90s"},
		{"minutes", opt("attribute", "x", 5*time.Minute), "5m"},
		{"hours", opt("attribute", "x", 36*time.Hour), "36h"},
		{"days", opt("attribute", "x", 48*time.Hour), "2d"},
		{"weeks", opt("attribute", "x", 14*24*time.Hour), "2w"},
		{"milliseconds", opt("attribute", "x", 1500*time.Millisecond), "1500ms"},
		{"microseconds", opt("attribute", "x", 7*time.Microsecond), "7u"},
		{"nanoseconds", opt("attribute", "x", 7*time.Nanosecond), "7ns"},
		{"no time", opt("attribute", "x", 0*time.Second), "0s"},
		{"less than none", opt("attribute", "x", -time.Minute), "-1m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := start(t, tt.option).one(base).properties["x"]; got != tt.want {
				t.Errorf("as a text it is %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("the name of an attribute", func(t *testing.T) {
		if got := start(t, opt("attribute", 10*time.Minute, "x")).one(base).properties["10m"]; got != "x" {
			t.Errorf("attribute 10m is %q", got)
		}
	})
	t.Run("text for a bool", func(t *testing.T) {
		if start(t, opt("passThrough", "false")).h.Mirrors() {
			t.Error("passes points on")
		}
	})
	t.Run("text for a duration", func(t *testing.T) {
		r := start(t, opt("resendAfter", "1.5h"))
		wantTold(t, r.send(base, at(5399, "id", "CRITICAL"), at(5400, "id", "CRITICAL")), "CRITICAL@0 CRITICAL@5400")
	})
}
