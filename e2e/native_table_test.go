package e2e

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestSamePayloadAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	compare(t, "tags,fields", comparisons)
}

// What the setting auto-attributes leaves out, both leave out.
func TestSameAutoAttributesAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"tags", "fields", ""} {
		t.Run("setting "+setting, func(t *testing.T) {
			t.Parallel()
			compare(t, setting, []comparison{{name: "every type", point: usualPoint, groupBy: `'host'`, options: usualHost}})
		})
	}
}

// The point and the host of a comparison that is about something else.
const (
	usualPoint = `system,host=web-1,region=eu usage=USAGE,count=3i,up=true,note="all is well"`
	usualHost  = `.host('web-1')`
)

// The differences, all of them.
var (
	emptyHost = difference{"an empty host is sent where .host() is not set", each(func(p payload) {
		if p["host"] == "" {
			delete(p, "host")
		}
	})}
	hostOverTag = difference{"an empty host takes the place of the tag", each(func(p payload) {
		if p["host"] == "" {
			p["host"] = "web-1"
		}
	})}
	noPrimary = difference{"an alert without a primary property is sent, for BigPanda to drop", each(func(p payload) {
		p["primary_property"] = "task"
	})}
	emptyValue = difference{"an empty value is sent", each(func(p payload) {
		for name, value := range p {
			if value == "" {
				delete(p, name)
			}
		}
	})}
	noValue = difference{"what is not there renders as <no value>", each(func(p payload) {
		for name, value := range p {
			if text, ok := value.(string); ok {
				p[name] = strings.ReplaceAll(text, "<no value>", "")
			}
		}
	})}
	halfRendered = difference{"a template that fails is sent as far as it came", each(func(p payload) {
		delete(p, "half")
	})}
	longDescription = difference{"a description is longer than the API allows", each(func(p payload) {
		p["description"] = string([]rune(p["description"].(string))[:2048])
	})}
	htmlTemplate = difference{"details are an HTML template, of which the entities are undone", each(func(p payload) {
		if p["details"] == "<a href=\"/?q=a%20b%20%26%20c\">a b & c</a> \u00a0<" {
			p["details"] = strings.ReplaceAll(htmlDetails, "{{ .Fields.note }}", "a b & c")
		}
	})}
	braces = difference{"details that begin with a brace are not sent", each(func(p payload) {
		p["details"] = "{ " + p["check"].(string) + " }"
	})}
	serverInfo = difference{"a template has the server's name and ids", each(func(p payload) {
		p["details"] = regexp.MustCompile(`"ServerInfo":\{[^}]*\},`).ReplaceAllString(p["details"].(string), "")
	})}
	sameSecond = difference{"two changes within a second have one timestamp, of which BigPanda takes the first", func(native []payload) []payload {
		for i, p := range native {
			p["timestamp"] = unix(i)
		}
		return native
	}}
	repeats = difference{"an alert that stays at its level is sent again", func(native []payload) []payload {
		var kept []payload
		for _, p := range native {
			if len(kept) == 0 || kept[len(kept)-1]["description"] != p["description"] {
				kept = append(kept, p)
			}
		}
		return kept
	}}
)

// each makes an adapt function out of what is to be done to each payload.
func each(adapt func(payload)) func([]payload) []payload {
	return func(native []payload) []payload {
		for _, p := range native {
			adapt(p)
		}
		return native
	}
}

// overwritten is of the comparison that has a tag or field of each name that
// the API or the alert itself defines, but for the timestamp: that alert the
// native handler loses.
var overwritten = difference{"a tag or field takes the place of a reserved property", func(native []payload) []payload {
	for i, p := range native {
		for _, name := range []string{"status", "check", "source", "primary_property"} {
			p["tag_"+name] = p[name]
			delete(p, name)
		}
		for _, name := range []string{"app_key", "description", "details", "task", "source_system", "_source", "incident_identifier"} {
			p["field_"+name] = p[name]
			delete(p, name)
		}
		p["app_key"] = appKey
		p["status"] = usualWalk[i].status
		p["check"] = "system:host=web-1"
		p["description"] = "system:host=web-1 is " + usualWalk[i].name
		p["task"] = comparedTask + ":system"
	}
	return native
}}

// htmlDetails is what the difference htmlTemplate shows in.
const htmlDetails = `<a href="/?q={{ .Fields.note }}">{{ .Fields.note }}</a> &nbsp;&lt;<!-- end -->`

// inTemplates is what every template of a comparison prints, so that each value
// is seen in each place.
const inTemplates = `{{ .Name }} {{ .TaskName }} {{ .Group }} {{ index .Tags "region" }} {{ .ID }} {{ .Level }} ` +
	`{{ .Fields.usage }} {{ .Fields.count }} {{ .Fields.up }} {{ .Fields.note }} {{ .Time }} {{ .Time.Unix }} {{ .Duration }}`

