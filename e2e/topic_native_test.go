package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// A topicComparison is one topic with two handlers of the same options: Kapacitor's
// own, and one that posts to the daemon.
type topicComparison struct {
	comparison                // options, function and handOn are not used
	handler    map[string]any // the options of both
	batch      bool           // the points are one batch each
}

type options = map[string]any

// withHost is the options with the host that most have.
func withHost(more options) options {
	all := options{"host": "web-1"}
	maps.Copy(all, more)
	return all
}

// usualTopic is a comparison of the usual points, by host.
func usualTopic(name, alert string, handler options, differences ...difference) topicComparison {
	return topicComparison{handler: handler, comparison: comparison{
		name: name, point: usualPoint, groupBy: `'host'`, alert: alert, differences: differences,
	}}
}

func topicPoint(name, point string, handler options, differences ...difference) topicComparison {
	return topicComparison{handler: handler, comparison: comparison{name: name, point: point, groupBy: `'host'`, differences: differences}}
}

// inTopicTemplates is inTemplates but for the group and the task, which an event does
// not say, and with the details.
const inTopicTemplates = `{{ .Name }} {{ index .Tags "region" }} {{ .ID }} {{ .Level }} {{ .Message }} {{ .Details }} ` +
	`{{ .Fields.usage }} {{ .Fields.count }} {{ .Fields.up }} {{ .Fields.note }} {{ .Time }} {{ .Time.Unix }} {{ .Duration }}`

