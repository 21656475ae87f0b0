package cli

import (
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// P5: a kapacitord that was killed leaves input on its way, and its successor
// dials before that was read: it must know what that told.
func TestServeFollowsAConnectionThatIsBeingRead(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	times := testTimes
	times.Leave = test.Patient // the first may take its time on a busy machine
	s := startServerWith(t, times, serveVars(t, url))
	killed := s.use("cpu", "bigpanda2")
	killed.pass(level("a", "CRITICAL", 1000))
	var rest []*agent.Request
	for i := range int64(1000) {
		rest = append(rest, level("b", []string{"WARNING", "CRITICAL"}[i%2], 1001+i))
	}
	killed.send(append(rest, level("a", "OK", 3000))...)
	killed.conn.Close()
	again := s.use("cpu", "bigpanda2")
	again.pass(level("a", "CRITICAL", 3001))
	awaitEvents(t, api, 1003)
	var a []string
	for _, e := range newsAt(api) {
		if e.Title == "a" {
			a = append(a, e.Status)
		}
	}
	if len(a) != 3 || a[0] != "critical" || a[1] != "ok" || a[2] != "critical" {
		t.Errorf("BigPanda was told of a: %q", a)
	}
}
