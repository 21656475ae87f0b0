package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/nats-io/nats.go/jetstream"
)

// P1, P3, P10: two functions that compute the same, with no token, and two deliverers:
// BigPanda is told each change once, in order, over a deliverer that ends; cluster and
// the metrics show it.
func TestTwoFunctionsAndTwoDeliverers(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	a, b := p.function(t.TempDir()), p.function(t.TempDir())
	for _, f := range []*test.Function{a, b} {
		f.MustInit()
		pass(f, test.Point("web-1", "CRITICAL", 1000), test.Point("web-2", "WARNING", 1000))
	}
	p.awaitCluster("both changes are stored, and nobody delivers", func(c clusterJSON) bool {
		return c.Stream.Messages == 2 && c.Lease.Owner == "" && len(c.AppKeys) == 1 && c.AppKeys[0].Lag == 2
	})
	p.wantRun([]string{"stream BIGPANDA: 2 alerts stored, ", "nobody delivers: start bigpanda-udf deliver\n", "APP KEY", "app  "}, "cluster")

	first := p.deliver()
	p.wantStatuses(map[string][]string{"web-1": {"critical"}, "web-2": {"warning"}})
	second := p.deliver()
	c := p.awaitCluster("one delivers, and the other stands by", func(c clusterJSON) bool {
		return c.Lease.Owner != "" && len(c.Lease.Standby) == 1 && c.AppKeys[0].Lag == 0
	})
	owner, standby := c.Lease.Owner, c.Lease.Standby[0]
	p.wantRun([]string{owner + " delivers, for ", "; " + standby + " stands by\n"}, "cluster")
	second.wantMetrics("cluster_scrape_success 1\n", "cluster_stored_alerts 2\n", fmt.Sprintf("cluster_deliverer{owner=%q} 1\n", owner),
		"cluster_standby_deliverers 1\n", `cluster_waiting_alerts{app_key="app"} 0`+"\n", `cluster_oldest_waiting_age_seconds{app_key="app"} 0`+"\n",
		"cluster_kept_dead_letters 0\n", "deliverer_ready 1\n", "deliverer_alerts_delivered_total 0\n")
	first.wantMetrics("deliverer_alerts_delivered_total 2\n", `deliverer_requests_total{outcome="accepted"} `)

	first.end()
	ended := time.Now()
	p.awaitCluster("the other delivers", func(c clusterJSON) bool { return c.Lease.Owner == standby })
	t.Logf("the other is seen to deliver %s after the first has ended", time.Since(ended).Round(time.Millisecond))
	pass(b, test.Point("web-1", "OK", 1010))
	pass(a, test.Point("web-1", "OK", 1010))
	p.wantStatuses(map[string][]string{"web-1": {"critical", "ok"}, "web-2": {"warning"}})
	if code := a.End(); code != 0 {
		t.Errorf("the function ends with %d", code)
	}
	if n := p.bigPanda.Stats().Duplicates; n > 0 {
		t.Errorf("%d duplicates", n)
	}
	second.end()
	p.awaitCluster("nobody delivers", func(c clusterJSON) bool { return c.Lease.Owner == "" })
}

