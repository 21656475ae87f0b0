package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// serve starts the daemon at a socket with the environment of a function.
func serve(t testing.TB, socket string, env map[string]any) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(function, "serve", "--socket", socket)
	cmd.Env = []string{"HOME=" + filepath.Dir(socket)}
	for name, value := range env {
		cmd.Env = append(cmd.Env, fmt.Sprint(name, "=", value))
	}
	var log bytes.Buffer
	cmd.Stderr = io.MultiWriter(&log)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", &log)
		}
	})
	test.Dial(t, socket).Close()
	return cmd
}

// onSocket makes a function's section one of a daemon's socket, and returns the
// environment that the daemon is to have.
func onSocket(table map[string]any, socket string) (env map[string]any) {
	env = table["env"].(map[string]any)
	delete(table, "env")
	delete(table, "prog")
	delete(table, "args")
	table["socket"] = socket
	return env
}

// P4, P5: Kapacitor speaks to one daemon for all tasks; when that ends, they end
// with an error, and go on where they were once they are enabled again.
func TestServe(t *testing.T) {
	t.Parallel()
	panda := startBigPanda(t)
	dir := test.SocketDir(t)
	socket := filepath.Join(dir, "s")
	config := functionConfig(t, panda, map[string]string{"BIGPANDA_OUTBOX": filepath.Join(dir, "outbox")})
	env := onSocket(functionTable(config), socket)
	daemon := serve(t, socket, env)
	k := startKapacitor(t, config)
	tasks := []string{"one", "two"}
	for _, id := range tasks {
		k.define(id, `
stream
    |from()
        .measurement('`+id+`')
        .groupBy('host')
    |alert()
        .topic('`+id+`')`+thresholds+conventional+`
    @bigpanda()`)
	}
	feed := func(n int, l level) {
		for _, id := range tasks {
			k.write(fmt.Sprintf("%s,host=h usage=%d %d", id, l.usage, at(n)))
		}
	}
	feed(0, warning)
	panda.waitForCount(2)
	// A task is stopped at once, also in an outage.
	panda.fail(sandbox.Faults{Hang: true})
	feed(10, critical)
	panda.waitForStats("a request hangs", func(s sandbox.Stats) bool { return s.Waiting > 0 }, func() string { return "none does" })
	began := time.Now()
	k.disable("one")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("to disable a task took %s", took)
	}
	// Kapacitor takes its own word for the end of a socket for an error, unless
	// the function has ended before it says so (stopUDF and runUDF in udf.go).
	if shown := k.show("one"); shown.Error != "" && shown.Error != "bigpanda3: stopping UDF server: node aborted" {
		t.Errorf("the task has the error %q", shown.Error)
	}
	k.enable("one")
	// The daemon is restarted: each task ends, and says why.
	began = time.Now()
	daemon.Process.Signal(syscall.SIGTERM)
	if err := daemon.Wait(); err != nil {
		t.Errorf("the daemon: %v", err)
	}
	t.Logf("the daemon ended after %s", time.Since(began))
	const reason = "bigpanda-udf serve was stopped: once it runs again, kapacitor reload this task"
	k.eventually("the log says why for each task", func() string {
		if n := strings.Count(k.log(), `msg="received error message"`); n != len(tasks) {
			return fmt.Sprintf("%d times", n)
		}
		return ""
	})
	// Kapacitor ends a task when its next point comes.
	k.write(fmt.Sprintf("one,host=h usage=%d %d", critical.usage, at(15)))
	if got := k.waitForError("one"); !strings.HasSuffix(got, reason) {
		t.Errorf("the task ends with %q", got)
	}
	daemon = serve(t, socket, env)
	panda.fail(sandbox.Faults{})
	for _, id := range tasks {
		began := time.Now()
		k.disable(id)
		t.Logf("%s was disabled in %s", id, time.Since(began))
		k.enable(id)
	}
	feed(20, critical)
	feed(30, ok)
	events := panda.waitForCount(6)
	wantClean(t, events)
	for _, got := range byCheck(events) {
		wantStatuses(t, got, "warning", "critical", "ok")
	}
	k.waitForQueue(filepath.Join(dir, "outbox"), 0) // else what BigPanda has is sent again
	// It is killed: they end when they have noticed.
	daemon.Process.Kill()
	daemon.Wait()
	k.write(fmt.Sprintf("one,host=h usage=%d %d", critical.usage, at(40)))
	k.write(fmt.Sprintf("one,host=h usage=%d %d", critical.usage, at(41)))
	if got := k.waitForError("one"); !strings.Contains(got, "write error") {
		t.Errorf("the task ends with %q", got)
	}
	serve(t, socket, env)
	for _, id := range tasks {
		k.disable(id)
		k.enable(id)
	}
	feed(50, critical)
	for _, got := range byCheck(panda.waitForCount(8)) {
		wantStatuses(t, got, "warning", "critical", "ok", "critical")
	}
}
