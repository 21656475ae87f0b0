package udf_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/udf"
)

// posted is an alert event at a number of seconds after epoch, with the level, the
// level before and the duration in seconds that a word such as "CRITICAL<OK+0" says.
func posted(t *testing.T, n int, word string) udf.AlertEvent {
	t.Helper()
	levels, duration, _ := strings.Cut(word, "+")
	now, before, _ := strings.Cut(levels, "<")
	e := udf.AlertEvent{
		ID: "cpu:host=a", Message: "message of " + now, Time: time.Unix(epoch+int64(n), 0), Name: "cpu",
		Tags: map[string]string{"host": "a"}, Fields: map[string]any{"usage": udf.ParseNumber("95.50")},
	}
	e.Level, _ = udf.ParseLevel(now)
	e.Previous, _ = udf.ParseLevel(before)
	if _, err := fmt.Sscan(duration, &e.Duration); err != nil {
		t.Fatal(err)
	}
	e.Duration *= time.Second
	return e
}

// post hands over an event, and returns its changes.
func (r *rig) post(e udf.AlertEvent) []change {
	r.t.Helper()
	before, commits := len(r.store.changes), len(r.store.commits)
	r.clock(e.Time.UnixNano())
	r.h.Event(e)
	if changes := r.store.changes[before:]; len(changes) == 0 || len(r.store.commits) > commits {
		return changes
	}
	r.t.Fatal("P4: a change is not in the store when Event returns")
	return nil
}

func TestEventLevels(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []string // ten seconds after each other
		want   string   // what is told, as LEVEL@SECOND
	}{
		{"an incident", []string{"CRITICAL<OK+0", "CRITICAL<CRITICAL+10", "WARNING<CRITICAL+20", "OK<WARNING+30"}, "CRITICAL@0 WARNING@20 OK@30"},
		{"only changes", []string{"CRITICAL<OK+0", "OK<CRITICAL+10", "INFO<OK+0", "OK<INFO+10"}, "CRITICAL@0 OK@10 INFO@20 OK@30"},
		{"the OK was dropped on the way", []string{"CRITICAL<OK+0", "CRITICAL<OK+0"}, "CRITICAL@0 CRITICAL@10"},
		{"the topic knows of an OK, and the alert node does not", []string{"CRITICAL<OK+0", "CRITICAL<OK+10"}, "CRITICAL@0 CRITICAL@10"},
		{"the alert node began anew, and the topic did not", []string{"CRITICAL<OK+0", "CRITICAL<CRITICAL+0"}, "CRITICAL@0 CRITICAL@10"},
		{"always new, as no OK ever comes", []string{"CRITICAL<OK+0", "CRITICAL<CRITICAL+0", "CRITICAL<CRITICAL+0", "CRITICAL<CRITICAL+0", "CRITICAL<CRITICAL+0", "CRITICAL<CRITICAL+0", "CRITICAL<CRITICAL+0"},
			"CRITICAL@0 CRITICAL@10 CRITICAL@20 CRITICAL@30 CRITICAL@40 CRITICAL@50 CRITICAL@60"},
		{"the begin was dropped on the way", []string{"CRITICAL<CRITICAL+10", "OK<CRITICAL+20"}, "CRITICAL@0 OK@10"},
		{"the recovery of what was never seen", []string{"OK<CRITICAL+60"}, "OK@0"},
		{"a recovery that comes twice", []string{"OK<CRITICAL+60", "OK<OK+60"}, "OK@0"},
		{"an OK that is none", []string{"OK<OK+0", "OK<OK+0"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			var all []change
			for i, e := range tt.events {
				all = append(all, r.post(posted(t, 10*i, e))...)
			}
			wantTold(t, all, tt.want)
		})
	}
}

// The same event may come twice, from two topics.
func TestEventTwice(t *testing.T) {
	r := start(t)
	e := posted(t, 0, "CRITICAL<OK+0")
	wantTold(t, append(r.post(e), r.post(e)...), "CRITICAL@0")
}