// What waits in the outboxes of a host is shown where it is, whether NATS is reached or
// not, and goes on when it is.
func TestClusterShowsTheBacklogOfTheHost(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	p := newProgram(t, s)
	folder := t.TempDir()
	s.Stop()
	f := p.function(folder)
	f.MustInit()
	pass(f, test.Point("web-1", "CRITICAL", 1000))
	natstest.Await(t, "cluster says that NATS is away, and what waits here", func() error {
		stdout, stderr, code := p.run("cluster", "--outbox", folder)
		if code != 1 || !strings.HasPrefix(stdout, "this host: 1 alert waits in 1 outbox of "+folder+", the oldest for ") || !strings.Contains(stderr, "there is no connection to") {
			return fmt.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		return nil
	})
	s.Restart()
	p.deliver()
	p.wantStatuses(map[string][]string{"web-1": {"critical"}})
	p.awaitCluster("nothing waits here", func(c clusterJSON) bool { return c.Host.Outboxes == 1 && c.Host.Queued == 0 }, "BIGPANDA_OUTBOX="+folder)
}

// An app key that is held is shown with the reason, and others go on.
func TestClusterShowsWhatIsHeld(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	test.SetFaults(t, p.bigPanda, sandbox.Faults{Status: 404, Match: `"app_key":"gone"`})
	d := p.deliver()
	f, gone := p.function(t.TempDir()), p.function(t.TempDir())
	f.MustInit()
	gone.MustInit(test.Option("appKey", "gone"))
	pass(gone, test.Point("web-1", "CRITICAL", 1000))
	p.awaitCluster("the app key is held", func(c clusterJSON) bool {
		return len(c.Held) == 1 && c.Held[0].AppKey == "gone" && c.Held[0].Cause == "not_found"
	})
	pass(f, test.Point("web-2", "CRITICAL", 1000))
	p.wantStatuses(map[string][]string{"web-2": {"critical"}})
	p.wantRun([]string{`alerts of the app key "gone" are held for `, "404", "APP KEY"}, "cluster")
	d.wantMetrics(`cluster_held{app_key="gone",reason="not_found"} 1`, `cluster_waiting_alerts{app_key="gone"} 1`, `cluster_waiting_alerts{app_key="app"} 0`)
	test.SetFaults(t, p.bigPanda, sandbox.Faults{})
	p.wantStatuses(map[string][]string{"web-1": {"critical"}, "web-2": {"critical"}})
}

// Dead letters are listed, retried and dropped.
func TestClusterDeadLetters(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	test.SetFaults(t, p.bigPanda, sandbox.Faults{Status: 400, Body: "no, " + test.Token + "\x1b[2J", Match: "bad-"})
	d := p.deliver()
	f := p.function(t.TempDir())
	f.MustInit()
	pass(f, test.Point("bad-1", "CRITICAL", 1000), test.Point("bad-2", "CRITICAL", 1001), test.Point("bad-3", "CRITICAL", 1002), test.Point("good", "CRITICAL", 1003))
	p.awaitCluster("three are dead", func(c clusterJSON) bool { return c.Dead == 3 && c.AppKeys[0].Lag == 0 })
	p.wantStatuses(map[string][]string{"good": {"critical"}})
	p.wantRun([]string{"3 dead letters: see bigpanda-udf cluster dead\n"}, "cluster")
	p.wantRun([]string{"ID", "DIED", "ANSWER\n", "bad-", "400", "no, "}, "cluster", "dead")
	p.wantRun([]string{"PAYLOAD\n", `"host":"bad-`}, "cluster", "dead", "--payload", "--limit=1")
	d.wantMetrics("cluster_kept_dead_letters 3\n", "deliverer_dead_letters_total 3\n")

	stdout, _, code := p.run("cluster", "dead", "--json")
	ids := make(map[string]string) // by host
	for line := range strings.Lines(stdout) {
		var l struct {
			Seq     json.Number
			Alert   string
			Payload any
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Payload != nil {
			t.Fatalf("%v in %s", err, line)
		}
		for _, host := range []string{"bad-1", "bad-2", "bad-3"} {
			if strings.Contains(l.Alert, host) {
				ids[host] = l.Seq.String()
			}
		}
	}
	if code != 0 || len(ids) != 3 || strings.Contains(stdout, "\x1b") {
		t.Fatalf("exit code %d, and %q", code, stdout)
	}
	p.wantRun([]string{"1 dead letter was dropped\n"}, "cluster", "drop", ids["bad-1"])
	if _, stderr, code := p.run("cluster", "drop", ids["bad-1"]); code != 1 || !strings.Contains(stderr, "there is no dead letter with the ID "+ids["bad-1"]) {
		t.Errorf("exit code %d and %q of one that is not there", code, stderr)
	}
	test.SetFaults(t, p.bigPanda, sandbox.Faults{})
	p.wantRun([]string{"1 dead letter is back in the stream\n"}, "cluster", "retry", ids["bad-2"])
	p.wantStatuses(map[string][]string{"good": {"critical"}, "bad-2": {"critical"}})
	p.wantRun([]string{`{"action":"drop","kind":"dead","done":1}` + "\n"}, "cluster", "drop", "--all", "--json")
	p.wantRun([]string{"nothing to retry: there is no dead letter\n"}, "cluster", "retry", "--all")
	p.wantRun([]string{"no dead letters\n"}, "cluster", "dead")
	for _, args := range [][]string{{"cluster", "dead", "--nats-stream", "WRONG"}, {"cluster", "drop", "--nats-stream", "WRONG", "1"}} {
		if _, stderr, code := p.run(args...); code != 1 || !strings.Contains(stderr, "there is no stream WRONG") {
			t.Errorf("%s: exit code %d and %q", args, code, stderr)
		}
	}
}

// However many dead letters there are, and however slow the way to them is, --all is for
// all of them.
func TestClusterManyDeadLetters(t *testing.T) {
	t.Parallel()
	const letters = 45
	s := natstest.Start(t, natstest.Options{})
	p := newProgram(t, s)
	p.deliver()
	_, js := admin(t, s.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BIGPANDA_DEAD", Subjects: []string{"BIGPANDA.d.*"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	for i := range letters {
		data := fmt.Sprintf(`{"app_key":"app","status":"critical","timestamp":1700000000,"host":"web-%d","check":"cpu"}`, i)
		if _, err := js.Publish(t.Context(), "BIGPANDA.d.app", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	p.awaitCluster("there is a stream", func(c clusterJSON) bool { return c.Dead == letters })
	proxy := natstest.StartProxy(t, s)
	proxy.Slow(40 * time.Millisecond)
	stdout, stderr, code := p.runWith([]string{"BIGPANDA_NATS=" + proxy.URL()}, "cluster", "retry", "--all")
	if want := fmt.Sprintf("%d dead letters are back in the stream\n", letters); code != 0 || stdout != want {
		t.Errorf("exit code %d, and it says %q%s", code, stdout, stderr)
	}
	test.WaitEvents(t, p.bigPanda, letters)
	const behindAll = "18446744073709551615"
	p.wantRun([]string{"no dead letters\n"}, "cluster", "dead", "--after", behindAll)
	if _, stderr, code := p.run("cluster", "drop", behindAll, "0"); code != 1 || !strings.Contains(stderr, "there is no dead letter with the ID "+behindAll+", 0") {
		t.Errorf("exit code %d and %q of IDs that no dead letter has", code, stderr)
	}
}

// Delivery is handed over when somebody says so, and not to nobody.
func TestClusterHandOver(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	if _, stderr, code := p.run("cluster", "hand-over"); code != 1 || !strings.HasPrefix(stderr, "bigpanda-udf cluster hand-over: ") {
		t.Errorf("without a deliverer the exit code is %d, and it says %q", code, stderr)
	}
	p.deliver()
	first := p.awaitCluster("the first delivers", func(c clusterJSON) bool { return c.Lease.Owner != "" }).Lease.Owner
	if _, stderr, code := p.run("cluster", "hand-over"); code != 1 || !strings.Contains(stderr, "is the only deliverer") {
		t.Errorf("with one deliverer the exit code is %d, and it says %q", code, stderr)
	}
	p.deliver()
	standby := p.awaitCluster("the second stands by", func(c clusterJSON) bool { return len(c.Lease.Standby) == 1 }).Lease.Standby[0]
	p.wantRun([]string{standby + " delivers now\n"}, "cluster", "hand-over")
	p.awaitCluster("they have changed places", func(c clusterJSON) bool {
		return c.Lease.Owner == standby && len(c.Lease.Standby) == 1 && c.Lease.Standby[0] == first
	})
}
