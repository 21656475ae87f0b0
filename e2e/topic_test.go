package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// startTopic is the set-up of most tests: a daemon, and a server without any function.
func startTopic(t *testing.T, files map[string]any, settings ...string) (*kapacitor, *topicDaemon, *bigPanda) {
	t.Helper()
	t.Parallel()
	b := startBigPanda(t)
	d := startTopics(t, b, files, settings...)
	k := startKapacitor(t, nil)
	b.failure = k.failure
	return k, d, b
}

// usage writes points of hosts, some seconds after epoch.
func (k *kapacitor) usage(second int, l level, hosts ...string) {
	k.t.Helper()
	for _, host := range hosts {
		k.write(fmt.Sprintf("cpu,host=%s usage=%d %d", host, l.usage, at(second)))
	}
}

// A script and a handler file as in Kapacitor's documentation move over by the two
// commands of the README; the old handler is replaced by the one of its id.
func TestMoveTopicHandler(t *testing.T) {
	needNativeHandler(t)
	t.Parallel()
	native, panda := startBigPanda(t), startBigPanda(t)
	k := startKapacitor(t, map[string]any{"bigpanda": nativeSection(native)})
	d := startTopics(t, panda, nil)
	file := filepath.Join(d.dir, "cpu.yaml")
	if err := os.WriteFile(file, []byte(`topic: cpu
id: bigpanda-cpu
kind: bigpanda
options:
  app-key: of the file
  host: '{{ index .Tags "host" }}.example'
  attributes:
    dashboard: 'https://example.com/{{ index .Tags "host" }}'
`), 0o644); err != nil {
		t.Fatal(err)
	}
	k.define("usage", topicAlert("cpu", ""))
	k.command("define-topic-handler", file)
	k.usage(0, critical, "a")
	k.usage(10, ok, "a")
	want := native.waitForCount(2)

	post := filepath.Join(t.TempDir(), "post.yaml")
	printed, err := exec.Command(function, "topic-handler", file, "--url", "http://"+d.address).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(post, printed, 0o644); err != nil {
		t.Fatal(err)
	}
	k.command("define-topic-handler", post)
	d.until("the file is taken over", func() bool { return strings.Contains(d.log.String(), "a handler file is taken over") })
	if listed := k.command("list", "topic-handlers"); strings.Count(listed, "bigpanda-cpu") != 1 || !strings.Contains(listed, "post") {
		t.Errorf("the handlers are\n%s", listed)
	}
	k.usage(20, critical, "a")
	k.usage(30, ok, "a")
	got := panda.waitForCount(2)
	for i := range got {
		before, now := want[i].Payload.Map(), got[i].Payload.Map()
		if before["task"] != "usage:cpu" || now["task"] != "cpu:cpu" {
			t.Errorf("the tasks are %v and %v", before["task"], now["task"])
		}
		for _, p := range []payload{before, now} {
			delete(p, "task")
			delete(p, "timestamp")
		}
		if fmt.Sprint(before) != fmt.Sprint(now) {
			t.Errorf("got %v, want %v", now, before)
		}
	}
	if n := len(native.Events()); n != 2 {
		t.Errorf("Kapacitor's own handler sent %d, the last ones after it was replaced", n)
	}
}

// match and .inhibit() are Kapacitor's to keep.
func TestTopicMatch(t *testing.T) {
	k, d, panda := startTopic(t, nil)
	d.handle(k, "cpu", "all", "")
	d.handle(k, "cpu", "changes", "changed() == TRUE")
	d.handle(k, "cpu", "critical", "level() == CRITICAL")
	k.define("cpu", topicAlert("cpu", ""))
	for i, l := range []level{critical, critical, warning, critical, ok, critical} {
		k.usage(10*i, l, "a")
	}
	events := panda.waitForCount(5 + 5 + 2)
	for task, want := range map[string][]string{
		"all:cpu":      {"critical", "warning", "critical", "ok", "critical"},
		"changes:cpu":  {"critical", "warning", "critical", "ok", "critical"},
		"critical:cpu": {"critical", "critical"}, // of each incident one, as no other level is seen
	} {
		var of []sandbox.Event
		for _, e := range events {
			if e.Payload.Text("task") == task {
				of = append(of, e)
			}
		}
		t.Log(task)
		wantStatuses(t, of, want...)
	}
}

func TestTopicInhibit(t *testing.T) {
	k, d, panda := startTopic(t, nil)
	d.handle(k, "cpu", "cpu", "")
	k.define("down", `
stream
    |from()
        .measurement('down')
        .groupBy('host')
    |alert()
        .category('down')
        .crit(lambda: "down" == 1)
        .topic('down')
        .inhibit('cpu', 'host')`)
	k.define("cpu", topicAlert("cpu", `.category('cpu')`))
	k.write(fmt.Sprintf("down,host=a down=1 %d", at(0)))
	k.eventually("a is inhibited", func() string {
		state, err := k.try(http.MethodGet, "/alerts/topics/down", nil)
		switch {
		case err != nil: // the topic begins with its first event
			return err.Error()
		case !bytes.Contains(state, []byte("CRITICAL")):
			return string(state)
		}
		return ""
	})
	k.usage(10, critical, "a", "b")
	wantStatuses(t, panda.waitForCount(1), "critical")
	if got := panda.Events()[0].Payload.Text("host"); got != "b" {
		t.Errorf("the alert is of %s", got)
	}
}