// A topic knows events by their id alone, whatever else is in them.
func TestEventSeries(t *testing.T) {
	r := start(t)
	other := posted(t, 10, "OK<CRITICAL+10")
	other.Name, other.Tags = "mem", nil
	another := posted(t, 20, "CRITICAL<OK+0")
	another.ID = "b"
	wantTold(t, append(append(r.post(posted(t, 0, "CRITICAL<OK+0")), r.post(other)...), r.post(another)...), "CRITICAL@0 OK@10 CRITICAL@20")
	wantOneAlert(t, r.store.changes[:2])
}

// An id that leaves out what tells alerts apart makes one of them: the log says so.
func TestEventsOfOneID(t *testing.T) {
	r := start(t)
	other := posted(t, 10, "CRITICAL<CRITICAL+0")
	other.Tags = map[string]string{"host": "b"}
	both := append(r.post(posted(t, 0, "CRITICAL<OK+0")), r.post(other)...)
	wantTold(t, both, "CRITICAL@0 CRITICAL@10")
	wantOneAlert(t, both)
	r.post(posted(t, 20, "CRITICAL<OK+0"))
	r.wantLogged(1, "events with one id make different BigPanda alerts", `id="cpu:host=a"`)
}

// P5: what was told is known after a restart.
func TestEventAfterARestart(t *testing.T) {
	r := start(t)
	r.post(posted(t, 0, "CRITICAL<OK+0"))
	r.h.Stop()
	next := r.restarted()
	wantTold(t, append(next.post(posted(t, 10, "CRITICAL<CRITICAL+10")), next.post(posted(t, 20, "OK<CRITICAL+20"))...), "OK@20")
}

func TestEventOptions(t *testing.T) {
	with := func(change func(*udf.Defaults)) *rig {
		return newRig(t, func(c *udf.Config) { change(&c.Defaults) }).init()
	}
	t.Run("resendAfter", func(t *testing.T) {
		r := with(func(d *udf.Defaults) { d.ResendAfter = 15 * time.Second })
		var all []change
		for i, word := range []string{"CRITICAL<OK+0", "CRITICAL<CRITICAL+10", "CRITICAL<CRITICAL+20", "CRITICAL<CRITICAL+30"} {
			all = append(all, r.post(posted(t, 10*i, word))...)
		}
		wantTold(t, all, "CRITICAL@0 CRITICAL@20")
	})
	t.Run("maxAge", func(t *testing.T) {
		r := with(func(d *udf.Defaults) { d.MaxAge = time.Minute })
		r.clock(time.Unix(epoch+100, 0).UnixNano())
		wantTold(t, append(r.post(posted(t, 0, "CRITICAL<OK+0")), r.post(posted(t, 50, "CRITICAL<CRITICAL+50"))...), "CRITICAL@50")
	})
	t.Run("resolveAfter", func(t *testing.T) {
		r := with(func(d *udf.Defaults) { d.ResolveAfter = time.Minute })
		other := posted(t, 0, "CRITICAL<OK+0")
		other.ID = "gone"
		r.post(other)
		var all []change
		for n := range 10 {
			all = append(all, r.post(posted(t, 10*n, "CRITICAL<CRITICAL+10"))...)
		}
		if len(all) != 2 || all[1].Level != "OK" || all[1].properties["check"] != "gone" ||
			all[1].properties["description"] != "gone was CRITICAL, and then no point of it came for 1m: resolved by .resolveAfter()" {
			t.Errorf("%d changes, %v", len(all), all[len(all)-1].properties)
		}
	})
	t.Run("infoStatus", func(t *testing.T) {
		r := with(func(d *udf.Defaults) { d.InfoStatus = "warning" })
		if c := r.post(posted(t, 0, "INFO<OK+0"))[0]; c.properties["status"] != "warning" {
			t.Errorf("the status is %q", c.properties["status"])
		}
	})
	t.Run("incidentIdentifier", func(t *testing.T) {
		r := with(func(d *udf.Defaults) { d.IncidentIdentifier = "{{ .ID }} of {{ .TaskName }}" })
		if c := r.post(posted(t, 0, "INFO<OK+0"))[0]; c.properties["incident_identifier"] != "cpu:host=a of task" {
			t.Errorf("the identifier is %q", c.properties["incident_identifier"])
		}
	})
	t.Run("a far time is now", func(t *testing.T) {
		r := start(t)
		r.frozen = true
		wantTold(t, r.post(posted(t, 3600, "CRITICAL<OK+0")), "CRITICAL@0")
	})
}

