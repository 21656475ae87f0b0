package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patient)
}

// P2: Kapacitor asks every function for Info when it starts, with nothing set,
// and does not start when that fails.
func TestInfoNeedsNothing(t *testing.T) {
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
			f := start(t, tt.environment, tt.flags...)
			f.send(&agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}})
			info := f.receive().GetInfo()
			if info == nil || info.Wants != agent.EdgeType_STREAM || info.Provides != agent.EdgeType_STREAM || len(info.Options) < 20 {
				t.Errorf("Info = %v", info)
			}
			if code := f.end(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// P2: what is wrong fails Init with one sentence that names it, and the
// process ends by itself: Kapacitor never closes it.
func TestFailedInit(t *testing.T) {
	good := []string{"BIGPANDA_TOKEN=" + token, "BIGPANDA_APP_KEY=app"}
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
		{name: "no app key", environment: []string{"BIGPANDA_TOKEN=" + token}, want: []string{"app key", ".appKey", "BIGPANDA_APP_KEY"}},
		{name: "bad template", environment: good, options: []*agent.Option{option("host", "{{ .Hots }}")}, want: []string{".host()", ".Hots"}},
		{name: "two sources of the level", environment: good, options: []*agent.Option{option("levelTag", "l"), option("levelField", "l")}, want: []string{".levelField()", ".levelTag()"}},
		{name: "reserved attribute", environment: good, options: []*agent.Option{option("attribute", "status", "x")}, want: []string{".attribute(", "status"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.environment, tt.flags...)
			answer := f.init(tt.options...)
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
			if code := f.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// P3, P4: every point leaves as it came, in order, whatever it holds.
func TestPointsLeaveAsTheyCame(t *testing.T) {
	_, env := newBigPanda(t)
	f := start(t, env)
	f.mustInit()
	points := strangePoints()
	for i := range int64(2000) {
		points = append(points, point(fmt.Sprint("web", i%7), []string{"OK", "CRITICAL", "WARNING"}[i%3], 1000+i))
	}
	before := len(f.raw.String())
	want := framed(points...) // once: the order of a map's entries is left to chance
	if _, err := f.in.Write(want); err != nil {
		t.Fatal(err)
	}
	f.send(keepalive(7))
	for range points {
		if f.receive().GetPoint() == nil {
			t.Fatal("not a point")
		}
	}
	if f.receive().GetKeepalive().GetTime() != 7 {
		t.Error("the keepalive was not answered in its place")
	}
	if got := f.raw.String()[before:][:len(want)]; got != string(want) {
		t.Error("the bytes of the points changed on the way")
	}
	if code := f.end(); code != 0 {
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
	bp, env := newBigPanda(t)
	f := start(t, env)
	f.mustInit(&agent.Option{Name: "passThrough", Values: []*agent.OptionValue{{Type: agent.ValueType_BOOL, Value: &agent.OptionValue_BoolValue{}}}})
	f.send(point("web1", "CRITICAL", 1000), keepalive(1))
	if got := f.receive(); got.GetKeepalive() == nil {
		t.Errorf("first answer is %v, want the keepalive alone", got)
	}
	waitEvents(t, bp, 1)
}

// One alert for each change of level, and none without.
func TestEveryChangeIsDelivered(t *testing.T) {
	bp, env := newBigPanda(t)
	f := start(t, env)
	f.mustInit()
	steps := []string{"OK", "OK", "INFO", "INFO", "WARNING", "CRITICAL", "CRITICAL", "WARNING", "INFO", "CRITICAL", "OK", "CRITICAL", "OK"}
	for i, level := range steps {
		p := point("web1", level, int64(1000+i))
		if i < 2 {
			p.GetPoint().FieldsInt["duration"] = 0 // no recovery: nothing was ever wrong
		}
		f.send(p)
	}
	want := []string{"ok", "warning", "critical", "warning", "ok", "critical", "ok", "critical", "ok"}
	waitEvents(t, bp, len(want))
	if code := f.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := statuses(bp)["web1"]; !slices.Equal(got, want) {
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
	bp, env := newBigPanda(t)
	if err := bp.SetFaults(sandbox.Faults{Hang: true}); err != nil {
		t.Fatal(err)
	}
	f := start(t, env)
	f.mustInit()
	const changes = 10_000
	for i := range int64(changes) {
		f.send(point(fmt.Sprint("web", i), "CRITICAL", 1000))
	}
	f.send(keepalive(42))
	for range changes {
		f.receive()
	}
	if got := f.receive().GetKeepalive().GetTime(); got != 42 {
		t.Fatalf("keepalive %d", got)
	}
	if n := bp.Stats().Events; n != 0 {
		t.Fatalf("%d alerts were answered already", n)
	}
	if err := bp.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	waitEvents(t, bp, changes)
	if code := f.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// P5: an outage of BigPanda costs time, not alerts, and no order.
func TestOutage(t *testing.T) {
	bp, env := newBigPanda(t)
	if err := bp.SetFaults(sandbox.Faults{Status: 503}); err != nil {
		t.Fatal(err)
	}
	f := start(t, env)
	f.mustInit()
	const hosts = 50
	want := make(map[string][]string)
	for i, level := range []string{"WARNING", "CRITICAL", "WARNING", "OK"} {
		for h := range hosts {
			host := fmt.Sprint("web", h)
			f.send(point(host, level, int64(1000+i)))
			want[host] = append(want[host], strings.ToLower(level))
		}
	}
	ctx, cancel := timeout()
	defer cancel()
	if err := bp.WaitFor(ctx, func(s sandbox.Stats) bool { return s.Statuses[503] >= 3 }); err != nil {
		t.Fatal(err)
	}
	if err := bp.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	waitEvents(t, bp, 4*hosts)
	if code := f.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := statuses(bp); !reflect.DeepEqual(got, want) {
		t.Errorf("statuses %v", got)
	}
	for _, e := range bp.Events() {
		if e.Stale || e.Duplicate || e.Dropped != "" {
			t.Errorf("BigPanda would not use %v", e)
		}
	}
}

// P8: a memory outbox is emptied after the end of stdin, and says what it
// could not deliver.
func TestWhatIsLostIsSaid(t *testing.T) {
	bp, env := newBigPanda(t)
	if err := bp.SetFaults(sandbox.Faults{Status: 503}); err != nil {
		t.Fatal(err)
	}
	f := start(t, env, "--outbox=memory", "--drain-timeout=50ms")
	f.mustInit()
	f.send(point("web1", "CRITICAL", 1000), point("web2", "CRITICAL", 1000))
	if code := f.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := f.stderr.String(); !strings.Contains(log, "lost=2") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("the log does not say that 2 changes were lost: %s", log)
	}
}

// P8: Kapacitor's Server.Abort leaves the reader of our stdout, while its
// writer still hangs on our full stdin; it closes stdin only when that write
// has ended.
func TestPeerThatNeverReads(t *testing.T) {
	bp, env := newBigPanda(t)
	f := launch(t, env, "--outbox=memory")
	info := &agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}}
	init := &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "t", NodeID: "n"}}}
	f.send(info, init)
	aborting := make(chan struct{})
	written := make(chan int)
	go func() {
		defer f.in.Close()
		n := 0
		for ; ; n++ {
			select {
			case <-aborting:
				written <- n
				return
			default:
			}
			if _, err := f.in.Write(framed(point(fmt.Sprint("web", n), "CRITICAL", 1000))); err != nil {
				written <- n
				return
			}
		}
	}()
	waitEvents(t, bp, 1000)
	close(aborting)
	var n int
	select {
	case n = <-written:
	case <-time.After(patient):
		t.Fatal("the peer's write does not end")
	}
	if code := f.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := bp.Stats().Events; got != n {
		t.Errorf("%d changes were written, %d delivered", n, got)
	}
}

