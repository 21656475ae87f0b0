package main

import (
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

func TestMain(m *testing.M) {
	test.InMemory()
	test.Main(m, main)
}

// P2: Kapacitor asks every function for Info when it starts, with nothing set,
// and does not start when that fails.
func TestInfoNeedsNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		environment []string
		flags       []string
	}{
		{name: "nothing set"},
		{name: "unknown flag", flags: []string{"--tokenfile", "x"}},
		{name: "unknown word", flags: []string{"sned"}},
		{name: "bad value", flags: []string{"--batch-size", "many"}},
		{name: "missing config", flags: []string{"--config", "/does/not/exist.conf"}},
		{name: "bad environment", environment: []string{"BIGPANDA_TIMEOUT=soon"}},
		{name: "missing token file", environment: []string{"BIGPANDA_TOKEN_FILE=/does/not/exist"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := test.Start(t, tt.environment, tt.flags...)
			f.Send(test.Info())
			info := f.Receive().GetInfo()
			if info == nil || info.Wants != agent.EdgeType_STREAM || info.Provides != agent.EdgeType_STREAM || len(info.Options) < 20 {
				t.Errorf("Info = %v", info)
			}
			if code := f.End(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// P2: what is wrong fails Init with one sentence that names it, and the
// process ends by itself: Kapacitor never closes it.
func TestFailedInit(t *testing.T) {
	t.Parallel()
	good := []string{"BIGPANDA_TOKEN=" + test.Token, "BIGPANDA_APP_KEY=app"}
	for _, tt := range []struct {
		name        string
		environment []string
		flags       []string
		options     []*agent.Option
		want        []string
	}{
		{name: "unknown flag", environment: good, flags: []string{"--tokn-file=x"}, want: []string{"--tokn-file", "--token-file"}},
		{name: "bad flag value", environment: good, flags: []string{"--connections=0"}, want: []string{"connections"}},
		{name: "bad environment", environment: append(good, "BIGPANDA_RATE=fast"), want: []string{"BIGPANDA_RATE", "fast"}},
		{name: "no token", environment: []string{"BIGPANDA_APP_KEY=app"}, want: []string{"token", "BIGPANDA_TOKEN"}},
		{name: "no app key", environment: []string{"BIGPANDA_TOKEN=" + test.Token}, want: []string{"app key", ".appKey", "BIGPANDA_APP_KEY"}},
		{name: "bad template", environment: good, options: []*agent.Option{test.Option("host", "{{ .Hots }}")}, want: []string{".host()", ".Hots"}},
		{name: "two sources of the level", environment: good, options: []*agent.Option{test.Option("levelTag", "l"), test.Option("levelField", "l")}, want: []string{".levelField()", ".levelTag()"}},
		{name: "reserved attribute", environment: good, options: []*agent.Option{test.Option("attribute", "status", "x")}, want: []string{".attribute(", "status"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := test.Start(t, tt.environment, tt.flags...)
			answer := f.Init(tt.options...)
			if answer.Success {
				t.Fatal("Init succeeded")
			}
			for _, want := range tt.want {
				if !strings.Contains(answer.Error, want) {
					t.Errorf("error %q does not name %q", answer.Error, want)
				}
			}
			if strings.ContainsAny(answer.Error, "\n\t") {
				t.Errorf("error %q is more than one sentence", answer.Error)
			}
			// stdin stays open.
			if code := f.Wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// P3, P4: every point leaves as it came, in order, whatever it holds.
func TestPointsLeaveAsTheyCame(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	f := test.Start(t, env)
	f.MustInit()
	points := strangePoints()
	for i := range int64(2000) {
		points = append(points, test.Point(fmt.Sprint("web", i%7), []string{"OK", "CRITICAL", "WARNING"}[i%3], 1000+i))
	}
	before := len(f.Raw.String())
	want := test.Frames(points...) // once: the order of a map's entries is left to chance
	if _, err := f.In.Write(want); err != nil {
		t.Fatal(err)
	}
	f.Send(test.Keepalive(7))
	for range points {
		if f.Receive().GetPoint() == nil {
			t.Fatal("not a point")
		}
	}
	if f.Receive().GetKeepalive().GetTime() != 7 {
		t.Error("the keepalive was not answered in its place")
	}
	if got := f.Raw.String()[before:][:len(want)]; got != string(want) {
		t.Error("the bytes of the points changed on the way")
	}
	if code := f.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// strangePoints are points that no feed should make (P1).
func strangePoints() []*agent.Request {
	strange := func(p *agent.Point) *agent.Request {
		return &agent.Request{Message: &agent.Request_Point{Point: p}}
	}
	long := strings.Repeat("é", 100_000)
	return []*agent.Request{
		strange(&agent.Point{}),
		strange(&agent.Point{Time: math.MinInt64, FieldsString: map[string]string{"level": "CRITICAL"}}),
		strange(&agent.Point{Time: math.MaxInt64, Name: "later", FieldsString: map[string]string{"level": "CRITICAL"}}),
		strange(&agent.Point{Tags: map[string]string{"": "", "level": "WARNING"}}),
		strange(&agent.Point{FieldsDouble: map[string]float64{"level": math.NaN(), "v": math.Inf(1)}}),
		strange(&agent.Point{FieldsString: map[string]string{"level": long}}),
		strange(&agent.Point{Name: "long", Tags: map[string]string{"host": long}, FieldsString: map[string]string{"level": "crit", "message": long}}),
		strange(&agent.Point{Name: "all", FieldsString: map[string]string{"level": "INFO", "x": "1"}, FieldsInt: map[string]int64{"x": 2}, FieldsBool: map[string]bool{"x": true}}),
	}
}

func TestPassThroughFalse(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	f := test.Start(t, env)
	f.MustInit(&agent.Option{Name: "passThrough", Values: []*agent.OptionValue{{Type: agent.ValueType_BOOL, Value: &agent.OptionValue_BoolValue{}}}})
	f.Send(test.Point("web1", "CRITICAL", 1000), test.Keepalive(1))
	if got := f.Receive(); got.GetKeepalive() == nil {
		t.Errorf("first answer is %v, want the keepalive alone", got)
	}
	test.WaitEvents(t, bp, 1)
}

// One alert for each change of level, and none without.
func TestEveryChangeIsDelivered(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	f := test.Start(t, env)
	f.MustInit()
	steps := []string{"OK", "OK", "INFO", "INFO", "WARNING", "CRITICAL", "CRITICAL", "WARNING", "INFO", "CRITICAL", "OK", "CRITICAL", "OK"}
	for i, level := range steps {
		p := test.Point("web1", level, int64(1000+i))
		if i < 2 {
			p.GetPoint().FieldsInt["duration"] = 0 // no recovery: nothing was ever wrong
		}
		f.Send(p)
	}
	want := []string{"ok", "warning", "critical", "warning", "ok", "critical", "ok", "critical", "ok"}
	test.WaitEvents(t, bp, len(want))
	if code := f.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := test.Statuses(bp)["web1"]; !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
	payload := bp.Events()[1].Payload.Map()
	for name, value := range map[string]any{
		"app_key": "app", "host": "web1", "check": "cpu:host=web1", "task": "cpu_alert:cpu",
		"description": "cpu of web1 is WARNING", "usage_user": "97.5", "status": "warning",
	} {
		if payload[name] != value {
			t.Errorf("%s = %v, want %v", name, payload[name], value)
		}
	}
	for _, name := range []string{"level", "alertID", "message", "duration"} {
		if _, there := payload[name]; there {
			t.Errorf("%s is an attribute", name)
		}
	}
}

// P6: keepalives are answered while BigPanda hangs and 10,000 changes wait.
// The API is let go only after the answer was seen.
func TestKeepaliveWhileBigPandaHangs(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	test.SetFaults(t, bp, sandbox.Faults{Hang: true})
	f := test.Start(t, env)
	f.MustInit()
	const changes = 10_000
	var input []*agent.Request
	for i := range int64(changes) {
		input = append(input, test.Point(fmt.Sprint("web", i), "CRITICAL", 1000))
	}
	f.Send(append(input, test.Keepalive(42))...)
	for range changes {
		f.Receive()
	}
	if got := f.Receive().GetKeepalive().GetTime(); got != 42 {
		t.Fatalf("keepalive %d", got)
	}
	if n := bp.Stats().Events; n != 0 {
		t.Fatalf("%d alerts were answered already", n)
	}
	test.SetFaults(t, bp, sandbox.Faults{})
	test.WaitEvents(t, bp, changes)
	if code := f.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// P5: an outage of BigPanda costs time, not alerts, and no order.
func TestOutage(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	test.SetFaults(t, bp, sandbox.Faults{Status: 503})
	f := test.Start(t, env)
	f.MustInit()
	const hosts = 50
	want := make(map[string][]string)
	for i, level := range []string{"WARNING", "CRITICAL", "WARNING", "OK"} {
		for h := range hosts {
			host := fmt.Sprint("web", h)
			f.Send(test.Point(host, level, int64(1000+i)))
			want[host] = append(want[host], strings.ToLower(level))
		}
	}
	test.WaitFor(t, bp, func(s sandbox.Stats) bool { return s.Statuses[503] >= 3 })
	test.SetFaults(t, bp, sandbox.Faults{})
	test.WaitEvents(t, bp, 4*hosts)
	if code := f.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := test.Statuses(bp); !reflect.DeepEqual(got, want) {
		t.Errorf("statuses %v", got)
	}
	for _, e := range bp.Events() {
		if e.Stale || e.Duplicate || e.Dropped != "" {
			t.Errorf("BigPanda would not use %v", e)
		}
	}
}

// The levels go through Kapacitor's snapshot to the next process.
func TestSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	first := test.Start(t, env, "--outbox=memory")
	first.MustInit()
	first.Send(test.Point("web1", "CRITICAL", 1000))
	first.Receive()
	test.WaitEvents(t, bp, 1)
	first.Send(test.Snapshot())
	snapshot := first.Receive().GetSnapshot().GetSnapshot()
	if len(snapshot) == 0 {
		t.Fatal("the snapshot is empty")
	}
	if code := first.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	second := test.Start(t, env, "--outbox=memory")
	second.MustInit()
	second.Send(test.Restore(snapshot))
	if restore := second.Receive().GetRestore(); !restore.GetSuccess() {
		t.Fatalf("restore: %v", restore)
	}
	ok := test.Point("web1", "OK", 1001)
	ok.GetPoint().FieldsInt["duration"] = 0 // only who knows the alert resolves it
	second.Send(test.Point("web1", "CRITICAL", 1000), ok)
	if code := second.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := test.Statuses(bp)["web1"], []string{"critical", "ok"}; !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
}

// P5: what was not delivered when a process ended that kept nothing else is in
// the snapshot beside the levels, which say that BigPanda knows of it.
func TestSnapshotHasWhatWasNotDelivered(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	test.SetFaults(t, bp, sandbox.Faults{Status: 503})
	first := test.Start(t, env, "--outbox=memory")
	first.MustInit()
	first.Send(test.Point("web1", "WARNING", 1000), test.Point("web1", "CRITICAL", 1001), test.Snapshot())
	var snapshot []byte
	for snapshot == nil {
		snapshot = first.Receive().GetSnapshot().GetSnapshot()
	}
	if err := first.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.Wait()
	test.SetFaults(t, bp, sandbox.Faults{})

	second := test.Start(t, env, "--outbox=memory")
	second.MustInit()
	second.Send(test.Restore(snapshot), test.Point("web1", "CRITICAL", 1060))
	test.WaitEvents(t, bp, 1)
	if code := second.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := test.Statuses(bp)["web1"], []string{"critical"}; !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
}

// P1, P6: a template that counts as far as the data says fails instead.
func TestTemplateThatCounts(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	f := test.Start(t, env)
	f.MustInit(test.Option("details", "{{ range .Fields.duration }}{{ end }}"))
	f.Send(test.Point("web1", "CRITICAL", 1000), test.Keepalive(1))
	f.Receive()
	if f.Receive().GetKeepalive() == nil {
		t.Error("the keepalive is not answered")
	}
	test.WaitEvents(t, bp, 1)
}

// P10: two members of an HA pair send the same bytes.
func TestTwoMembersSendTheSame(t *testing.T) {
	t.Parallel()
	var sent [2][]string
	for member := range sent {
		bp, env := test.NewBigPanda(t)
		f := test.Start(t, env)
		f.MustInit(test.Option("attribute", "b", "{{ .Tags.host }}"), test.Option("attribute", "a", "{{ .Level }}"), test.Option("details", "{{ .Message }}"))
		for i, level := range []string{"WARNING", "CRITICAL", "OK", "WARNING"} {
			f.Send(test.Point("web1", level, 1000+int64(i/2)))
		}
		test.WaitEvents(t, bp, 4)
		if code := f.End(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		for _, e := range bp.Events() {
			sent[member] = append(sent[member], string(e.Payload))
		}
	}
	if !slices.Equal(sent[0], sent[1]) {
		t.Errorf("one sent %s\nthe other %s", sent[0], sent[1])
	}
}

// The commonest mistake: |alert() was not told to pass its level on.
func TestNoLevelIsSaid(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	f := test.Start(t, env)
	f.MustInit()
	for i := range int64(1000) {
		p := test.Point("web1", "", 1000+i)
		delete(p.GetPoint().FieldsString, "level")
		f.Send(p)
	}
	if code := f.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := f.Log.String(); strings.Count(log, ".levelField('level').idTag('alertID').messageField('message').durationField('duration')") != 1 {
		t.Errorf("the log does not say once what to correct: %s", log)
	}
}

// A stream that is no protocol is answered with what is wrong with it.
func TestGarbage(t *testing.T) {
	t.Parallel()
	f := test.Start(t, nil)
	if _, err := io.WriteString(f.In, "\x05hello and more"); err != nil {
		t.Fatal(err)
	}
	if got := f.Receive().GetError(); got.GetError() == "" {
		t.Errorf("answer %v", got)
	}
	if code := f.Wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}
