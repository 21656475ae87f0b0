package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"bigpanda-udf/sandbox"
)

// example returns the text of a TICKscript in examples/.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", name+".tick"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantPayloads fails the test unless these are the whole payloads, none more.
func wantPayloads(t *testing.T, events []sandbox.Event, want []payload) {
	t.Helper()
	wantClean(t, events)
	for i := range max(len(events), len(want)) {
		switch {
		case i >= len(events):
			t.Errorf("alert %d has not come: %v", i, want[i])
		case i >= len(want):
			t.Errorf("alert %d is too much: %s", i, events[i].Payload)
		case !reflect.DeepEqual(events[i].Payload.Map(), want[i]):
			t.Errorf("alert %d:\n got %v\nwant %v", i, events[i].Payload.Map(), want[i])
		}
	}
}

// unix is a moment of a test as a payload has it.
func unix(n int) json.Number { return json.Number(fmt.Sprint(epoch.Unix() + int64(n))) }

func TestExampleCPUUsage(t *testing.T) {
	k, panda := start(t)
	k.define("cpu_usage", example(t, "cpu_usage"))
	for i, usage := range []int{20, 91, 99, 30, 20, 95, 90} {
		k.write(fmt.Sprintf("cpu,host=web-1,cpu=cpu-total usage_user=%d,usage_idle=1 %d", usage, at(10*i)))
	}
	alert := func(status string, n, usage int) payload {
		return payload{
			"app_key": appKey, "status": status, "timestamp": unix(n),
			"check": "cpu_usage", "description": "Hey, check your CPU", "task": "cpu_usage:cpu",
			"host": "web-1", "cpu": "cpu-total",
			"usage_user": fmt.Sprint(usage), "usage_idle": "1",
		}
	}
	wantPayloads(t, panda.waitForCount(4), []payload{
		alert("critical", 10, 91), alert("ok", 30, 30), alert("critical", 50, 95), alert("ok", 60, 90),
	})
}

func TestExampleCPUUsageCheck(t *testing.T) {
	k, panda := start(t)
	k.define("cpu_usage_check", example(t, "cpu_usage_check"))

	// The usage in each window of ten seconds, by host; the last window is
	// there to end the one before.
	usage := map[string][]int{
		"web-1": {50, 75, 85, 95, 95, 85, 40, 40, 0},
		"web-2": {20, 30, 96, 20, 30, 20, 75, 60, 0},
		"web-3": {20, 30, 20, 30, 20, 30, 20, 30, 0},
	}
	for window := range usage["web-1"] {
		var points []string
		for _, second := range []int{1, 6} {
			for _, host := range []string{"web-1", "web-2", "web-3"} {
				// The mean of the two points is the usage.
				idle := 100 - usage[host][window] + []int{-4, 4}[second/6]
				points = append(points,
					fmt.Sprintf("cpu,host=%s,cpu=cpu-total usage_idle=%d,usage_user=1 %d", host, idle, at(10*window+second)),
					// What the script leaves out.
					fmt.Sprintf("cpu,host=%s,cpu=cpu0 usage_idle=0,usage_user=100 %d", host, at(10*window+second)))
			}
		}
		k.write(points...)
	}
	alert := func(host, status string, window, usage int) payload {
		return payload{
			"app_key": appKey, "status": status,
			"timestamp": unix(10*(window+1) + 1), // a window begins with its first point, and is dated to its end
			"check":     "cpu_usage_check:" + host, "task": "cpu_usage_check:cpu", "host": host,
			"description":  "Hey " + host + " / cpu_usage_check:" + host + ": is high!",
			"details":      "https://example.com/dashboard/" + host,
			"monitor_link": "http://example.com/monitor?node=" + host,
			"total_used":   fmt.Sprint(usage),
			"x_total_used": fmt.Sprint(usage),
		}
	}
	want := map[string][]payload{
		"web-1": {
			alert("web-1", "ok", 1, 75), alert("web-1", "warning", 2, 85), alert("web-1", "critical", 3, 95),
			alert("web-1", "warning", 5, 85), alert("web-1", "ok", 6, 40),
		},
		"web-2": {
			alert("web-2", "critical", 2, 96), alert("web-2", "ok", 3, 20), alert("web-2", "ok", 6, 75), alert("web-2", "ok", 7, 60),
		},
	}
	got := make(map[string][]sandbox.Event)
	for _, e := range panda.waitForCount(len(want["web-1"]) + len(want["web-2"])) {
		got[e.Title] = append(got[e.Title], e)
	}
	for host := range usage {
		wantPayloads(t, got[host], want[host])
	}
}
