package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bigpanda-udf/sandbox"
)

func TestReplaySends(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&many, "cpu,host=h%d level=\"CRITICAL\" 1700000000000000000\n", i)
	}
	for _, tt := range []struct {
		name   string
		points string
		faults sandbox.Faults
		args   []string
		code   int
		events int
		stderr string // a part
	}{
		{name: "delivered", points: fleetPoints, events: 4, stderr: "4 changes; 4 delivered\n"},
		{name: "more than fits in memory's window", points: many.String(), events: 2500, stderr: "2,500 delivered\n"},
		{name: "again after a failure", points: fleetPoints, faults: sandbox.Faults{Status: 503, Count: 1}, events: 4, stderr: "4 delivered\n"},
		{name: "a wrong token", points: fleetPoints, faults: sandbox.Faults{Token: "another"}, args: []string{"--drain-timeout=2s"}, code: 1,
			stderr: "4 of 4 alerts are not delivered after 2s (--drain-timeout): 127.0.0.1"},
		{name: "no answer", points: fleetPoints, faults: sandbox.Faults{Hang: true}, args: []string{"--drain-timeout=100ms"}, code: 1, stderr: "0 delivered\n"},
		{name: "refused", points: fleetPoints, faults: sandbox.Faults{Status: 400, Match: "web-1"}, code: 1, events: 2,
			stderr: "2 delivered\nbigpanda-udf replay: BigPanda refused 2 alerts for good: see above\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, url := newAPI(t, tt.faults)
			outbox := filepath.Join(t.TempDir(), "outbox")
			vars := maps.Clone(replayVars)
			maps.Copy(vars, map[string]string{"BIGPANDA_URL": url, "BIGPANDA_OUTBOX": outbox})
			r := replay(t, tt.points, vars, append(tt.args, "--send")...)
			if r.code != tt.code || !strings.Contains(r.stderr, tt.stderr) {
				t.Errorf("exit code %d, stderr\n%s, want %d and %q", r.code, r.stderr, tt.code, tt.stderr)
			}
			if n := len(api.Events()); n != tt.events {
				t.Errorf("%d events, want %d", n, tt.events)
			}
			if _, err := os.Stat(outbox); !os.IsNotExist(err) {
				t.Errorf("the outbox was touched: %v", err)
			}
		})
	}
}
