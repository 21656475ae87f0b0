package e2e

import (
	"fmt"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// outage is how long the API is down in TestOutage: several times any timeout
// and backoff that a client begins with.
const outage = 20 * time.Second

// All that changes while the API is down arrives when it is back, each alert's
// changes in their order (P5).
func TestOutage(t *testing.T) {
	k, panda := start(t)
	k.define("cpu", withOptions(""))

	const hosts = 5
	var told []level // of every host
	second := 0
	tell := func(next level) {
		told = append(told, next)
		var points []string
		for host := range hosts {
			points = append(points, fmt.Sprintf("cpu,host=h-%d usage=%d %d", host, next.usage, at(second)))
		}
		second += 10
		k.write(points...)
	}
	tell(critical)
	before := len(panda.waitForCount(hosts))

	panda.fail(sandbox.Faults{Drop: true})
	tell(ok)
	panda.waitForStats("a request fails", func(s sandbox.Stats) bool { return s.Statuses[0] > 0 }, func() string { return "none does" })

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began := time.Now()
	for n := 1; time.Since(began) < outage; n++ {
		<-tick.C
		tell(everyStep[n%(len(everyStep)-1)]) // without the last, which is the first again
		if n == int(outage/time.Second/2) {
			// From no answer at all to a proxy's answer.
			panda.fail(sandbox.Faults{Status: 503})
		}
	}
	if got := len(panda.Events()); got != before {
		t.Fatalf("the API took %d alerts while it was down", got-before)
	}
	if shown := k.show("cpu"); !shown.Executing || shown.Error != "" {
		t.Errorf("the task is not well after an outage: %+v", shown)
	}

	panda.fail(sandbox.Faults{})
	tell(critical)
	tell(ok)
	want := changes(told)
	events := panda.waitForCount(hosts * len(want))
	wantClean(t, events)
	for id, got := range byCheck(events) {
		if len(got) != len(want) {
			t.Errorf("%s: got %d alerts, want %d%s", id, len(got), len(want), describe(got))
			continue
		}
		for i, step := range want {
			if text := got[i].Payload.Text("description"); text != id+" went to "+step.name {
				t.Errorf("%s: alert %d is %q, want %s", id, i, text, step.name)
			}
		}
	}
}

// A request that hangs for longer than Kapacitor waits for a sign of life
// stops neither the task nor its points (P6).
func TestHangLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	functionTable(config)["timeout"] = timeout.String()
	k := startKapacitor(t, config)
	k.define("cpu", withOptions("")+`
    |httpOut('seen')`)

	panda.fail(sandbox.Faults{Hang: true})
	k.write(fmt.Sprintf("cpu,host=h usage=95 %d", at(0)))
	panda.waitForStats("the request hangs", func(s sandbox.Stats) bool { return s.Waiting > 0 }, func() string { return "none does" })

	// Kapacitor ends a function that is silent for the timeout. So each round
	// waits for half of it, and sees a point of its own come out.
	tick := time.NewTicker(timeout / 2)
	defer tick.Stop()
	const rounds = 8
	for n := 1; n <= rounds; n++ {
		<-tick.C
		usage := []int{95, 85}[n%2]
		k.write(fmt.Sprintf("cpu,host=h usage=%d %d", usage, at(n)))
		when := epoch.Add(time.Duration(n) * time.Second).UTC().Format(time.RFC3339)
		k.waitForOutput("cpu", "seen", when)
	}
	if got := panda.Events(); len(got) > 0 {
		t.Fatalf("the API has taken alerts while it hung:%s", describe(got))
	}
	if shown := k.show("cpu"); !shown.Executing || shown.Error != "" {
		t.Errorf("the task is not well: %+v", shown)
	}
	panda.fail(sandbox.Faults{})
	k.write(fmt.Sprintf("cpu,host=h usage=10 %d", at(rounds+1)))
	events := panda.waitForCount(rounds + 2)
	var want []string
	for n := range rounds + 1 {
		want = append(want, []string{"critical", "warning"}[n%2])
	}
	wantStatuses(t, events, append(want, "ok")...)
}