var comparisons = []comparison{
	{name: "tags, and fields of every type", point: usualPoint, groupBy: `'host'`, options: usualHost},
	{name: "no group", point: usualPoint, options: usualHost},
	{name: "group of two tags", point: usualPoint, groupBy: `'region', 'host'`, options: usualHost},
	{name: "group of all tags", point: usualPoint, groupBy: `*`, options: usualHost},
	{name: "changes only", point: usualPoint, groupBy: `'host'`, alert: `.stateChangesOnly()`, options: usualHost},
	{
		name: "the same level again", point: usualPoint, groupBy: `'host'`, options: usualHost,
		walk:        []level{critical, critical, warning, critical, critical, ok},
		differences: []difference{repeats},
	},
	{
		name: "changes within a second", point: usualPoint, groupBy: `'host'`, options: usualHost, spacing: 300 * time.Millisecond,
		differences: []difference{sameSecond},
	},
	{
		name: "id", point: usualPoint, groupBy: `'host'`, options: usualHost,
		alert: `.id('{{ .Name }} {{ .TaskName }} {{ .Group }} on {{ index .Tags "host" }}')`,
	},
	{name: "id that leaves the group out", point: usualPoint, groupBy: `'host'`, alert: `.id('usage_check')`, options: usualHost},
	{name: "message", point: usualPoint, groupBy: `'host'`, alert: `.message('` + inTemplates + `')`, options: usualHost},
	{name: "message without a group", point: usualPoint, alert: `.message('` + inTemplates + `')`, options: usualHost},
	{
		name: "id and message as options of the function", point: usualPoint, groupBy: `'host'`, options: usualHost,
		alert:    `.id('{{ .Name }} {{ .TaskName }} {{ .Group }}').message('` + inTemplates + `')`,
		function: `.id('{{ .Name }} {{ .TaskName }} {{ .Group }}').message('` + inTemplates + `')`,
		handOn:   `.levelField('level').durationField('duration')`,
	},
	{
		name: "id and message as options, without a group", point: usualPoint, options: usualHost,
		alert:    `.id('{{ .Name }} {{ .TaskName }} {{ .Group }}').message('` + inTemplates + `')`,
		function: `.id('{{ .Name }} {{ .TaskName }} {{ .Group }}').message('` + inTemplates + `')`,
		handOn:   `.levelField('level').durationField('duration')`,
	},
	{
		name: "details", point: usualPoint, groupBy: `'host'`, options: usualHost,
		alert:    `.details('` + inTemplates + ` {{ .Message }}')`,
		function: `.details('` + inTemplates + ` {{ .Message }}')`,
	},
	{
		name: "details with marks", groupBy: `'host'`, options: usualHost,
		point:    `system,host=web-1 usage=USAGE,note="<b>\"it's\" 1 + 1 & more</b>"`,
		alert:    `.details('<p>{{ .Fields.note }}</p> & "quotes" + plus')`,
		function: `.details('<p>{{ .Fields.note }}</p> & "quotes" + plus')`,
	},
	{
		name: "details with entities and a link", groupBy: `'host'`, options: usualHost,
		point:       `system,host=web-1 usage=USAGE,note="a b & c"`,
		alert:       `.details('` + htmlDetails + `')`,
		function:    `.details('` + htmlDetails + `')`,
		differences: []difference{htmlTemplate},
	},
	{
		name: "details with JSON", groupBy: `'host'`, options: usualHost,
		point:    `system,host=web-1,region=eu usage=USAGE,count=3i,up=true,note="<b>\"it's\" 1 + 1 & more</b>"`,
		alert:    `.details('values: {{ json .Fields }}{{ jsonCompact .Tags }} {{ jsonCompact .Fields.nope }} {{ .Time | json }}')`,
		function: `.details('values: {{ json .Fields }}{{ jsonCompact .Tags }} {{ jsonCompact .Fields.nope }} {{ .Time | json }}')`,
	},
	{
		name: "details with JSON of all", point: usualPoint, groupBy: `'host'`, options: usualHost,
		alert:       `.details('all: {{ jsonCompact . }}')`,
		function:    `.details('all: {{ jsonCompact . }}')`,
		differences: []difference{serverInfo},
	},
	{
		name: "details that begin with a brace", point: usualPoint, groupBy: `'host'`, options: usualHost,
		alert:       `.details('{ {{ .ID }} }')`,
		function:    `.details('{ {{ .ID }} }')`,
		differences: []difference{braces},
	},
	{name: "host from a template", point: usualPoint, groupBy: `'host'`, options: `.host('{{ index .Tags "host" }}.example.com')`},
	{
		name: "host only as a tag", point: usualPoint, groupBy: `'host'`,
		differences: []difference{hostOverTag},
	},
	{
		name: "no host, another primary property", point: `system,service=shop usage=USAGE`, groupBy: `'service'`,
		differences: []difference{emptyHost},
	},
	{
		name: "no primary property", point: `system,region=eu usage=USAGE`, groupBy: `'region'`,
		differences: []difference{emptyHost, noPrimary},
	},
	{
		name: "attributes", point: usualPoint, groupBy: `'host'`, options: usualHost + `
            .attribute('fixed', 'as it is')
            .attribute('all', '` + inTemplates + ` {{ .Message }}')
            .attribute('loud', '{{ if gt .Fields.usage 90.0 }}loud{{ else }}quiet{{ end }}')
            .attribute('every tag', '{{ range $name, $value := .Tags }}{{ $name }}={{ $value }} {{ end }}')
            .attribute('maps', '{{ .Tags }} {{ .Fields }}')`,
	},
	{
		name: "attributes without a group", point: usualPoint, options: usualHost + `.attribute('group', 'group: {{ .Group }}.')`,
	},
	{
		name: "details in an attribute", point: usualPoint, groupBy: `'host'`,
		alert:    `.details('usage of {{ index .Tags "host" }}')`,
		function: `.details('usage of {{ index .Tags "host" }}')`,
		options:  usualHost + `.attribute('again', '{{ .Details }}')`,
	},
	{
		name: "attribute in place of a tag, a field and the message", point: usualPoint, groupBy: `'host'`,
		options: usualHost + `.attribute('region', 'us').attribute('count', 'many').attribute('description', 'see {{ .Message }}')`,
	},
	{name: "app key", point: usualPoint, groupBy: `'host'`, options: usualHost + `.appKey('of this task')`},
	{
		name: "primary and secondary property", point: usualPoint, groupBy: `'host'`,
		options: usualHost + `.primaryProperty('region').secondaryProperty('note')`,
	},
	{
		name: "field of a tag's name", point: `system,host=web-1,zone=a usage=USAGE,zone="b"`, groupBy: `'host'`, options: usualHost,
	},
	{
		name: "tags and fields of reserved names", groupBy: `'host'`, options: usualHost + `.secondaryProperty('check')`,
		point: `system,host=web-1,status=warning,check=t2,source=t3,primary_property=host ` +
			`usage=USAGE,app_key="f1",description="f2",details="f3",task="f4",source_system="f5",_source="f6",incident_identifier="f7"`,
		differences: []difference{overwritten},
	},
	{
		name: "empty value", point: `system,host=web-1 usage=USAGE,note=""`, groupBy: `'host'`, options: usualHost,
		differences: []difference{emptyValue},
	},
	{
		name: "numbers", groupBy: `'host'`, options: usualHost,
		point: `system,host=web-1 usage=USAGE,whole=3,part=0.1,large=1e21,less=123456789012345680000,small=1e-7,tiny=5e-324,` +
			`zero=0,minus=-0.0,most=9223372036854775807i,least=-9223372036854775808i,yes=t,no=f`,
	},
	{
		name: "text of every kind", groupBy: `'host'`, options: usualHost,
		point: `system,host=web-1,zone=a\ b\,c\=d,où=日本🐼 usage=USAGE,note="<a href=\"x\">& 'y' \\ z</a>",line="日本 ` + "\u2028" + `é"`,
	},
	{
		name: "long message", point: usualPoint, groupBy: `'host'`, options: usualHost,
		alert:       `.message('{{ .ID }} {{ .Level }} ` + strings.Repeat("ünï", 1000) + `')`,
		differences: []difference{longDescription},
	},
	{
		name: "template that asks for what is not there", point: usualPoint, groupBy: `'host'`,
		options:     usualHost + `.attribute('missing', 'field {{ .Fields.nope }}, tag {{ .Tags.nope }}, tag {{ index .Tags "nope" }}.')`,
		differences: []difference{noValue},
	},
	{
		name: "template that fails", point: usualPoint, groupBy: `'host'`,
		options:     usualHost + `.attribute('half', 'begin {{ slice .ID 0 1000 }} end')`,
		differences: []difference{halfRendered},
	},
	{
		name: "several nodes before the alert", point: usualPoint, groupBy: `'host'`, options: usualHost,
		nodes: `|eval(lambda: "usage" + 0.0, lambda: "usage" > 80.0, lambda: string("count")).as('usage', 'busy', 'text')`,
	},
}
