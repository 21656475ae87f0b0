package e2e

import (
	"fmt"
	"testing"
)

// level is a level of |alert() as these tests write and read it.
type level struct {
	name   string // as |alert() writes it
	usage  int    // a value that makes it, with the script's thresholds
	status string // what BigPanda is told
}

var (
	ok       = level{"OK", 10, "ok"}
	info     = level{"INFO", 75, "ok"}
	warning  = level{"WARNING", 85, "warning"}
	critical = level{"CRITICAL", 95, "critical"}
)

// statusesOf returns what BigPanda is told of each level.
func statusesOf(levels []level) []string {
	var list []string
	for _, l := range levels {
		list = append(list, l.status)
	}
	return list
}

// everyStep goes from each level to each other one, once.
var everyStep = []level{ok, info, ok, warning, ok, critical, info, warning, info, critical, warning, critical, ok}

// One alert for each step between levels, and none for a point without one.
func TestEveryLevelStep(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, alert, options string
	}{
		{name: "conventional names", alert: conventional},
		{
			name:    "names of the user's own",
			alert:   `.levelTag('how_bad').idField('which').messageField('what').durationField('how_long')`,
			options: `.levelTag('how_bad').idField('which').messageField('what').durationField('how_long')`,
		},
		{
			name:  "only changes reach the function",
			alert: conventional + `.stateChangesOnly()`,
		},
		{
			name:  "alert with a topic",
			alert: conventional + `.topic('levels')`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, panda := start(t)
			k.define("cpu", cpuAlert(`
        .id('usage of {{ index .Tags "host" }}')`+thresholds+test.alert)+`
    @bigpanda()`+test.options)

			const repeats = 3
			var points []string
			for step, level := range everyStep {
				for i := range repeats {
					points = append(points, fmt.Sprintf("cpu,host=web-1 usage=%d %d", level.usage, at((repeats*step+i)*10)))
				}
			}
			k.write(points...)

			// The last change is an OK, so whatever is sent too often comes
			// before it.
			changes := everyStep[1:]
			events := panda.waitForCount(len(changes))
			wantClean(t, events)
			if len(events) != len(changes) {
				t.Fatalf("got %d alerts, want %d%s", len(events), len(changes), describe(events))
			}
			for i, level := range changes {
				step, payload := i+1, events[i].Payload
				if events[i].Status != level.status {
					t.Errorf("step %d to %s has status %q, want %q", step, level.name, events[i].Status, level.status)
				}
				if want := epoch.Unix() + int64(repeats*step*10); events[i].Timestamp != want {
					t.Errorf("step %d to %s is dated %d, want %d: the first point at the level", step, level.name, events[i].Timestamp, want)
				}
				if got, want := payload.Text("description"), "usage of web-1 went to "+level.name; got != want {
					t.Errorf("step %d to %s has description %q, want %q", step, level.name, got, want)
				}
				if got, want := payload.Text("check"), "usage of web-1"; got != want {
					t.Errorf("step %d to %s has check %q, want %q", step, level.name, got, want)
				}
			}
			if shown := k.show("cpu"); shown.Error != "" || !shown.Executing {
				t.Errorf("the task is not well: %+v", shown)
			}
		})
	}
}
