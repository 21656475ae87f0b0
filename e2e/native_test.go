package e2e

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A comparison is one task, once with the native .bigPanda() and once with
// @bigpanda(), and the same points for both.
type comparison struct {
	name     string
	point    string        // in line protocol, with USAGE for the value that makes the level
	walk     []level       // of the points, none but the last OK; nil: usualWalk
	spacing  time.Duration // from point to point; 0: ten seconds
	groupBy  string        // the arguments of .groupBy(); "": there is none
	nodes    string        // between the source and the alert node
	alert    string        // properties of the alert node
	options  string        // of .bigPanda() and of @bigpanda() alike
	function string        // of @bigpanda() alone
	handOn   string        // what the alert node gives the function; "": conventional

	differences []difference
}

// A difference is a listed one between the native handler's payloads and the
// function's (DESIGN.md, "Known differences"). adapt makes the first into the
// second. All else that is not equal fails a comparison, and so does a
// difference that its payloads do not have.
type difference struct {
	what  string
	adapt func(native []payload) []payload
}

type payload = map[string]any

// comparedTask is the id of each comparison's task, one after the other.
const comparedTask = "compared"

var usualWalk = []level{critical, warning, info, ok}

func (c *comparison) setDefaults() {
	if c.walk == nil {
		c.walk = usualWalk
	}
	if c.spacing == 0 {
		c.spacing = 10 * time.Second
	}
	if c.handOn == "" {
		c.handOn = conventional
	}
}

// needNativeHandler skips a test where the native handler is not the one that
// the function is measured by.
func needNativeHandler(t *testing.T) {
	if tested.olderHandler {
		t.Skipf("the native handler of v%s has no .host(), no .attribute() and no auto-attributes", tested.version)
	}
}

// compare runs comparisons in one server. The function reads the very section
// of kapacitor.conf that configures the native handler, as somebody has it who
// moves over, but for the URL: each has a BigPanda of its own.
func compare(t *testing.T, autoAttributes string, comparisons []comparison) {
	needNativeHandler(t)
	native, panda := startBigPanda(t), startBigPanda(t)
	config := functionConfig(t, panda, map[string]string{
		"BIGPANDA_TOKEN_FILE": "", "BIGPANDA_APP_KEY": "",
		// Each comparison begins with the same times again, which an outbox on
		// disk would remember.
		"BIGPANDA_OUTBOX": "memory",
	})
	functionTable(config)["args"] = []string{"--config", "kapacitor.conf"}
	section := nativeSection(native)
	section["auto-attributes"] = autoAttributes
	config["bigpanda"] = section
	k := startKapacitor(t, config)
	panda.failure = k.failure
	for _, c := range comparisons {
		t.Run(c.name, func(t *testing.T) {
			k, native, panda := k.in(t), native.in(t), panda.in(t)
			c.setDefaults()
			want := c.run(k, native, c.script(".bigPanda()"+c.options), len(c.walk))
			got := c.run(k, panda, c.script(c.handOn+"\n@bigpanda()"+c.options+c.function), len(changes(c.walk)))
			c.equal(t, want, got)
		})
	}
}

// script is the task with the alert node's end.
func (c comparison) script(end string) string {
	measurement, _, _ := strings.Cut(c.point, ",")
	source := "stream|from().measurement('" + strings.Fields(measurement)[0] + "')"
	if c.groupBy != "" {
		source += ".groupBy(" + c.groupBy + ")"
	}
	return source + c.nodes + "\n|alert()" + levels + c.alert + end
}

// run defines the task, writes the points, waits for so many alerts and returns
// the payloads of all that have come.
func (c comparison) run(k *kapacitor, b *bigPanda, script string, alerts int) []payload {
	k.t.Helper()
	b.Reset()
	k.define(comparedTask, script)
	defer k.delete(comparedTask)
	var points []string
	for i, level := range c.walk {
		when := epoch.Add(time.Duration(i) * c.spacing).UnixNano()
		points = append(points, fmt.Sprintf("%s %d", strings.ReplaceAll(c.point, "USAGE", fmt.Sprint(level.usage)), when))
	}
	k.write(points...)
	// Both handlers keep the order: one that is too much comes before the last.
	b.waitForCount(alerts)
	if shown := k.show(comparedTask); shown.Error != "" {
		k.t.Errorf("the task has the error %q", shown.Error)
	}
	return payloads(b)
}

