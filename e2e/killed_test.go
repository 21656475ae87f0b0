package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"bigpanda-udf/sandbox"
)

// P5: what was passed on while the API was down arrives after Kapacitor was
// killed and started again, in the order of each alert, and nothing is told
// twice that BigPanda knows.
func TestKilledDuringAnOutage(t *testing.T) {
	t.Parallel()
	panda := startBigPanda(t)
	outbox := filepath.Join(t.TempDir(), "outbox")
	k := startKapacitor(t, functionConfig(t, panda, map[string]string{"BIGPANDA_OUTBOX": outbox}))
	panda.failure = k.failure
	k.define("cpu", withTopic())

	const hosts = 5
	var told []level // of every host
	tell := func(next level) {
		told = append(told, next)
		for host := range hosts {
			k.write(fmt.Sprintf("cpu,host=h-%d usage=%d %d", host, next.usage, at(10*len(told))))
		}
	}
	tell(warning)
	before := len(panda.waitForCount(hosts))

	panda.fail(sandbox.Faults{Status: 503})
	tell(critical)
	tell(ok)
	tell(critical)
	k.eventually("all changes are in the outbox", func() string {
		if n, err := queued(outbox); n != 3*hosts {
			return fmt.Sprintf("%d of %d are, %v", n, 3*hosts, err)
		}
		return ""
	})
	k.kill()
	k.start()
	if got := len(panda.Events()); got != before {
		t.Fatalf("the API took %d alerts while it was down", got-before)
	}
	panda.fail(sandbox.Faults{})
	tell(critical) // no change
	tell(ok)

	want := statusesOf(changes(told))
	events := panda.waitForCount(hosts * len(want))
	wantClean(t, events)
	for id, got := range byCheck(events) {
		t.Log(id)
		wantStatuses(t, got, want...)
	}
}

// queued asks `bigpanda-udf outbox status` how many changes wait. The error may be that
// the function has not made its outbox yet; -1 are queued then.
func queued(outbox string) (n int, err error) {
	out, err := exec.Command(function, "outbox", "status", "--outbox", outbox, "--json").CombinedOutput()
	if err != nil {
		return -1, fmt.Errorf("outbox status: %w: %s", err, out)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var one struct{ Queued int } // a line for each outbox
		if err := d.Decode(&one); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return -1, fmt.Errorf("outbox status: %w in %s", err, out)
		}
		n += one.Queued
	}
}
