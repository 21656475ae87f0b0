package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// BenchmarkServerStorm is 20,000 series of a task of the real Kapacitor that go
// CRITICAL at once, against an API with 50 ms latency: from the first write to the
// last answer.
func BenchmarkServerStorm(b *testing.B) {
	const alerts, lines = 20_000, 5_000
	for b.Loop() {
		b.StopTimer()
		panda := startBigPanda(b)
		if err := panda.SetFaults(sandbox.Faults{Latency: 50 * time.Millisecond}); err != nil {
			b.Fatal(err)
		}
		k := startKapacitor(b, functionConfig(b, panda, map[string]string{"BIGPANDA_OUTBOX": b.TempDir()}))
		k.define("storm", `
stream
    |from()
        .measurement('cpu')
        .groupBy('host')
    @bigpanda()`)
		k.waitForFunctions(1)
		var bodies [][]byte
		for i := 0; i < alerts; i += lines {
			var body bytes.Buffer
			for n := range lines {
				fmt.Fprintf(&body, "cpu,host=web%05d usage=95,level=\"CRITICAL\" %d\n", i+n, at(0))
			}
			bodies = append(bodies, body.Bytes())
		}
		b.StartTimer()
		began := time.Now()
		if err := k.writeAll(bodies); err != nil {
			b.Fatal(err)
		}
		panda.waitForCount(alerts)
		b.ReportMetric(alerts/time.Since(began).Seconds(), "alerts/s")
		b.StopTimer()
		k.stop()
		b.StartTimer()
	}
}
