package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// A task can be stopped while BigPanda does not answer: the function says what
// was lost with its memory, or waits on disk, and leaves.
func TestStopDuringAnOutage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ outbox, said string }{
		{outbox: "memory", said: "lost=%d"},
		{outbox: "", said: "queued=%d"},
	} {
		t.Run("outbox "+test.outbox, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			k := startKapacitor(t, functionConfig(t, panda, map[string]string{"BIGPANDA_OUTBOX": test.outbox}))
			k.define("cpu", withOptions(""))
			panda.fail(sandbox.Faults{Hang: true})
			const hosts = 7
			for host := range hosts {
				k.write(fmt.Sprintf("cpu,host=h-%d usage=95 %d", host, at(0)))
			}
			panda.waitForStats("a request hangs", func(s sandbox.Stats) bool { return s.Waiting > 0 }, func() string { return "none does" })
			k.disable("cpu")
			k.waitForFunctions(0)
			if want := fmt.Sprintf(test.said, hosts); !strings.Contains(k.log(), want) {
				t.Errorf("the log does not say %s", want)
			}
			if shown := k.show("cpu"); shown.Error != "" {
				t.Errorf("the task has the error %q", shown.Error)
			}
		})
	}
}

// A task can be stopped while the node below the function takes next to
// nothing. A function that stops reading then blocks Kapacitor for good (P8).
func TestStopWhileTheNodeBelowIsSlow(t *testing.T) {
	t.Parallel()
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	// Else Kapacitor gives the function up by itself: what it does not read
	// is no sign of life.
	functionTable(config)["timeout"] = "10m"
	k := startKapacitor(t, config)

	// Slow, and not stuck: when a task is stopped whose function waits to hand
	// on a point, Kapacitor closes the edge under it and panics, as soon as
	// the function has left (runUDF in udf.go).
	hurry := make(chan struct{})
	below := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case <-hurry:
		case <-time.After(100 * time.Millisecond):
		}
	}))
	defer below.Close()
	k.define("cpu", withOptions("")+`
    |httpPost('`+below.URL+`')`)

	// More than all buffers on the way take: what is too much waits in
	// Kapacitor, which answers when it has room.
	written := make(chan error, 1)
	go func() { written <- k.flood(100_000) }()
	k.eventually("the function's output is not taken", func() string {
		if !strings.Contains(k.log(), "output is not taken") {
			return "the log does not say so"
		}
		return ""
	})

	disabled := make(chan error, 1)
	go func() {
		_, err := k.try(http.MethodPatch, "/tasks/cpu", strings.NewReader(`{"status": "disabled"}`))
		disabled <- err
	}()
	k.waitForFunctions(0)
	close(hurry)
	if err := <-disabled; err != nil {
		t.Errorf("stop the task: %v", err)
	}
	if err := <-written; err != nil {
		t.Errorf("write points: %v", err)
	}

	// The server is as free as before.
	k.define("another", withOptions(""))
	k.write(fmt.Sprintf("cpu,host=free usage=95 %d", at(0)))
	panda.waitFor("the other task's alert has come", func(events []sandbox.Event) string {
		if len(byCheck(events)["cpu:host=free"]) == 0 {
			return "it has not"
		}
		return ""
	})
}

// flood writes points that are all critical, 1,000 in a request, 300 bytes each.
func (k *kapacitor) flood(points int) error {
	padding := strings.Repeat("x", 300)
	for n := 0; n < points; n += 1000 {
		var lines strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&lines, "cpu,host=h usage=95,padding=%q %d\n", padding, at(n+i))
		}
		if _, err := k.try(http.MethodPost, "/write?db="+database+"&rp="+retention, strings.NewReader(lines.String())); err != nil {
			return err
		}
	}
	return nil
}
