package e2e

import (
	"fmt"
	"testing"
)

// A batchComparison is one batch task whose alert node has both handlers, the
// native one and the function, so that both see the very same batches.
type batchComparison struct {
	name    string
	query   string  // what is selected; "": newest, a batch of one point
	steps   [][]int // the usage of the points of each batch; each step changes the level
	groupBy string  // properties of the query node; "": .groupBy('host'); or noGroup
	alert   string  // properties of the alert node
	handOn  string  // what the alert node gives the function; "": conventional
	options string  // of both handlers
	own     string  // of the function alone

	differences []difference
}

// What is selected: the newest point, which makes a batch of one point, or all
// points.
const (
	newest = `last("usage") AS "usage", "count", "up", "note"`
	all    = `"usage", "count", "up", "note"`
)

// noGroup is a batch of all that is in the measurement.
const noGroup = " "

// usualSteps are batches of one point on the usual walk.
var usualSteps = [][]int{{critical.usage}, {warning.usage}, {info.usage}, {ok.usage}}

// firstPoint is of a step whose highest point is not the first of its batch:
// the function cannot know which one is it.
func firstPoint(usage int) difference {
	return difference{"fields and time are those of the first point with the highest level, not of the first", each(func(p payload) {
		if p["status"] != "ok" {
			p["usage"], p["count"], p["timestamp"] = fmt.Sprint(usage), "0", unix(0)
		}
	})}
}

var batchComparisons = []batchComparison{
	{name: "one point"},
	{name: "no group", groupBy: noGroup},
	{name: "group of two tags", groupBy: `.groupBy('region', 'host')`},
	{name: "group of all tags", groupBy: `.groupBy(*)`},
	{name: "group of the measurement", groupBy: `.groupByMeasurement()`},
	{name: "group of the measurement and a tag", groupBy: `.groupBy('host').groupByMeasurement()`},
	{name: "topic", alert: `.topic('batches')`},
	{
		name:  "id and message",
		alert: `.id('{{ .Name }} {{ .TaskName }} {{ .Group }} on {{ index .Tags "host" }}').message('` + inTemplates + `')`,
	},
	{
		name: "attributes, host and properties",
		options: `.attribute('all', '` + inTemplates + ` {{ .Message }}').attribute('count', 'many')` +
			`.primaryProperty('host').secondaryProperty('note').appKey('of this task')`,
	},
	{
		name:   "level and id as tags",
		handOn: `.levelTag('level').idTag('alertID').messageField('message').durationField('duration')`,
	},
	{
		name: "level and id as tags, without a group", groupBy: noGroup,
		handOn: `.levelTag('level').idTag('alertID').messageField('message').durationField('duration')`,
	},
	{
		name: "level and id as tags, the group has the measurement", groupBy: `.groupBy('host').groupByMeasurement()`,
		handOn: `.levelTag('level').idTag('alertID').messageField('message').durationField('duration')`,
	},
	{
		name:   "level and id as tags of the user's own",
		handOn: `.levelTag('how_bad').idTag('which').messageField('what').durationField('how_long')`,
		own:    `.levelTag('how_bad').idTag('which').messageField('what').durationField('how_long')`,
	},
	{
		name: "several points, the first is the highest", query: all,
		steps: [][]int{{critical.usage, info.usage, ok.usage}, {ok.usage, ok.usage + 1, ok.usage + 2}},
	},
	{
		name: "several points of the highest level, the first among them", query: all,
		steps: [][]int{{critical.usage, critical.usage + 1, ok.usage}, {ok.usage, ok.usage + 1, ok.usage + 2}},
	},
	{
		name: "several points, a later one is the highest", query: all,
		steps:       [][]int{{ok.usage, warning.usage, critical.usage}, {ok.usage, ok.usage + 1, ok.usage + 2}},
		differences: []difference{firstPoint(ok.usage)},
	},
	{
		name: "all() with one point", alert: `.all()`, steps: [][]int{{critical.usage}, {ok.usage}},
		differences: []difference{{"the time is that of the batch's end at every level, not at OK alone", each(func(p payload) {
			if p["status"] != "ok" {
				p["timestamp"] = unix(0)
			}
		})}},
	},
	{
		name: "all() with several points, a later one is the highest", query: all, alert: `.all()`,
		steps: [][]int{{warning.usage, critical.usage, critical.usage}, {ok.usage, critical.usage, ok.usage}},
		differences: []difference{firstPoint(warning.usage), {"the fields of an OK are those of the highest point, not of the first", each(func(p payload) {
			if p["status"] == "ok" {
				p["usage"], p["count"] = fmt.Sprint(ok.usage), "0"
			}
		})}},
	},
}

func TestSameBatchPayloadAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	needNativeHandler(t)
	db, native, panda := startInfluxDB(t), startBigPanda(t), startBigPanda(t)
	config := functionConfig(t, panda, map[string]string{
		// Each comparison begins with the same times again, which an outbox on
		// disk would remember.
		"BIGPANDA_OUTBOX": "memory",
	})
	config["influxdb"] = db.config()
	config["bigpanda"] = nativeSection(native)
	k := startKapacitor(t, config)
	panda.failure = k.failure
	for n, c := range batchComparisons {
		t.Run(c.name, func(t *testing.T) {
			k, native, panda := k.in(t), native.in(t), panda.in(t)
			native.Reset()
			panda.Reset()
			measurement := fmt.Sprintf("m%d", n)
			if c.steps == nil {
				c.steps = usualSteps
			}
			k.defineBatch(comparedTask, c.script(measurement))
			defer k.delete(comparedTask)
			for step := range c.steps {
				db.write(c.points(measurement, step)...)
				native.waitForCount(step + 1)
				panda.waitForCount(step + 1)
			}
			comparison{differences: c.differences}.equal(t, payloads(native), payloads(panda))
		})
	}
}

// script is the task. It asks so often that a test need not wait, and the alert
// node tells changes alone. Aligned, since the native handler of v1.7.0 renders
// the time of a batch that is not with Go's reading of the monotonic clock.
func (c *batchComparison) script(measurement string) string {
	for field, usual := range map[*string]string{&c.query: newest, &c.groupBy: `.groupBy('host')`, &c.handOn: conventional} {
		if *field == "" {
			*field = usual
		}
	}
	return `
var alerts = batch
    |query('SELECT ` + c.query + ` FROM "` + database + `"."` + retention + `"."` + measurement + `"')
        .period(2h)
        .every(50ms)
        .align()
        ` + c.groupBy + `
    |alert()
        .stateChangesOnly()` + levels + c.alert + c.handOn + `
alerts.bigPanda()` + usualHost + c.options + `
alerts@bigpandaBatch()` + usualHost + c.options + c.own
}

// points are those of a step, in line protocol. A step of one point has a time
// of its own, later than the one before; the points of several take the place
// of those of the step before.
func (c *batchComparison) points(measurement string, step int) []string {
	var lines []string
	for i, usage := range c.steps[step] {
		n := i
		if len(c.steps[step]) == 1 {
			n = step
		}
		lines = append(lines, fmt.Sprintf(`%s,host=web-1,region=eu usage=%d,count=%di,up=true,note="all is well" %d`, measurement, usage, n, at(10*n)))
	}
	return lines
}

// Behind |window() a stream becomes batches: the same comparison with no
// InfluxDB. The end of a window is the time of an OK.
func TestSameWindowPayloadAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	needNativeHandler(t)
	native, panda := startBigPanda(t), startBigPanda(t)
	config := functionConfig(t, panda, nil)
	config["bigpanda"] = nativeSection(native)
	k := startKapacitor(t, config)
	panda.failure = k.failure
	k.define(comparedTask, `
var alerts = stream
    |from().measurement('system').groupBy('host')
    |window().period(10s).every(10s).align()
    |alert()`+levels+conventional+`
alerts.bigPanda()`+usualHost+`
alerts@bigpandaBatch()`+usualHost)
	var lines []string
	for i, usage := range []int{critical.usage, warning.usage, info.usage, ok.usage, ok.usage} {
		lines = append(lines, fmt.Sprintf(`system,host=web-1,region=eu usage=%d,note="all is well" %d`, usage, at(10*i+3)))
	}
	k.write(lines...)
	native.waitForCount(4)
	panda.waitForCount(4)
	comparison{}.equal(t, payloads(native), payloads(panda))
}
