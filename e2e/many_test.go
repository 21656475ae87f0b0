package e2e

import (
	"fmt"
	"slices"
	"testing"

	"bigpanda-udf/sandbox"
)

// changes returns the steps of a walk that starts at OK: each level that is
// not the one before it.
func changes(walk []level) []level {
	var steps []level
	now := ok
	for _, next := range walk {
		if next != now {
			steps = append(steps, next)
		}
		now = next
	}
	return steps
}

// Tasks and series side by side: each has its own levels, and none sees or
// delays another's.
func TestSeveralSeriesAndTasks(t *testing.T) {
	k, panda := start(t)
	const series = 25
	tasks := []struct{ id, measurement, by string }{
		{id: "web", measurement: "cpu", by: `'host'`},
		{id: "night-shift", measurement: "cpu", by: `'host'`}, // the same points again
		{id: "storage", measurement: "disk", by: `'host', 'path'`},
	}
	for _, task := range tasks {
		k.define(task.id, fmt.Sprintf(`
stream
    |from()
        .measurement('%s')
        .groupBy(%s)
    |alert()
        .id('{{ .TaskName }} {{ .Group }}')`, task.measurement, task.by)+thresholds+conventional+`
    @bigpanda()
        .appKey('key of `+task.id+`')`)
	}
	k.waitForFunctions(len(tasks))

	// Each series walks in a way of its own, and ends with an OK.
	walk := func(series int) []level {
		var levels []level
		for i := range 3 * len(everyStep) {
			levels = append(levels, everyStep[i*(series+2)%len(everyStep)])
		}
		return append(levels, ok)
	}
	want := make(map[string][]level) // by check
	for s := range series {
		host := fmt.Sprintf("host=h-%d", s)
		steps := changes(walk(s))
		want["web "+host] = steps
		want["night-shift "+host] = steps
		want["storage "+host+",path=/data"] = steps
	}
	total := 0
	for _, steps := range want {
		total += len(steps)
	}
	for i := range walk(0) {
		var points []string
		for s := range series {
			usage := walk(s)[i].usage
			points = append(points,
				fmt.Sprintf("cpu,host=h-%d usage=%d %d", s, usage, at(i*10)),
				fmt.Sprintf("disk,host=h-%d,path=/data usage=%d %d", s, usage, at(i*10)))
		}
		k.write(points...)
	}

	events := panda.waitForCount(total)
	wantClean(t, events)
	got := byCheck(events)
	for id, steps := range want {
		var levels []string
		for _, e := range got[id] {
			levels = append(levels, e.Payload.Text("description"))
		}
		var descriptions []string
		for _, step := range steps {
			descriptions = append(descriptions, id+" went to "+step.name)
		}
		if !slices.Equal(levels, descriptions) {
			t.Errorf("%s:\n got %q\nwant %q", id, levels, descriptions)
		}
	}
	for _, task := range tasks {
		key := "key of " + task.id
		if !slices.ContainsFunc(events, func(e sandbox.Event) bool { return e.AppKey == key }) {
			t.Errorf("no alert has the app key %q", key)
		}
	}
	if len(events) != total {
		t.Errorf("got %d alerts, want %d", len(events), total)
	}
}