var topicComparisons = []topicComparison{
	usualTopic("tags, and fields of every type", "", withHost(nil)),
	{handler: withHost(nil), comparison: comparison{name: "no group", point: usualPoint}},
	{handler: withHost(nil), comparison: comparison{name: "group of all tags", point: usualPoint, groupBy: "*"}},
	usualTopic("changes only", ".stateChangesOnly()", withHost(nil)),
	usualTopic("id", `.id('{{ .Name }} {{ .TaskName }} {{ .Group }} on {{ index .Tags "host" }}')`, withHost(nil)),
	usualTopic("id that leaves the group out", `.id('usage_check')`, withHost(nil)),
	usualTopic("message", `.message('`+inTemplates+`')`, withHost(nil)),
	usualTopic("details", `.details('`+inTemplates+` {{ .Message }}')`, withHost(nil)),
	{handler: withHost(nil), comparison: comparison{
		name: "details with marks", groupBy: `'host'`, alert: `.details('<p>{{ .Fields.note }}</p> & "quotes" + plus')`,
		point: `system,host=web-1 usage=USAGE,note="<b>\"it's\" 1 + 1 & more</b>"`,
	}},
	{handler: withHost(nil), comparison: comparison{
		name: "details with entities and a link", groupBy: `'host'`, alert: `.details('` + htmlDetails + `')`,
		point: `system,host=web-1 usage=USAGE,note="a b & c"`,
	}},
	usualTopic("details with JSON of all", `.details('all: {{ jsonCompact . }}')`, withHost(nil)),
	usualTopic("details that begin with a brace", `.details('{ {{ .ID }} }')`, withHost(nil)),
	usualTopic("details that an attribute has", `.details('<i>{{ .ID }} & more</i>')`, withHost(options{"attributes": options{"again": "{{ .Details }}"}})),
	usualTopic("host from a template", "", options{"host": `{{ index .Tags "host" }}.example.com`}),
	usualTopic("host only as a tag", "", options{}, hostOverTag),
	{handler: options{"primary-property": "service"}, comparison: comparison{
		name: "no host, another primary property", point: `system,service=shop usage=USAGE`, groupBy: `'service'`, differences: []difference{emptyHost},
	}},
	{handler: options{}, comparison: comparison{
		name: "no primary property", point: `system,region=eu usage=USAGE`, groupBy: `'region'`, differences: []difference{emptyHost, noPrimary},
	}},
	usualTopic("attributes", `.details('of {{ .ID }}')`, withHost(options{"attributes": options{
		"fixed": "as it is", "all": inTopicTemplates,
		"loud": `{{ if gt .Fields.usage 90.0 }}loud{{ else }}quiet{{ end }} {{ if eq .Fields.count 3 }}three{{ end }} {{ printf "%.2f %05d" .Fields.usage .Fields.count }}`,
		"maps": `{{ .Tags }} {{ range $name, $value := .Tags }}{{ $name }}={{ $value }} {{ end }}`,
		"port": 8080, "load": 1.5, "yes": true, "list": []any{"a", 1}, "odd": options{"a": "{{"},
	}})),
	usualTopic("attributes in place of a tag, a field and the message", "", withHost(options{"attributes": options{
		"region": "us", "count": "many", "description": "see {{ .Message }}",
	}})),
	usualTopic("app key", "", withHost(options{"app-key": "of this handler"})),
	usualTopic("primary and secondary property", "", withHost(options{"primary-property": "region", "secondary-property": "note"})),
	usualTopic("a template that asks for what is not there", "", withHost(options{"attributes": options{"missing": "field {{ .Fields.nope }}, tag {{ .Tags.nope }}."}}), noValue),
	usualTopic("a template that fails", "", withHost(options{"attributes": options{"half": "begin {{ slice .ID 0 1000 }} end"}}), halfRendered),
	topicPoint("field of a tag's name", `system,host=web-1,zone=a usage=USAGE,zone="b"`, withHost(nil)),
	topicPoint("tags and fields of reserved names", `system,host=web-1,status=warning,check=t2,source=t3,primary_property=host `+
		`usage=USAGE,app_key="f1",description="f2",details="f3",task="f4",source_system="f5",_source="f6",incident_identifier="f7"`,
		withHost(options{"secondary-property": "check"}), overwritten),
	topicPoint("empty value", `system,host=web-1 usage=USAGE,note=""`, withHost(nil), emptyValue),
	topicPoint("numbers", `system,host=web-1 usage=USAGE,whole=3,part=0.1,million=1234567.5,large=1e21,less=123456789012345680000,small=1e-7,tiny=5e-324,`+
		`zero=0,minus=-0.0,most=9223372036854775807i,least=-9223372036854775808i,yes=t,no=f`, withHost(nil)),
	topicPoint("text of every kind", `system,host=web-1,zone=a\ b\,c\=d,où=日本🐼 usage=USAGE,note="<a href=\"x\">& 'y' \\ z</a>",line="日本 `+"\u2028"+`é"`, withHost(nil)),
	usualTopic("long message", `.message('{{ .ID }} {{ .Level }} `+strings.Repeat("ünï", 1000)+`')`, withHost(nil), longDescription),
	usualTopic("several nodes before the alert", "", withHost(nil)),

	{batch: true, handler: withHost(nil), comparison: comparison{name: "batches", point: usualPoint, groupBy: `'host', 'region'`}},
	{batch: true, handler: withHost(nil), comparison: comparison{
		name: "batches of which a tag is not in the group", point: usualPoint, groupBy: `'host'`,
		differences: []difference{{"a tag of its points is none of the batch's", each(func(p payload) { p["region"] = "eu" })}},
	}},
}

func TestSameTopicPayloadAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	compareTopics(t, "tags,fields", topicComparisons)
}

func TestSameTopicAutoAttributesAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"tags", "fields", ""} {
		t.Run("setting "+setting, func(t *testing.T) {
			t.Parallel()
			compareTopics(t, setting, []topicComparison{usualTopic("every type", "", withHost(nil))})
		})
	}
}

