package test

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// use connects to a daemon as Kapacitor does, and passes points.
func use(t testing.TB, socket string, points ...*agent.Request) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write(test.Frames(append([]*agent.Request{test.Info(), test.Init("cpu_alert", "bigpanda3")}, points...)...)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	var buffer []byte
	for i := range len(points) + 2 {
		r := new(agent.Response)
		if err := agent.ReadMessage(&buffer, in, r); err != nil {
			t.Fatal(err)
		}
		if init := r.GetInit(); i == 1 && !init.GetSuccess() {
			t.Fatalf("Init failed: %s", init.GetError())
		}
	}
}

// serve --deliver is a daemon that publishes, and a deliverer beside it.
func TestServeDelivers(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	socket := filepath.Join(t.TempDir(), "s")
	address := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	env := slices.Concat(p.toPanda, p.toNATS, []string{"BIGPANDA_OUTBOX=" + t.TempDir()})
	d := p.start(address, env, "serve", "--socket", socket, "--deliver", "--metrics-listen", address)
	use(t, socket, test.Point("web-1", "CRITICAL", 1000))
	p.wantStatuses(map[string][]string{"web-1": {"critical"}})
	d.wantMetrics("cluster_stored_alerts 1\n", "deliverer_alerts_delivered_total 1\n", `alerts_delivered_total{folder="cpu_alert`)
	owner := p.awaitCluster("it delivers", func(c clusterJSON) bool { return c.Lease.Owner != "" }).Lease.Owner
	d.end()
	if !strings.Contains(d.log.String(), "owner="+owner) {
		t.Errorf("%s is another's", owner)
	}
	p.awaitCluster("it has handed over", func(c clusterJSON) bool { return c.Lease.Owner == "" })
}

// With the outbox in memory the deliverer of a daemon has its probe and metrics, too.
func TestServeDeliversFromMemory(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	socket := filepath.Join(t.TempDir(), "s")
	address := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	env := slices.Concat(p.toPanda, p.toNATS, []string{"BIGPANDA_OUTBOX=memory"})
	d := p.start(address, env, "serve", "--socket", socket, "--deliver", "--metrics-listen", address)
	use(t, socket, test.Point("web-1", "CRITICAL", 1000))
	d.wantMetrics("cluster_stored_alerts 1\n", "deliverer_ready 1\n")
	d.end()
	p.wantStatuses(map[string][]string{"web-1": {"critical"}})
}

// A daemon without a token publishes, in memory, too: what it holds at its end is in the
// stream before it ends.
func TestServePublishesFromMemory(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	f := p.function("memory")
	f.MustInit()
	var points []*agent.Request
	for i := range 200 {
		points = append(points, test.Point(fmt.Sprintf("web-%d", i), "CRITICAL", 1000))
	}
	pass(f, points...)
	if code := f.End(); code != 0 || strings.Contains(f.Log.String(), "lost") {
		t.Errorf("exit code %d, and the log is\n%s", code, f.Log)
	}
	p.awaitCluster("all is stored", func(c clusterJSON) bool { return c.Stream.Messages == len(points) })
}

// P1: a move to NATS and back loses nothing: what waits goes to the new place, and what is
// open is told again there, with its next point.
func TestMoveToNATSAndBack(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	p := newProgram(t, s)
	folder := t.TempDir()
	unreachable := []string{"BIGPANDA_NATS=", "BIGPANDA_NATS_REPLICAS=", "BIGPANDA_NATS_LEASE_TTL=", "BIGPANDA_URL=http://127.0.0.1:9/", "BIGPANDA_TOKEN=" + test.Token}
	f := p.function(folder, unreachable...)
	f.MustInit()
	pass(f, test.Point("web-1", "CRITICAL", 1000))
	f.End()

	s.Stop()
	f = p.function(folder)
	f.MustInit()
	pass(f, test.Point("web-2", "CRITICAL", 1010))
	f.End()

	f = p.function(folder, append([]string{"BIGPANDA_NATS=", "BIGPANDA_NATS_REPLICAS=", "BIGPANDA_NATS_LEASE_TTL="}, p.toPanda...)...)
	f.MustInit()
	p.wantStatuses(map[string][]string{"web-1": {"critical"}, "web-2": {"critical"}})
	pass(f, test.Point("web-1", "OK", 1020))
	p.wantStatuses(map[string][]string{"web-1": {"critical", "ok"}, "web-2": {"critical"}})
	f.End()

	s.Restart()
	p.deliver()
	f = p.function(folder)
	f.MustInit()
	// It is open, and told again at the new place, which may not know of it.
	pass(f, test.Point("web-2", "CRITICAL", 1030))
	pass(f, test.Point("web-2", "OK", 1040))
	test.WaitEvents(t, p.bigPanda, 5)
	if got := test.Statuses(p.bigPanda)["web-2"]; got[len(got)-1] != "ok" {
		t.Errorf("web-2 was told %v", got)
	}
	if log := f.Log.String(); !strings.Contains(log, "alerts go to another URL than before") || !strings.Contains(log, "url=nats:BIGPANDA") {
		t.Errorf("the log is\n%s", log)
	}
}