// What an aggregate handler makes goes on by publish, and to the daemon.
func TestTopicAggregate(t *testing.T) {
	k, d, panda := startTopic(t, map[string]any{"summary": handlerSpec("published", map[string]any{"host": "the fleet"})})
	k.handle("cpu", map[string]any{"id": "a", "kind": "aggregate", "options": map[string]any{"id": "summary", "topic": "summed", "interval": 300 * time.Millisecond}})
	k.handle("summed", map[string]any{"id": "p", "kind": "publish", "options": map[string]any{"topics": []string{"published"}}})
	d.handle(k, "published", "summary", "")
	k.define("cpu", topicAlert("cpu", ""))
	k.usage(0, critical, "a", "b", "c")
	e := panda.waitForCount(1)[0]
	if e.Payload.Text("check") != "summary" || e.Payload.Text("host") != "the fleet" || e.Status != "critical" ||
		!strings.HasPrefix(e.Payload.Text("description"), "Received ") || !strings.Contains(e.Payload.Text("details"), "cpu:host=a went to CRITICAL") {
		t.Errorf("the alert is %s", e.Payload)
	}
}

// P5: what is open goes on over a restart of Kapacitor.
func TestTopicRestartOfKapacitor(t *testing.T) {
	t.Parallel()
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed %t", killed), func(t *testing.T) {
			k, d, panda := startTopic(t, nil)
			d.handle(k, "cpu", "cpu", "")
			k.define("cpu", topicAlert("cpu", ""))
			k.usage(0, critical, "a", "b")
			panda.waitForCount(2)
			if killed {
				k.kill()
			} else {
				k.stop()
			}
			k.start()
			k.usage(10, critical, "a") // known
			k.usage(20, ok, "b")
			k.usage(30, ok, "a")
			events := panda.waitForCount(4)
			wantClean(t, events)
			for _, got := range byCheck(events) {
				wantStatuses(t, got, "critical", "ok")
			}
		})
	}
}

// P5: in an outage of BigPanda the daemon is stopped, or killed, and goes on: what it
// has taken is delivered once BigPanda works, in order, and nothing is told twice.
func TestTopicRestartInAnOutage(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			k, d, panda := startTopic(t, nil)
			d.handle(k, "cpu", "cpu", "")
			k.define("cpu", topicAlert("cpu", ""))
			panda.fail(sandbox.Faults{Hang: true})
			k.usage(0, warning, "a", "b")
			k.usage(10, critical, "a", "b")
			d.waitForQueue(4)
			d.end(signal)
			d.start()
			k.usage(20, critical, "a", "b")
			k.usage(30, ok, "a", "b")
			d.waitForQueue(6)
			panda.fail(sandbox.Faults{})
			events := panda.waitForCount(6)
			for _, got := range byCheck(events) {
				wantStatuses(t, got, "warning", "critical", "ok")
			}
		})
	}
}

// waitForQueue waits until so many changes are in the outbox.
func (d *topicDaemon) waitForQueue(n int) {
	d.t.Helper()
	d.until(fmt.Sprintf("%d changes are queued", n), func() bool {
		out, err := exec.Command(function, "outbox", "--outbox", d.outbox, "list", "--json").Output()
		return err == nil && bytes.Count(out, []byte("\n")) == n
	})
}

// While the daemon is away Kapacitor's events are lost: it tries each once. A level
// that still holds is told with its next event, one that cleared is not.
func TestTopicWhileTheDaemonIsAway(t *testing.T) {
	k, d, panda := startTopic(t, nil)
	d.handle(k, "cpu", "cpu", "")
	k.define("cpu", topicAlert("cpu", ""))
	k.usage(0, critical, "clears")
	panda.waitForCount(1)
	d.end(syscall.SIGTERM)
	k.usage(10, ok, "clears")
	k.usage(10, critical, "opens")
	k.eventually("Kapacitor has given up", func() string {
		if n := strings.Count(k.log(), "failed to POST alert data"); n < 2 {
			return fmt.Sprint(n, " times")
		}
		return ""
	})
	d.start()
	k.usage(20, critical, "opens")
	k.usage(30, ok, "opens")
	events := panda.waitForCount(3)
	got := byCheck(events)
	wantStatuses(t, got["cpu:host=opens"], "critical", "ok")
	wantStatuses(t, got["cpu:host=clears"], "critical")
	if out, err := exec.Command(function, "outbox", "--outbox", d.outbox, "active").Output(); err != nil || !bytes.Contains(out, []byte("clears")) {
		t.Errorf("active are %s (%v)", out, err)
	}
}

// An endpoint of [[httppost]] with basic auth may post where a token is asked for.
func TestTopicToken(t *testing.T) {
	t.Parallel()
	panda := startBigPanda(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("the-daemons-own-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startTopics(t, panda, nil, "BIGPANDA_SERVE_HTTP_TOKEN_FILE="+file)
	k := startKapacitor(t, map[string]any{"httppost": []map[string]any{{
		"endpoint": "daemon", "url": d.url("cpu"), "basic-auth": map[string]any{"username": "kapacitor", "password": "the-daemons-own-token"},
	}}})
	k.handle("cpu", map[string]any{"id": "with", "kind": "post", "options": map[string]any{"endpoint": "daemon"}})
	d.handle(k, "cpu", "without", "")
	k.define("cpu", topicAlert("cpu", ""))
	k.usage(0, critical, "a")
	if e := panda.waitForCount(1)[0]; e.Payload.Text("task") != "cpu:cpu" {
		t.Errorf("the task is %s", e.Payload.Text("task"))
	}
	d.until("the other one is refused", func() bool { return strings.Contains(d.log.String(), "path=/alerts/without") })
	if strings.Contains(d.log.String(), "daemons-own") {
		t.Error("P9: the log shows the token")
	}
}