// P8: with stdout broken the rest of stdin is still read and delivered.
func TestBrokenStdout(t *testing.T) {
	bp, env := newBigPanda(t)
	f := launch(t, env, "--outbox=memory")
	init := &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "t", NodeID: "n"}}}
	f.send(init)
	f.out.Close()
	const changes = 500
	for i := range changes {
		f.send(point(fmt.Sprint("web", i), "CRITICAL", 1000))
	}
	if code := f.end(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if got := bp.Stats().Events; got != changes {
		t.Errorf("%d of %d changes delivered", got, changes)
	}
	if !strings.Contains(f.stderr.String(), "level=ERROR") {
		t.Error("the log does not say so")
	}
}

// P8: SIGTERM may come before Kapacitor has passed its last points.
func TestSIGTERM(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("stdin closed %v", closed), func(t *testing.T) {
			bp, env := newBigPanda(t)
			f := start(t, env, "--outbox=memory")
			f.mustInit()
			f.send(point("web1", "CRITICAL", 1000))
			f.receive()
			if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			f.in.Write(framed(point("web2", "CRITICAL", 1000)))
			if closed {
				f.in.Close()
			}
			if code := f.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if got := bp.Stats().Events; got != 2 {
				t.Errorf("%d changes delivered, want 2", got)
			}
		})
	}
}

