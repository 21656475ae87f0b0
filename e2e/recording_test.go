package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// `kapacitor replay` runs a task a second time next to the live one, under its
// name: both work. What the replay sends goes by how it is made.
func TestReplayBesideTheLiveTask(t *testing.T) {
	t.Parallel()
	const live, copied = "cpu", "copy"
	script := func(topic, function string) string {
		return cpuAlert(`
        .id('{{ index .Tags "host" }}')
        .topic('`+topic+`')`+thresholds+conventional) + `
    ` + function
	}
	for _, test := range []struct {
		name          string
		options       string // of @bigpanda()
		task          string // that is replayed
		recordingTime bool   // -rec-time
		// What BigPanda is told of each host of the recording until the live
		// task goes on: the live task has told that "open" is critical, and so does
		// the replay, with its first point that is not too old.
		want map[string][]string
		// topic is the level of "open" in the topic of the live task, where the
		// alert node of a replay of that task leaves its own.
		topic level
	}{
		{
			name: "with the recorded times and maxAge", options: `.maxAge(10m)`, task: live, recordingTime: true,
			want: map[string][]string{"open": {"critical"}}, topic: ok,
		},
		{
			name: "with the recorded times alone", task: live, recordingTime: true,
			want: map[string][]string{"open": {"critical", "critical", "ok"}, "past": {"critical", "ok"}, "unresolved": {"warning"}}, topic: ok,
		},
		{
			name: "dated to now", options: `.maxAge(10m)`, task: live,
			want: map[string][]string{"open": {"critical", "critical", "ok"}, "past": {"critical", "ok"}, "unresolved": {"warning"}}, topic: ok,
		},
		{
			name: "of a copy on a function that is switched off", task: copied,
			want: map[string][]string{"open": {"critical"}}, topic: critical,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			config := functionConfig(t, panda, nil)
			quiet := maps.Clone(functionTable(config))
			quiet["args"] = []string{"--enabled=false"}
			merge(config, map[string]any{"udf": map[string]any{"functions": map[string]any{"bigpandaQuiet": quiet}}})
			k := startKapacitor(t, config)
			panda.failure = k.failure

			// The recording is an hour old: epoch is. It ends with the first
			// point that is later than its end.
			k.define("recorded", "stream|from().measurement('cpu')|where(lambda: FALSE)")
			k.record("past", "recorded", epoch.Add(30*time.Second), func() {
				for n, levels := range []map[string]level{
					{"open": critical, "past": critical, "unresolved": warning},
					{"open": ok, "past": ok, "unresolved": warning},
				} {
					for host, level := range levels {
						k.write(fmt.Sprintf("cpu,host=%s usage=%d %d", host, level.usage, at(n)))
					}
				}
				// The replay lasts until it has delivered, too: what it leaves
				// behind the live task would deliver, a minute later.
				k.write(fmt.Sprintf("cpu,host=end usage=10 %d", at(4)))
				k.write(fmt.Sprintf("cpu,host=end usage=10 %d", at(60)))
			})
			k.delete("recorded")

			now := time.Now()
			tell := func(second int, host string, level level) {
				k.write(fmt.Sprintf("cpu,host=%s usage=%d %d", host, level.usage, now.Add(time.Duration(second)*time.Second).UnixNano()))
			}
			k.define(live, script("live", "@bigpanda()"+test.options))
			k.call(http.MethodPost, "/tasks", map[string]any{
				"id": copied, "type": "stream", "status": "disabled", "script": script("copied", "@bigpandaQuiet()"+test.options),
				"dbrps": []map[string]string{{"db": database, "rp": retention}},
			})
			tell(0, "open", critical)
			panda.waitForCount(1)

			k.replay("again", "past", test.task, test.recordingTime)
			k.waitForFunctions(2)
			tell(0, "meanwhile", critical)
			panda.waitFor("the live task's alert has come", func(events []sandbox.Event) string {
				if len(byCheck(events)["meanwhile"]) == 0 {
					return "it has not: " + describe(events)
				}
				return ""
			})
			k.waitForReplay("again")
			k.waitForFunctions(1)
			test.want["meanwhile"] = []string{"critical"}
			total := 0
			for _, want := range test.want {
				total += len(want)
			}
			before := panda.waitForCount(total)
			for host, want := range test.want {
				t.Run(host, func(t *testing.T) { wantStatuses(t, byCheck(before)[host], want...) })
			}
			if len(before) != total {
				t.Errorf("%d alerts came, want %d%s", len(before), total, describe(before))
			}

			var event struct{ State struct{ Level string } }
			if err := json.Unmarshal(k.call(http.MethodGet, "/alerts/topics/live/events/open", nil), &event); err != nil {
				t.Fatal(err)
			}
			if event.State.Level != test.topic.name {
				t.Errorf("the live task's topic has the level %s, want %s", event.State.Level, test.topic.name)
			}

			// The live task goes on, in a time after all that the replay said,
			// with what it knew: these two it has told already.
			hosts := []string{"meanwhile", "open", "past", "unresolved"}
			for _, host := range hosts {
				tell(60, host, critical)
				tell(70, host, ok)
			}
			const later = 2 + 2*2
			events := panda.waitForCount(total + later)
			wantClean(t, events[total:])
			for _, host := range hosts {
				want := []string{"critical", "ok"}
				if host == "open" || host == "meanwhile" {
					want = want[1:]
				}
				wantStatuses(t, byCheck(events[total:])[host], want...)
			}
			for _, alert := range panda.Alerts() {
				if alert.Status != "ok" {
					t.Errorf("BigPanda shows %+v at the end, want it ok", alert)
				}
			}
		})
	}
}

// record records the stream of a task while write writes points, the last of
// them dated after stop.
func (k *kapacitor) record(id, task string, stop time.Time, write func()) {
	k.t.Helper()
	k.call(http.MethodPost, "/recordings/stream", map[string]any{"id": id, "task": task, "stop": stop})
	k.eventually("the recording has begun", func() string {
		// It has an edge then.
		if vars := k.call(http.MethodGet, "/debug/vars", nil); !strings.Contains(string(vars), fmt.Sprintf("%q", id)) {
			return "it has not"
		}
		return ""
	})
	write()
	k.waitForEnd("/recordings/" + id)
}

// replay plays a recording to a task, as fast as it was recorded.
func (k *kapacitor) replay(id, recording, task string, recordingTime bool) {
	k.t.Helper()
	k.call(http.MethodPost, "/replays", map[string]any{
		"id": id, "recording": recording, "task": task, "recording-time": recordingTime, "clock": "real",
	})
}

func (k *kapacitor) waitForReplay(id string) { k.t.Helper(); k.waitForEnd("/replays/" + id) }

// waitForEnd waits until a recording or a replay is over, and fails the test
// if it did not end well.
func (k *kapacitor) waitForEnd(path string) {
	k.t.Helper()
	k.eventually(path+" is over", func() string {
		var shown struct{ Status, Error string }
		if err := json.Unmarshal(k.call(http.MethodGet, path, nil), &shown); err != nil {
			k.t.Fatal(err)
		}
		if shown.Status == "failed" {
			k.t.Fatalf("%s has failed: %s", path, shown.Error)
		}
		if shown.Status != "finished" {
			return shown.Status
		}
		return ""
	})
}
