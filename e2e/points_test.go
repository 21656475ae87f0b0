package e2e

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// aroundTheFunction is a task that shows what goes into the function and what
// comes out of it.
func aroundTheFunction(options string) string {
	return `
stream
    |from()
        .measurement('cpu')
        .groupBy('host', 'zone')
    |alert()` + thresholds + conventional + `
    |httpOut('before')
    @bigpanda()` + options + `
    |httpOut('after')`
}

// points of every type and two series; the last of each has the time last.
func writeAround(k *kapacitor) (last string) {
	const n = 5
	for i := range n {
		usage := []int{95, 85}[i%2]
		k.write(
			fmt.Sprintf(`cpu,host=a,zone=z\ 1,other=日本 usage=%d,i=-9223372036854775808i,f=1e-300,t=t,s="a \"b\" & <c>" %d`, usage, at(i)),
			fmt.Sprintf(`cpu,host=b,zone=z2 usage=%d,i=9223372036854775807i,f=0.1,t=f,s="" %d`, usage, at(i)+1),
		)
	}
	return epoch.Add((n-1)*time.Second + 1).UTC().Format(time.RFC3339Nano)
}

// output returns what an httpOut node of the task "cpu" shows: the last point
// of each series.
func (k *kapacitor) output(name string) any {
	k.t.Helper()
	var shown any
	if err := json.Unmarshal(k.call("GET", "/tasks/cpu/"+name, nil), &shown); err != nil {
		k.t.Fatal(err)
	}
	return shown
}

// What comes out of the function is what went in (P3).
func TestPointsPassOn(t *testing.T) {
	k, panda := start(t)
	k.define("cpu", aroundTheFunction(""))
	last := writeAround(k)
	k.waitForOutput("cpu", "after", last)
	if before, after := k.output("before"), k.output("after"); !reflect.DeepEqual(before, after) {
		t.Errorf("the function let out %v, where %v went in", after, before)
	}
	panda.waitForCount(10)
}

// With passThrough(FALSE) nothing comes out, and the alerts are sent all the
// same.
func TestPointsDoNotPassOn(t *testing.T) {
	k, panda := start(t)
	k.define("cpu", aroundTheFunction(".passThrough(FALSE)"))
	writeAround(k)
	panda.waitForCount(10)
	// A piece of input leaves before the next one's alerts are sent.
	k.write(fmt.Sprintf("cpu,host=c,zone=z1 usage=95 %d", at(10)))
	wantClean(t, panda.waitForCount(11))
	if shown, err := k.try("GET", "/tasks/cpu/after", nil); err == nil && !emptyOutput(shown) {
		t.Errorf("the function let out %s", shown)
	}
}

// emptyOutput reports whether an httpOut node has seen no point.
func emptyOutput(shown []byte) bool {
	var output struct {
		Series []any `json:"series"`
	}
	return json.Unmarshal(shown, &output) == nil && len(output.Series) == 0
}

// Switched off by its setting, the function lets points pass and sends nothing.
func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	panda := startBigPanda(t)
	k := startKapacitor(t, functionConfig(t, panda, map[string]string{"BIGPANDA_ENABLED": "false"}))
	k.define("cpu", aroundTheFunction(""))
	k.waitForOutput("cpu", "after", writeAround(k))
	k.stop() // whatever was to be sent has been sent
	if requests := panda.Requests(); len(requests) > 0 {
		t.Errorf("%d requests were made: %+v", len(requests), requests)
	}
}
