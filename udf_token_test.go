package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/sandbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

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