// compareTopics runs comparisons in one server, each with a task, a topic and a
// handler of its own name, which is then what the native handler sends as task, too.
func compareTopics(t *testing.T, autoAttributes string, comparisons []topicComparison) {
	needNativeHandler(t)
	native, panda := startBigPanda(t), startBigPanda(t)
	section := nativeSection(native)
	section["auto-attributes"] = autoAttributes
	k := startKapacitor(t, map[string]any{"bigpanda": section})
	panda.failure = k.failure
	files := make(map[string]any)
	name := func(i int) string { return fmt.Sprint("compared-", i) }
	for i, c := range comparisons {
		files[name(i)] = handlerSpec(name(i), c.handler)
	}
	if autoAttributes == "" {
		autoAttributes = "none"
	}
	d := startTopics(t, panda, files, "BIGPANDA_AUTO_ATTRIBUTES="+autoAttributes)
	for i, c := range comparisons {
		t.Run(c.name, func(t *testing.T) {
			k, native, panda := k.in(t), native.in(t), panda.in(t)
			c.setDefaults()
			native.Reset()
			panda.Reset()
			k.handle(name(i), handlerSpec(name(i), c.handler))
			d.handle(k, name(i), name(i), "")
			end := fmt.Sprintf(".topic('%s')", name(i))
			if c.batch {
				c.nodes += "|window().periodCount(2).everyCount(2)"
			}
			k.define(name(i), c.script(end))
			defer k.delete(name(i))
			var points []string
			for i, level := range c.walk {
				for n := range 2 {
					if n == 1 && !c.batch {
						break
					}
					when := epoch.Add(time.Duration(i)*c.spacing + time.Duration(n)*time.Second)
					// Of a batch the first is what its level is of.
					usage := level.usage - 100*n
					points = append(points, fmt.Sprintf("%s %d", strings.ReplaceAll(c.point, "USAGE", fmt.Sprint(usage)), when.UnixNano()))
				}
			}
			k.write(points...)
			n := len(c.walk)
			native.waitForCount(n)
			panda.waitForCount(n)
			if shown := k.show(name(i)); shown.Error != "" {
				t.Errorf("the task has the error %q", shown.Error)
			}
			want, got := payloads(native), payloads(panda)
			for _, p := range append(slices.Clone(want), got...) {
				if p["task"] == name(i)+":system" {
					p["task"] = comparedTask + ":system" // as the differences have it
				}
			}
			c.equal(t, want, got)
		})
	}
}

// Of a batch the event does not say which row is the highest, but has its time, unless
// that is the one of the batch's end.
var topicBatches = []batchComparison{
	{name: "one point"},
	{
		name: "several points, a later one is the highest", query: all,
		steps: [][]int{{ok.usage, warning.usage, critical.usage}, {ok.usage, ok.usage + 1, ok.usage + 2}},
	},
	{name: "all() with one point", alert: `.all()`, steps: [][]int{{critical.usage}, {ok.usage}}},
	{
		name: "all() with several points, a later one is the highest", query: all, alert: `.all()`,
		steps: [][]int{{warning.usage, critical.usage, critical.usage}, {ok.usage, critical.usage, ok.usage}},
		differences: []difference{{"the fields are those of the highest point, not of the first", each(func(p payload) {
			p["usage"], p["count"] = fmt.Sprint(map[any]int{"ok": ok.usage, "warning": warning.usage}[p["status"]]), "0"
		})}},
	},
}

func TestSameTopicBatchPayloadAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	needNativeHandler(t)
	db, native, panda := startInfluxDB(t), startBigPanda(t), startBigPanda(t)
	d := startTopics(t, panda, map[string]any{comparedTask: handlerSpec(comparedTask, withHost(nil))}, "BIGPANDA_OUTBOX=memory")
	k := startKapacitor(t, map[string]any{"influxdb": db.config(), "bigpanda": nativeSection(native)})
	panda.failure = k.failure
	k.handle(comparedTask, handlerSpec(comparedTask, withHost(nil)))
	d.handle(k, comparedTask, comparedTask, "")
	for n, c := range topicBatches {
		t.Run(c.name, func(t *testing.T) {
			k, native, panda := k.in(t), native.in(t), panda.in(t)
			native.Reset()
			panda.Reset()
			if c.steps == nil {
				c.steps = usualSteps
			}
			measurement := fmt.Sprint("m", n)
			script, _, _ := strings.Cut(c.script(measurement), "\nalerts.bigPanda()")
			k.defineBatch(comparedTask, script+fmt.Sprintf(".topic('%s')", comparedTask))
			defer k.delete(comparedTask)
			for step := range c.steps {
				db.write(c.points(measurement, step)...)
				told := native.waitForCount(step + 1)
				panda.waitForCount(step + 1)
				k.eventually("it is another second", func() string {
					// Two changes of an alert never have the same timestamp.
					if now := time.Now().Unix(); told[step].Timestamp >= now {
						return fmt.Sprint(now)
					}
					return ""
				})
			}
			comparison{differences: c.differences}.equal(t, payloads(native), payloads(panda))
		})
	}
}
