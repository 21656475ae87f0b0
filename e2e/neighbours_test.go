package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// nobodyReads is the address of a server that answers nothing until release
// is called.
func nobodyReads(t *testing.T) (url string, release func()) {
	answer := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-answer }))
	released := false
	release = func() {
		if !released {
			released = true
			close(answer)
		}
	}
	t.Cleanup(func() {
		release()
		server.Close()
	})
	return server.URL, release
}

// writeHosts writes a point of each of n hosts, in requests of 5,000.
func (k *kapacitor) writeHosts(n int, of level, second int) error {
	for first := 0; first < n; first += 5000 {
		var lines strings.Builder
		for host := first; host < min(n, first+5000); host++ {
			fmt.Fprintf(&lines, "cpu,host=h-%05d usage=%d %d\n", host, of.usage, at(second))
		}
		if _, err := k.try(http.MethodPost, "/write?db="+database+"&rp="+retention, strings.NewReader(lines.String())); err != nil {
			return err
		}
	}
	return nil
}

// A node below that takes nothing for longer than the timeout: Kapacitor does
// not read the function's signs of life either, and ends the task, if not
// itself. What has come to the function by then is delivered, and the levels
// are right at the next start.
func TestNodeBelowNeverReads(t *testing.T) {
	t.Parallel()
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	functionTable(config)["timeout"] = "5s"
	k := startKapacitor(t, config)
	below, release := nobodyReads(t)
	k.define("cpu", withTopic()+`
    |httpPost('`+below+`')`)

	// More than the 1,000 points that the edge below holds, and few more: the last
	// must come within the timeout, and each is a commit to Kapacitor's topics.
	const hosts = 1050
	if err := k.writeHosts(hosts, critical, 0); err != nil {
		t.Fatal(err)
	}
	panda.waitForMany(hosts)
	k.eventually("kapacitord gives the function up", func() string {
		if !strings.Contains(k.log(), "keepalive timedout") {
			return "it has not"
		}
		return ""
	})
	release()
	k.kill() // it may have ended by itself: it panics where a node waits to hand on a point
	k.start()
	panda.failure = k.failure
	if err := k.writeHosts(hosts, ok, 10); err != nil {
		t.Fatal(err)
	}
	wantEachStep(t, panda.waitForMany(2*hosts), hosts, "critical", "ok")
}

// A node next to the function that takes nothing holds up the points of both in
// Kapacitor, and not the function's signs of life: the task goes on when the
// node does, and nothing is lost.
func TestNodeBesideDoesNotRead(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	functionTable(config)["timeout"] = timeout.String()
	k := startKapacitor(t, config)
	panda.failure = k.failure
	other, release := nobodyReads(t)
	k.define("cpu", "var alerts = "+cpuAlert(thresholds+conventional)+`
alerts
    @bigpanda()
alerts
    |httpPost('`+other+`')`)

	// More than all edges on the way hold.
	const hosts = 5000
	written := make(chan error, 1)
	go func() { written <- k.writeHosts(hosts, critical, 0) }()
	panda.waitForMany(100)
	<-time.After(2 * timeout)
	if got := len(panda.Events()); got >= hosts {
		t.Errorf("all %d alerts have come: the node next to it has held up nothing", got)
	}
	release()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if err := k.writeHosts(hosts, ok, 10); err != nil {
		t.Fatal(err)
	}
	wantEachStep(t, panda.waitForMany(2*hosts), hosts, "critical", "ok")
	if shown := k.show("cpu"); !shown.Executing || shown.Error != "" {
		t.Errorf("the task is not well: %+v", shown)
	}
}

// Thousands of series that appear at once and go through every level, while
// BigPanda or Kapacitor takes nothing for a while: keepalives, memory and the
// order of each alert hold (P5, P6, P7).
func TestManySeriesAtOnce(t *testing.T) {
	const (
		hosts = 5_000
		// About twice what it takes, of which half is the program's own.
		enough = 64 << 20
	)
	walk := []level{critical, warning, ok}
	for _, test := range []struct {
		name   string
		faults sandbox.Faults
		freeze time.Duration // of kapacitord, in the middle
	}{
		{name: "BigPanda hangs", faults: sandbox.Faults{Hang: true}},
		{name: "kapacitord stops reading for less than half the timeout", freeze: 4 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			k := startKapacitor(t, functionConfig(t, panda, nil))
			panda.failure = k.failure
			k.define("cpu", withOptions(""))
			k.waitForFunctions(1)
			peak := k.watchMemory(k.functions()[0].id)
			panda.fail(test.faults)

			written := make(chan error, 1)
			go func() {
				for n, level := range walk {
					if err := k.writeHosts(hosts, level, 10*n); err != nil {
						written <- err
						return
					}
				}
				written <- nil
			}()
			if test.freeze > 0 {
				panda.waitForMany(1000)
				k.freeze(test.freeze)
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			panda.fail(sandbox.Faults{})
			wantEachStep(t, panda.waitForMany(len(walk)*hosts), hosts, "critical", "warning", "ok")
			if shown := k.show("cpu"); !shown.Executing || shown.Error != "" {
				t.Errorf("the task is not well: %+v", shown)
			}
			t.Logf("the function had up to %d MiB", peak.Load()>>20)
			if got := peak.Load(); got == 0 || got > enough {
				t.Errorf("the function had up to %d bytes of memory, want at most %d", got, enough)
			}
		})
	}
}

// waitForMany is waitForCount for more alerts than a failure should list.
func (b *bigPanda) waitForMany(n int) []sandbox.Event {
	b.t.Helper()
	b.waitForStats(fmt.Sprintf("%d alerts have come", n), func(s sandbox.Stats) bool { return s.Events >= n }, func() string {
		return fmt.Sprintf("%d have", len(b.Events()))
	})
	return b.Events()
}

// wantEachStep fails the test unless each host went through the statuses, in
// order, with nothing else. It stops at the first that did not.
func wantEachStep(t *testing.T, events []sandbox.Event, hosts int, want ...string) {
	t.Helper()
	checks := byCheck(events)
	if len(checks) != hosts {
		t.Errorf("alerts of %d hosts came, want %d", len(checks), hosts)
	}
	for _, got := range checks {
		wantStatuses(t, got, want...)
		wantClean(t, got)
		if t.Failed() {
			return
		}
	}
}

// watchMemory returns the most anonymous memory that a process has at a time,
// as long as it and the test run.
func (k *kapacitor) watchMemory(id int) *atomic.Int64 {
	var peak atomic.Int64
	path := filepath.Join("/proc", strconv.Itoa(id), "status")
	go func() {
		for ; k.t.Context().Err() == nil; time.Sleep(poll) {
			text, err := os.ReadFile(path)
			if err != nil {
				return
			}
			_, line, _ := strings.Cut(string(text), "RssAnon:")
			var kib int64
			if _, err := fmt.Sscan(line, &kib); err != nil {
				return // it is over
			}
			peak.Store(max(peak.Load(), kib<<10))
		}
	}()
	return &peak
}
