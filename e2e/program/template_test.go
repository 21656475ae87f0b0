package program

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// P1, P6: no template takes the process or the keepalives of its task.
func TestTemplatesLeaveTimeForKeepalives(t *testing.T) {
	t.Parallel()
	calls := `{{ define "0" }}{{ end }}`
	for i := range 39 {
		calls += fmt.Sprintf(`{{ define "%d" }}{{ template "%d" }}{{ template "%[2]d" }}{{ end }}`, i+1, i)
	}
	for _, tt := range []struct{ name, text string }{
		{"a text that doubles", `{{ $x := .Name }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}`},
		{"loops in loops", `{{ range 1000 }}{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}{{ end }}`},
		{"calls of calls", calls + `{{ template "39" }}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bp, env := test.NewBigPanda(t)
			f := test.Start(t, env)
			f.MustInit(test.Option("details", tt.text))
			const points = 50
			var input []*agent.Request
			for i := range int64(points) {
				input = append(input, test.Point(fmt.Sprint("web", i), "CRITICAL", 1000+i))
			}
			begin := cpuOf(t, f)
			f.Send(append(input, test.Keepalive(7))...)
			for f.Receive().GetKeepalive() == nil {
			}
			// Kapacitor's timeout is 10 s unless set. It is the program's own time that
			// counts, however busy the machine is.
			took := cpuOf(t, f) - begin
			if took > 10*time.Second {
				t.Errorf("the keepalive behind %d points was answered after %s", points, took)
			}
			test.WaitEvents(t, bp, points)
			t.Logf("the keepalive was answered after %s of its time; at most %d MiB of memory", took, memoryOf(t, f, "VmHWM")>>20)
			if code := f.End(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if log := f.Log.String(); strings.Count(log, "a template failed") != 1 || !strings.Contains(log, fmt.Sprint("failed_templates=", points)) {
				t.Error("the log does not say once that the template failed")
			}
		})
	}
}

// memoryOf is the memory that the program has (VmRSS), or had at most (VmHWM), in
// bytes.
func memoryOf(t testing.TB, f *test.Function, which string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.Cmd.Process.Pid))
	if err != nil {
		t.Skip(err) // on Linux alone
	}
	_, rest, _ := strings.Cut(string(status), which+":")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// cpuOf is how long the program has run on processors.
func cpuOf(t testing.TB, f *test.Function) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.Cmd.Process.Pid))
	if err != nil {
		t.Skip(err) // on Linux alone
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // behind the name
	total := time.Duration(0)
	for _, ticks := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(n) * (time.Second / 100)
	}
	return total
}
