package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// startBatch is start with an InfluxDB for batch tasks.
func startBatch(t *testing.T) (*kapacitor, *bigPanda, *influxDB) {
	t.Helper()
	t.Parallel()
	db, b := startInfluxDB(t), startBigPanda(t)
	config := functionConfig(t, b, nil)
	config["influxdb"] = db.config()
	k := startKapacitor(t, config)
	b.failure = k.failure
	return k, b, db
}

// defineBatch creates a batch task and enables it.
func (k *kapacitor) defineBatch(id, script string) {
	k.t.Helper()
	k.call(http.MethodPost, "/tasks", map[string]any{
		"id":     id,
		"type":   "batch",
		"dbrps":  []map[string]string{{"db": database, "rp": retention}},
		"script": script,
		"status": "enabled",
	})
}

// The example as it is, but that it asks more often than every minute.
func TestExampleCPUUsageBatch(t *testing.T) {
	k, panda, db := startBatch(t)
	script := strings.Replace(example(t, "cpu_usage_batch"), ".every(1m)", ".every(100ms)", 1)
	k.defineBatch("cpu_usage_batch", script)
	now := time.Now()
	usage := func(host string, values ...int) {
		var lines []string
		for i, value := range values {
			when := now.Add(time.Duration(i-len(values)) * time.Second).UnixNano()
			lines = append(lines, fmt.Sprintf("cpu,host=%s,cpu=cpu-total usage_user=%d %d", host, value, when))
		}
		db.write(lines...)
	}
	alert := func(status, host, level string, usage string, timestamp any) payload {
		return payload{
			"app_key": appKey, "status": status, "timestamp": timestamp, "check": "cpu_usage_batch:" + host,
			"description": "cpu_usage_batch:" + host + " is " + level, "task": "cpu_usage_batch:cpu",
			"host": host, "usage_user": usage,
		}
	}
	var want []payload
	// step writes points of which one alert is made: the mean of them.
	step := func(status, host, level, mean string, values ...int) {
		t.Helper()
		usage(host, values...)
		got := panda.waitForCount(len(want) + 1)
		// The time is that of the query, which ends now.
		timestamp := got[len(want)].Payload.Map()["timestamp"]
		want = append(want, alert(status, host, level, mean, timestamp))
	}
	step("warning", "web-1", "WARNING", "85", 80, 85, 90)
	step("critical", "web-2", "CRITICAL", "95", 95, 95, 95)
	step("critical", "web-1", "CRITICAL", "98", 97, 98, 99)
	step("ok", "web-1", "OK", "20", 10, 20, 30)
	step("ok", "web-2", "OK", "50", 50, 50, 50)
	wantPayloads(t, panda.Events(), want)
}

// A batch passes through whole and unchanged, in every group (P3): what
// httpOut shows of a batch is its name, tags, columns and points.
func TestBatchesPassThrough(t *testing.T) {
	k, panda, db := startBatch(t)
	k.defineBatch("through", `
var alerts = batch
    |query('SELECT "usage", "count", "up", "note" FROM "telegraf"."autogen"."system"')
        .period(2h)
        .every(100ms)
        .groupBy('host')
    |alert()
        .stateChangesOnly()`+levels+conventional+`
alerts|httpOut('before')
alerts@bigpandaBatch()|httpOut('after')
alerts@bigpandaBatch().passThrough(FALSE)|httpOut('nothing')`)
	var lines []string
	for host := range 20 {
		for i := range 50 {
			lines = append(lines, fmt.Sprintf(`system,host=web-%02d usage=%d,count=%di,up=true,note="a, \"b\" 日本" %d`, host, 91+i%9, i, at(i)))
		}
	}
	db.write(lines...)
	panda.waitForCount(20)
	k.eventually("httpOut shows the same before and after the function", func() string {
		before := k.call(http.MethodGet, "/tasks/through/before", nil)
		after, err := k.try(http.MethodGet, "/tasks/through/after", nil)
		if err != nil {
			return err.Error()
		}
		if bytes.Count(before, []byte(`"tags":`)) != 20 || !bytes.Equal(before, after) {
			return fmt.Sprintf("before: %s\nafter: %s", before, after)
		}
		return ""
	})
	if shown, err := k.try(http.MethodGet, "/tasks/through/nothing", nil); err == nil {
		var result struct{ Series []json.RawMessage }
		if err := json.Unmarshal(shown, &result); err != nil || len(result.Series) > 0 {
			t.Errorf("with passThrough(FALSE) batches went on: %s (%v)", shown, err)
		}
	}
	// Each of the two nodes tells it, once.
	for id, events := range byCheck(panda.waitForCount(40)) {
		if len(events) != 2 {
			t.Errorf("%s: got %d alerts, want one of each node: %s", id, len(events), describe(events))
		}
	}
}

// A function behind a node of the other edge is refused when its task is
// enabled, with a message that names both edges.
func TestFunctionOnTheWrongEdge(t *testing.T) {
	t.Parallel()
	k := startKapacitor(t, functionConfig(t, startBigPanda(t), nil))
	for _, test := range []struct{ name, id, script, want string }{
		{
			name: "batches for the stream function", id: "batches",
			script: `stream|from()|window().period(10s).every(10s)|alert().crit(lambda: TRUE)@bigpanda()`,
			want:   "mismatched edges: alert3:batch -> bigpanda4:stream",
		},
		{
			name: "a stream for the batch function", id: "stream",
			script: `stream|from()|alert().crit(lambda: TRUE)@bigpandaBatch()`,
			want:   "mismatched edges: alert2:stream -> bigpandaBatch3:batch",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := k.in(t)
			body, err := json.Marshal(map[string]any{
				"id": test.id, "type": "stream", "script": test.script, "status": "enabled",
				"dbrps": []map[string]string{{"db": database, "rp": retention}},
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.try(http.MethodPost, "/tasks", bytes.NewReader(body))
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `\u003e`, ">"), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