// A user with a password, and with the rights of a function alone.
const twoUsers = `
accounts {
  KAPACITOR {
    jetstream: enabled
    users: [
      {user: all, password: "pa55word-of-all"}
      {user: functions, password: "pa55word-of-functions", permissions: {
        publish: ["BIGPANDA.a.*", "$JS.API.STREAM.INFO.BIGPANDA"]
        subscribe: ["_INBOX_functions.>"]
      }}
    ]
  }
}`

// check tells what a function has of NATS and what a deliverer has, without a secret.
func TestCheckLooksAtNATS(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{Config: twoUsers}))
	outbox := "BIGPANDA_OUTBOX=" + filepath.Join(t.TempDir(), "outbox")
	all := []string{outbox, "BIGPANDA_NATS_USER=all", "BIGPANDA_NATS_PASSWORD_FILE=" + secretFile(t, "all", "pa55word-of-all\n")}
	functions := []string{outbox, "BIGPANDA_NATS_USER=functions", "BIGPANDA_NATS_INBOX_PREFIX=_INBOX_functions", "BIGPANDA_NATS_CREATE=false",
		"BIGPANDA_NATS_PASSWORD_FILE=" + secretFile(t, "functions", "pa55word-of-functions\n")}
	wrong := []string{outbox, "BIGPANDA_NATS_USER=all", "BIGPANDA_NATS_PASSWORD_FILE=" + secretFile(t, "wrong", "pa55word-of-nobody\n")}
	for _, tt := range []struct {
		name string
		env  []string
		code int
		want []string // parts
	}{
		{"a deliverer before there is a stream", slices.Concat(all, p.toPanda), 0, []string{
			"ok    nats                  nats://127.0.0.1:", "version 2.", "ok    nats rights ", "note  nats stream           there is no stream BIGPANDA yet: it will be made", "ok    token                 accepted",
		}},
		{"a function before there is a stream", functions, 1, []string{
			"fail  nats stream ", "note  token                 there is none, and none is needed: alerts go to NATS",
		}},
		{"a function as a deliverer", slices.Concat(functions, p.toPanda), 1, []string{"fail  nats rights           this user may not publish ", "BIGPANDA.d.", "$KV.BIGPANDA_LEASE.sender", "; allow it"}},
		{"a wrong password", wrong, 1, []string{"fail  nats                  NATS at ", " refuses the login", "; "}},
	} {
		stdout, stderr, code := p.runWith(tt.env, "check")
		for _, want := range tt.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: %q is not in\n%s%s", tt.name, want, stdout, stderr)
			}
		}
		if code != tt.code {
			t.Errorf("%s: exit code %d\n%s%s", tt.name, code, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, "pa55word") {
			t.Errorf("P9: %s: a password is in\n%s%s", tt.name, stdout, stderr)
		}
	}
	// With the stream there, a function has all that it needs.
	f := p.function(t.TempDir(), all...)
	f.MustInit()
	pass(f, test.Point("web-1", "CRITICAL", 1000))
	natstest.Await(t, "a function has all that it needs", func() error {
		stdout, _, code := p.runWith(functions, "check")
		if code != 0 || !strings.Contains(stdout, "ok    nats stream           stream BIGPANDA: ") {
			return fmt.Errorf("exit code %d\n%s", code, stdout)
		}
		return nil
	})
}

// The command metrics serves what cluster shows, too, with --nats.
func TestMetricsOfTheCluster(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	f := p.function(t.TempDir())
	f.MustInit()
	pass(f, test.Point("web-1", "CRITICAL", 1000))
	address := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	d := p.launch(address, append([]string{"BIGPANDA_OUTBOX=" + t.TempDir()}, p.toNATS...), "metrics", "--listen", address)
	d.wantMetrics("cluster_stored_alerts 1\n", `cluster_waiting_alerts{app_key="app"} 1`)
	if status, _ := d.get("/ready"); status != 404 {
		t.Errorf("/ready answers %d, and it delivers nothing", status)
	}
}
