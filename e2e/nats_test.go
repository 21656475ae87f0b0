package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/stream/test/natstest"
)

// A pair is two Kapacitor servers with the same tasks and points, which publish to NATS,
// and two deliverers that take it from there to one BigPanda.
type pair struct {
	t          *testing.T
	panda      *bigPanda
	kapacitors [2]*kapacitor
	outboxes   [2]string
	deliverers [2]*exec.Cmd
	last       atomic.Int32 // the deliverer of the last request
}

// startPair starts three NATS servers and all that is around them.
func startPair(t *testing.T, script string) *pair {
	t.Helper()
	p := &pair{t: t, panda: startBigPanda(t)}
	cluster := natstest.StartCluster(t, 3, natstest.Options{})
	for i := range p.deliverers {
		// An address of its own shows whose request it is.
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.last.Store(int32(i))
			p.panda.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		p.deliverers[i] = deliver(t, cluster.URLs(), server.URL+sandbox.Path)
	}
	for i := range p.kapacitors {
		p.outboxes[i] = filepath.Join(t.TempDir(), "outbox")
		// With NATS a function needs neither the address nor the token.
		k := startKapacitor(t, functionConfig(t, p.panda, map[string]string{
			"BIGPANDA_NATS": cluster.URLs(), "BIGPANDA_OUTBOX": p.outboxes[i], "BIGPANDA_URL": "", "BIGPANDA_TOKEN_FILE": "",
		}))
		k.define("cpu", script)
		p.kapacitors[i] = k
	}
	return p
}

// deliver starts `bigpanda-udf deliver`, and waits until it is ready.
func deliver(t *testing.T, nats, url string) *exec.Cmd {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	cmd := exec.Command(function, "deliver", "--listen", address)
	cmd.Env = []string{"HOME=" + t.TempDir(), "BIGPANDA_NATS=" + nats, "BIGPANDA_URL=" + url, "BIGPANDA_TOKEN=" + token, "BIGPANDA_NATS_LEASE_TTL=2s"}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if bytes.Contains(log.Bytes(), []byte(token)) {
			t.Error("the token is in the log of a deliverer")
		}
		if t.Failed() {
			t.Logf("log of a deliverer:\n%s", &log)
		}
	})
	natstest.Await(t, "a deliverer is ready", func() error {
		answer, err := http.Get("http://" + address + "/ready")
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", answer.Status)
		}
		return nil
	})
	return cmd
}

// tell writes a point of each host to servers.
func (p *pair) tell(second int, hosts int, next level, to ...*kapacitor) {
	p.t.Helper()
	for _, k := range to {
		for host := range hosts {
			k.write(fmt.Sprintf("cpu,host=h-%d usage=%d %d", host, next.usage, at(second)))
		}
	}
}

// changes waits until BigPanda was told so many changes, and returns them without exact
// duplicates.
func (p *pair) changes(count int) (all []sandbox.Event) {
	p.t.Helper()
	p.panda.waitFor(fmt.Sprintf("%d changes have come", count), func(events []sandbox.Event) string {
		all = nil
		for _, e := range events {
			if !e.Duplicate {
				all = append(all, e)
			}
		}
		if len(all) < count {
			return fmt.Sprintf("%d have: %s", len(all), describe(all))
		}
		return ""
	})
	return all
}

// P4, P5: of a pair of servers BigPanda is told each change once. In the middle of an
// incident one is killed, then the deliverer that had the lease: the other ones go on.
func TestPairOnNATS(t *testing.T) {
	t.Parallel()
	p := startPair(t, withTopic())
	a, b := p.kapacitors[0], p.kapacitors[1]
	const hosts = 5

	p.tell(0, hosts, warning, a, b)
	p.changes(hosts)
	p.tell(10, hosts, critical, a, b)
	p.changes(2 * hosts)
	for i, k := range p.kapacitors {
		k.waitForQueue(p.outboxes[i], 0)
	}
	a.kill()
	p.tell(20, hosts, warning, b)
	p.changes(3 * hosts)

	dead := p.last.Load()
	p.deliverers[dead].Process.Kill()
	p.deliverers[dead].Wait()
	p.tell(30, hosts, critical, b)
	p.tell(40, hosts, ok, b)
	p.changes(5 * hosts)
	if p.last.Load() == dead {
		t.Error("the last request is of a deliverer that was killed")
	}

	// The first is back. It has held since critical, so it tells the recovery of its own;
	// from the next incident on the two are one again.
	a.start()
	p.tell(50, hosts, ok, a, b)
	p.changes(6 * hosts)
	p.tell(60, hosts, critical, a, b)
	p.tell(70, hosts, ok, a, b)
	events := p.changes(8 * hosts)
	for i, k := range p.kapacitors {
		k.waitForQueue(p.outboxes[i], 0)
	}

	wantClean(t, events)
	for id, got := range byCheck(events) {
		t.Log(id)
		wantStatuses(t, got, "warning", "critical", "warning", "critical", "ok", "ok", "critical", "ok")
	}
	for _, alert := range p.panda.Alerts() {
		if alert.Status != "ok" {
			t.Errorf("%s is shown as %s", alert.Title, alert.Status)
		}
	}
	// Nothing was in flight when the deliverer was killed that BigPanda had answered
	// for longer than the lease.
	if s := p.panda.Stats(); s.Duplicates > hosts {
		t.Errorf("%d alerts came again, more than a request holds", s.Duplicates)
	}
}