// The levels go through Kapacitor's snapshot to the next process.
func TestSnapshotAndRestore(t *testing.T) {
	bp, env := newBigPanda(t)
	first := start(t, env, "--outbox=memory")
	first.mustInit()
	first.send(point("web1", "CRITICAL", 1000))
	first.receive()
	waitEvents(t, bp, 1)
	first.send(&agent.Request{Message: &agent.Request_Snapshot{Snapshot: &agent.SnapshotRequest{}}})
	snapshot := first.receive().GetSnapshot().GetSnapshot()
	if len(snapshot) == 0 {
		t.Fatal("the snapshot is empty")
	}
	if code := first.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	second := start(t, env, "--outbox=memory")
	second.mustInit()
	second.send(&agent.Request{Message: &agent.Request_Restore{Restore: &agent.RestoreRequest{Snapshot: snapshot}}})
	if restore := second.receive().GetRestore(); !restore.GetSuccess() {
		t.Fatalf("restore: %v", restore)
	}
	ok := point("web1", "OK", 1001)
	ok.GetPoint().FieldsInt["duration"] = 0 // only who knows the alert resolves it
	second.send(point("web1", "CRITICAL", 1000), ok)
	if code := second.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := statuses(bp)["web1"], []string{"critical", "ok"}; !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
}

// P5: what was not delivered when a process ended that kept nothing else is in
// the snapshot beside the levels, which say that BigPanda knows of it.
func TestSnapshotHasWhatWasNotDelivered(t *testing.T) {
	bp, env := newBigPanda(t)
	if err := bp.SetFaults(sandbox.Faults{Status: 503}); err != nil {
		t.Fatal(err)
	}
	first := start(t, env, "--outbox=memory")
	first.mustInit()
	first.send(point("web1", "WARNING", 1000), point("web1", "CRITICAL", 1001), &agent.Request{Message: &agent.Request_Snapshot{Snapshot: &agent.SnapshotRequest{}}})
	var snapshot []byte
	for snapshot == nil {
		snapshot = first.receive().GetSnapshot().GetSnapshot()
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.wait()
	if err := bp.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}

	second := start(t, env, "--outbox=memory")
	second.mustInit()
	second.send(&agent.Request{Message: &agent.Request_Restore{Restore: &agent.RestoreRequest{Snapshot: snapshot}}}, point("web1", "CRITICAL", 1060))
	waitEvents(t, bp, 1)
	if code := second.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := statuses(bp)["web1"], []string{"critical"}; !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
}

// P1, P6: a template that counts as far as the data says fails instead.
func TestTemplateThatCounts(t *testing.T) {
	bp, env := newBigPanda(t)
	f := start(t, env)
	f.mustInit(option("details", "{{ range .Fields.duration }}{{ end }}"))
	f.send(point("web1", "CRITICAL", 1000), keepalive(1))
	f.receive()
	if f.receive().GetKeepalive() == nil {
		t.Error("the keepalive is not answered")
	}
	waitEvents(t, bp, 1)
}

// P9: the token appears nowhere but in the request's header.
func TestTokenIsNotSeen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"BIGPANDA_TOKEN=" + token, "BIGPANDA_TOKEN_FILE=" + file} {
		t.Run(strings.SplitN(source, "=", 2)[0], func(t *testing.T) {
			bp, env := newBigPanda(t)
			f := start(t, append(slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, "BIGPANDA_TOKEN") }), source), "--log-level=debug")
			f.mustInit(option("attribute", "env", `{{ .Tags.token }}{{ .Name }}`))
			for _, faults := range []sandbox.Faults{{Status: 401, Count: 1, Body: "bad token " + token}, {Status: 400, Count: 1, Body: `{"error":"` + token + `"}`}} {
				if err := bp.SetFaults(faults); err != nil {
					t.Fatal(err)
				}
				requests := bp.Stats().Requests
				f.send(point(fmt.Sprint("web", requests), "CRITICAL", 1000))
				ctx, cancel := timeout()
				if err := bp.WaitFor(ctx, func(s sandbox.Stats) bool { return s.Requests > requests }); err != nil {
					t.Fatal(err)
				}
				cancel()
			}
			f.send(&agent.Request{Message: &agent.Request_Snapshot{Snapshot: &agent.SnapshotRequest{}}})
			for f.receive().GetSnapshot() == nil {
			}
			waitEvents(t, bp, 1)
			cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", f.cmd.Process.Pid))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if code := f.end(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			seen := map[string]string{"stderr": f.stderr.String(), "stdout": f.raw.String(), "ps": string(cmdline)}
			for i, e := range bp.Events() {
				seen[fmt.Sprint("payload ", i)] = string(e.Payload)
			}
			outbox := strings.TrimPrefix(env[slices.IndexFunc(env, func(s string) bool { return strings.HasPrefix(s, "BIGPANDA_OUTBOX=") })], "BIGPANDA_OUTBOX=")
			stored, err := filepath.Glob(filepath.Join(outbox, "*", "*.db"))
			if err != nil || len(stored) == 0 {
				t.Fatalf("no outbox: %v", err)
			}
			for _, path := range stored {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				seen[path] = string(data)
			}
			if len(seen) < 5 || seen["stderr"] == "" {
				t.Fatal("there is nothing to search")
			}
			for where, text := range seen {
				if strings.Contains(text, token) {
					t.Errorf("the token is in %s", where)
				}
			}
		})
	}
}