func TestEventPayload(t *testing.T) {
	r := newRig(t, func(c *udf.Config) {
		c.Defaults.Host, c.Defaults.PrimaryProperty = "{{ .Tags.host }}.example", "cluster"
		c.Defaults.Attributes = map[string]string{
			"all": "{{ .ID }}|{{ .Message }}|{{ .Details }}|{{ .Level }}|{{ .Time.Unix }}|{{ .Duration }}|{{ .Name }}|{{ .TaskName }}|{{ .Tags.cluster }}|{{ .Fields.up }}|{{ .Fields.none }}",
			"compared": `{{ if gt .Fields.usage 90.0 }}a{{ end }}{{ if gt .Fields.count 90.0 }}b{{ end }}{{ if ge .Fields.usage 96 }}no{{ end }}` +
				`{{ if eq .Fields.count 1 9223372036854775807 }}c{{ end }}{{ if lt .Fields.large .Fields.count }}no{{ end }}{{ if and .Fields.zero 1 }}no{{ end }}`,
			"math": `{{ .Fields.usage }} {{ printf "%.1f|%5.0f|%d|%v|%s" .Fields.usage .Fields.usage .Fields.count .Fields.count .Fields.large }}`,
		}
	}).init()
	e := posted(t, 0, "WARNING<OK+0")
	e.Details = "<b>a &amp; &lt;x&gt;</b>\n"
	e.Tags = map[string]string{"host": "a", "cluster": "c", "status": "tag", "empty": ""}
	e.Fields = map[string]any{"usage": udf.ParseNumber("95.50"), "count": udf.ParseNumber("9223372036854775807"), "large": udf.ParseNumber("1e+21"), "up": true, "task": "field", "note": "text", "zero": udf.ParseNumber("0")}
	wantProperties(t, r.post(e)[0], map[string]string{
		"status": "warning", "check": "cpu:host=a", "description": "message of WARNING", "task": "task:cpu", "host": "a.example",
		"details": "<b>a & <x></b>\n", "primary_property": "cluster", "cluster": "c", "tag_status": "tag", "field_task": "field",
		"usage": "95.5", "count": "9223372036854775807", "large": "1e+21", "up": "true", "note": "text", "zero": "0", "compared": "abc",
		"all":  "cpu:host=a|message of WARNING|<b>a &amp; &lt;x&gt;</b>\n|WARNING|1700000000|0s|cpu|task|c|true|",
		"math": "95.5 95.5|   96|9223372036854775807|9223372036854775807|1e+21",
	})

	// What Kapacitor's alert node makes of its own accord is no text for people.
	r = start(t)
	e = posted(t, 0, "WARNING<OK+0")
	e.Details = "{&#34;Name&#34;:&#34;cpu&#34;}\n"
	wantProperties(t, r.post(e)[0], map[string]string{
		"status": "warning", "check": "cpu:host=a", "description": "message of WARNING", "task": "task:cpu", "host": "a", "usage": "95.5",
	})
}

// P1: nothing about an event ends the process, nor does one that comes when nothing is
// sent.
func TestEventOfNothing(t *testing.T) {
	r := start(t)
	wantTold(t, r.post(udf.AlertEvent{}), "")
	off := newRig(t, func(c *udf.Config) { c.Enabled = false }).init()
	off.h.Event(posted(t, 0, "CRITICAL<OK+0"))
	off.h.Stop()
	if len(off.store.changes) > 0 {
		t.Error("something is told")
	}
}