// equal fails the test unless got is what the native handler sent, but for the
// differences that the comparison names.
func (c comparison) equal(t *testing.T, native, got []payload) {
	t.Helper()
	want := native
	for _, d := range c.differences {
		var before []payload
		for _, p := range want {
			before = append(before, maps.Clone(p))
		}
		if want = d.adapt(want); reflect.DeepEqual(before, want) {
			t.Errorf("the native handler's payloads do not have this difference: %s", d.what)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d alerts, want %d\n got %v\nwant %v", len(got), len(want), got, want)
	}
	for i := range want {
		names := slices.Sorted(maps.Keys(want[i]))
		for name := range got[i] {
			if _, ok := want[i][name]; !ok {
				t.Errorf("alert %d: property %q is %#v, and the native handler sends none", i, name, got[i][name])
			}
		}
		for _, name := range names {
			value, ok := got[i][name]
			switch {
			case !ok:
				t.Errorf("alert %d: property %q is not there, want %#v", i, name, want[i][name])
			case !reflect.DeepEqual(value, want[i][name]):
				t.Errorf("alert %d: property %q is %#v, want %#v", i, name, value, want[i][name])
			}
		}
	}
}

// in returns the server for the use of a subtest, which is to fail instead of
// the test that has started it.
func (k *kapacitor) in(t *testing.T) *kapacitor { with := *k; with.t = t; return &with }

// in is the same for a BigPanda.
func (b *bigPanda) in(t *testing.T) *bigPanda { with := *b; with.t = t; return &with }

// nativeSection is the section of the native handler, which posts to a BigPanda of
// its own.
func nativeSection(b *bigPanda) map[string]any {
	return map[string]any{"enabled": true, "url": b.url, "token": token, "app-key": appKey}
}

// payloads are what a BigPanda has taken, in order.
func payloads(b *bigPanda) []payload {
	var list []payload
	for _, e := range b.Events() {
		list = append(list, e.Payload.Map())
	}
	return list
}

// Alerts that the native handler loses, and the function does not: one with a
// field that JSON has no number for, and one whose field takes the place of the
// timestamp, so that the API refuses it.
func TestAlertsThatTheNativeHandlerLoses(t *testing.T) {
	t.Parallel()
	needNativeHandler(t)
	native, panda := startBigPanda(t), startBigPanda(t)
	config := functionConfig(t, panda, nil)
	config["bigpanda"] = nativeSection(native)
	k := startKapacitor(t, config)
	k.define("cpu", `
var alerts = stream
    |from()
        .measurement('cpu')
        .groupBy('host')
    |eval(lambda: "zero" / "zero", lambda: 1.0 / "zero", lambda: -1.0 / "zero")
        .as('nan', 'inf', 'minus')
        .keep()
    |alert()`+levels+conventional+`
alerts.bigPanda()
alerts@bigpanda()`)
	k.write(
		fmt.Sprintf("cpu,host=a usage=95,zero=0 %d", at(0)),
		fmt.Sprintf("cpu,host=b usage=95,zero=1,timestamp=\"now\" %d", at(1)),
		fmt.Sprintf("cpu,host=c usage=95,zero=1 %d", at(2)),
	)
	// The native handler sends one after the other, so c comes last.
	sent := native.waitForCount(1)
	if len(sent) != 1 || sent[0].Payload.Text("check") != "cpu:host=c" {
		t.Errorf("the native handler sent something else than the alert of c:%s", describe(sent))
	}
	got := byCheck(panda.waitForCount(3))
	for _, want := range []payload{
		{"check": "cpu:host=a", "nan": "NaN", "inf": "+Inf", "minus": "-Inf"},
		{"check": "cpu:host=b", "field_timestamp": "now", "timestamp": fmt.Sprint(epoch.Unix() + 1)},
		{"check": "cpu:host=c"},
	} {
		id := want["check"].(string)
		if len(got[id]) != 1 {
			t.Errorf("%s: got %d alerts, want 1", id, len(got[id]))
			continue
		}
		for name, value := range want {
			if text := got[id][0].Payload.Text(name); text != value {
				t.Errorf("%s: property %s is %q, want %q", id, name, text, value)
			}
		}
	}
}