// P9: a token file is read anew after BigPanda refused the token.
func TestTokenFileIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	bp, env := newBigPanda(t)
	f := start(t, append(env, "BIGPANDA_TOKEN=", "BIGPANDA_TOKEN_FILE="+file))
	f.mustInit()
	f.send(point("web1", "CRITICAL", 1000))
	ctx, cancel := timeout()
	defer cancel()
	if err := bp.WaitFor(ctx, func(s sandbox.Stats) bool { return s.Statuses[401] > 0 }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	waitEvents(t, bp, 1)
}

// P10: two members of an HA pair send the same bytes.
func TestTwoMembersSendTheSame(t *testing.T) {
	var sent [2][]string
	for member := range sent {
		bp, env := newBigPanda(t)
		f := start(t, env)
		f.mustInit(option("attribute", "b", "{{ .Tags.host }}"), option("attribute", "a", "{{ .Level }}"), option("details", "{{ .Message }}"))
		for i, level := range []string{"WARNING", "CRITICAL", "OK", "WARNING"} {
			f.send(point("web1", level, 1000+int64(i/2)))
		}
		waitEvents(t, bp, 4)
		if code := f.end(); code != 0 {
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
	_, env := newBigPanda(t)
	f := start(t, env)
	f.mustInit()
	for i := range int64(1000) {
		p := point("web1", "", 1000+i)
		delete(p.GetPoint().FieldsString, "level")
		f.send(p)
	}
	if code := f.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := f.stderr.String(); strings.Count(log, ".levelField('level').idTag('alertID').messageField('message').durationField('duration')") != 1 {
		t.Errorf("the log does not say once what to mend: %s", log)
	}
}

// A stream that is no protocol is answered with what is wrong with it.
func TestGarbage(t *testing.T) {
	f := start(t, nil)
	if _, err := io.WriteString(f.in, "\x05hello and more"); err != nil {
		t.Fatal(err)
	}
	if got := f.receive().GetError(); got.GetError() == "" {
		t.Errorf("answer %v", got)
	}
	if code := f.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// BenchmarkStorm is 20,000 series that go CRITICAL at once, against an API
// with 50 ms latency: from the first point to the last answer.
func BenchmarkStorm(b *testing.B) {
	const alerts = 20_000
	var input []byte
	for i := range alerts {
		input = append(input, framed(point(fmt.Sprint("web", i), "CRITICAL", 1000))...)
	}
	for b.Loop() {
		b.StopTimer()
		bp, env := newBigPanda(b)
		if err := bp.SetFaults(sandbox.Faults{Latency: 50 * time.Millisecond}); err != nil {
			b.Fatal(err)
		}
		f := start(b, env)
		f.mustInit()
		go func() {
			for range f.frames {
			}
		}()
		b.StartTimer()
		begin := time.Now()
		if _, err := f.in.Write(input); err != nil {
			b.Fatal(err)
		}
		waitEvents(b, bp, alerts)
		b.ReportMetric(alerts/time.Since(begin).Seconds(), "alerts/s")
		b.StopTimer()
		if code := f.end(); code != 0 {
			b.Errorf("exit code %d", code)
		}
		if s := bp.Stats(); s.Events != alerts || s.Alerts != alerts {
			b.Errorf("%d alerts, want %d", s.Alerts, alerts)
		}
		b.StartTimer()
	}
}
