package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"
)

// begin has a function be the node of a task.
func begin(t *testing.T, f *test.Function, task string) {
	t.Helper()
	f.Send(test.Info(), test.Init(task, "bigpanda2"))
	f.Receive()
	if init := f.Receive().GetInit(); !init.GetSuccess() {
		t.Fatalf("Init failed: %s", init.GetError())
	}
}

// P1, P3: what an outbox of before NATS holds goes there, when its host is moved: what is
// queued, in order, also of a second process that was killed with the first; what is open,
// with its next point; and dead letters that are retried. What another task has left goes
// to where it was to go.
func TestMoveOfAnOutbox(t *testing.T) {
	t.Parallel()
	p := newProgram(t, natstest.Start(t, natstest.Options{}))
	folder := t.TempDir()
	outboxIs := func(part string, args ...string) {
		t.Helper()
		natstest.Await(t, "the outbox is as it should be", func() error {
			stdout, stderr, _ := p.runWith([]string{"BIGPANDA_OUTBOX=" + folder}, append([]string{"outbox"}, args...)...)
			if !strings.Contains(stdout, part) {
				return fmt.Errorf("no %q in\n%s%s", part, stdout, stderr)
			}
			return nil
		})
	}
	direct := append([]string{"BIGPANDA_NATS=", "BIGPANDA_NATS_REPLICAS=", "BIGPANDA_NATS_LEASE_TTL="}, p.toPanda...)
	first := p.function(folder, direct...)
	begin(t, first, "cpu")
	pass(first, test.Point("open", "CRITICAL", 1700000000))
	test.WaitEvents(t, p.bigPanda, 1)
	test.SetFaults(t, p.bigPanda, sandbox.Faults{Status: 400, Match: "refused"})
	pass(first, test.Point("refused", "CRITICAL", 1700000001))
	outboxIs("refused", "dead")
	test.SetFaults(t, p.bigPanda, sandbox.Faults{Status: 503})
	pass(first, test.Point("queued", "CRITICAL", 1700000002), test.Point("queued", "OK", 1700000003))
	second, gone := p.function(folder, direct...), p.function(folder, direct...)
	begin(t, second, "cpu")
	pass(second, test.Point("of-the-second", "CRITICAL", 1700000004))
	begin(t, gone, "gone")
	pass(gone, test.Point("of-the-gone", "CRITICAL", 1700000005))
	for _, f := range []*test.Function{first, second, gone} {
		f.Cmd.Process.Signal(syscall.SIGKILL)
		f.Wait()
	}
	test.SetFaults(t, p.bigPanda, sandbox.Faults{})

	p.deliver()
	f := p.function(folder)
	begin(t, f, "cpu")
	p.wantStatuses(map[string][]string{"open": {"critical"}, "queued": {"critical", "ok"}, "of-the-second": {"critical"}})
	pass(f, test.Point("open", "CRITICAL", 1700000010), test.Point("queued", "OK", 1700000010))
	pass(f, test.Point("open", "OK", 1700000011), test.Point("of-the-second", "OK", 1700000011))
	outboxIs("1 dead letter is back in the queue", "retry", "--all")
	p.wantStatuses(map[string][]string{
		"open": {"critical", "critical", "ok"}, "queued": {"critical", "ok"}, "of-the-second": {"critical", "ok"}, "refused": {"critical"},
	})
	outboxIs("gone bigpanda2: no process delivers what is queued", "status")
	if code := f.End(); code != 0 {
		t.Errorf("the function ends with %d", code)
	}

	// Back, by another task: what nobody could deliver there goes out, too.
	began := p.function(folder, direct...)
	begin(t, began, "gone")
	p.wantStatuses(map[string][]string{
		"open": {"critical", "critical", "ok"}, "queued": {"critical", "ok"}, "of-the-second": {"critical", "ok"}, "refused": {"critical"},
		"of-the-gone": {"critical"},
	})
}

// Other addresses of the same stream change nothing; another stream is another place.
func TestMoveToAnotherStream(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	p := newProgram(t, s)
	folder := t.TempDir()
	stored := func(stream string, n int) {
		t.Helper()
		p.awaitCluster("the alerts are stored", func(c clusterJSON) bool { return c.Stream.Name == stream && c.Stream.Messages == n }, "BIGPANDA_NATS_STREAM="+stream)
	}
	const another = "alerts go to another URL than before"
	point := test.Point("web-1", "CRITICAL", 1700000000)
	run := func(stream string, env ...string) (log string) {
		t.Helper()
		f := p.function(folder, append(env, "BIGPANDA_NATS_STREAM="+stream)...)
		begin(t, f, "cpu")
		pass(f, point)
		stored(stream, 1)
		f.End()
		return f.Log.String()
	}
	run("BIGPANDA")
	address := strings.TrimPrefix(s.URL(), "nats://")
	elsewhere := "BIGPANDA_NATS=nats://localhost:" + address[strings.LastIndex(address, ":")+1:] + ", " + s.URL()
	if log := run("BIGPANDA", elsewhere); strings.Contains(log, another) || !strings.Contains(log, "changes=0") {
		t.Errorf("another spelling is another place:\n%s", log)
	}
	if log := run("OTHER"); !strings.Contains(log, another) || !strings.Contains(log, "url=nats:OTHER before=nats:BIGPANDA") {
		t.Errorf("the log says\n%s", log)
	}
	stored("BIGPANDA", 1)
}
