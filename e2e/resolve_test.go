package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// An outboxRig is a task with a topic, and with access to its outbox.
type outboxRig struct {
	*kapacitor
	t      *testing.T
	panda  *bigPanda
	outbox string
}

func startWithOutbox(t *testing.T, script string) *outboxRig {
	t.Helper()
	t.Parallel()
	r := &outboxRig{t: t, panda: startBigPanda(t), outbox: filepath.Join(t.TempDir(), "outbox")}
	r.kapacitor = startKapacitor(t, functionConfig(t, r.panda, map[string]string{"BIGPANDA_OUTBOX": r.outbox}))
	r.panda.failure = r.kapacitor.failure
	r.define("cpu", script)
	return r
}

func (r *outboxRig) point(host string, l level, second int) {
	r.t.Helper()
	r.write(fmt.Sprintf("cpu,host=%s usage=%d %d", host, l.usage, at(second)))
}

// wantTold waits until BigPanda has been told this of a host, and nothing else.
func (r *outboxRig) wantTold(host string, want ...string) {
	r.t.Helper()
	r.panda.waitFor(fmt.Sprintf("%s is %s", host, want), func(all []sandbox.Event) string {
		if got := statuses(ofHost(all, host)); len(got) < len(want) {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
	events := ofHost(r.panda.Events(), host)
	wantClean(r.t, events)
	wantStatuses(r.t, events, want...)
}

func ofHost(all []sandbox.Event, host string) []sandbox.Event {
	return slices.DeleteFunc(slices.Clone(all), func(e sandbox.Event) bool { return e.Payload.Text("host") != host })
}

// command runs `bigpanda-udf outbox` and returns what it prints.
func (r *outboxRig) command(args ...string) string {
	r.t.Helper()
	out, err := exec.Command(function, append([]string{"outbox", "--outbox", r.outbox}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("outbox %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// active are the hosts of the alerts that BigPanda was told of and that are not
// OK, with their keys.
func (r *outboxRig) active() map[string]string {
	r.t.Helper()
	keys := make(map[string]string)
	for line := range strings.Lines(r.command("active", "--json")) {
		var a struct {
			Key      string
			Identity struct {
				Host string `json:"primary_value"`
			}
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			r.t.Fatalf("%v in %s", err, line)
		}
		keys[a.Identity.Host] = a.Key
	}
	return keys
}

// An alert whose host is gone is resolved while others are seen, and opens again
// when it comes back.
func TestResolveAfter(t *testing.T) {
	r := startWithOutbox(t, withOptions(".resolveAfter(2s)"))
	second := 0
	r.point("gone", critical, second)
	resolved := func() bool { return len(ofHost(r.panda.Events(), "gone")) == 2 }
	for end := time.Now().Add(time.Minute); !resolved() && time.Now().Before(end); {
		second++
		r.point("lives", critical, second)
		<-time.After(50 * time.Millisecond) // a feed is points as time goes by
	}
	r.wantTold("gone", "critical", "ok")
	why := ofHost(r.panda.Events(), "gone")[1].Payload.Text("description")
	if !strings.HasSuffix(why, "gone was CRITICAL, and then no point of it came for 2s: resolved by .resolveAfter()") {
		t.Errorf("the description is %q", why)
	}
	r.wantTold("lives", "critical")
	r.point("gone", critical, second+1)
	r.wantTold("gone", "critical", "ok", "critical")
}

// A person resolves an alert while the task runs, which knows it at once.
func TestResolveByHand(t *testing.T) {
	r := startWithOutbox(t, withTopic())
	r.point("a", critical, 0)
	r.point("b", critical, 0)
	r.wantTold("a", "critical")
	r.wantTold("b", "critical")
	r.command("resolve", r.active()["a"])
	r.wantTold("a", "critical", "ok")
	if left := r.active(); len(left) != 1 || left["b"] == "" {
		t.Errorf("active are %v", left)
	}
	// Later than the ok of now; it still fires.
	later := int(time.Since(epoch)/time.Second) + 60
	r.point("a", critical, later)
	r.wantTold("a", "critical", "ok", "critical")
	r.point("a", ok, later+10)
	r.point("b", ok, later+10)
	r.wantTold("a", "critical", "ok", "critical", "ok")
	r.wantTold("b", "critical", "ok")
}

// A point that Kapacitor loses when the function is gone, it never tells again
// where the level stays: what cleared with it stays open until a person resolves
// it. What opened with it comes with the next point that is not OK.
func TestChangeInALostPoint(t *testing.T) {
	r := startWithOutbox(t, withTopic())
	r.point("clears", critical, 0)
	r.wantTold("clears", "critical")
	// At a SIGKILL it may not be on disk yet that BigPanda took "clears", and it
	// would be told twice.
	r.endFunctions(syscall.SIGTERM)
	r.eventually("the task has ended", func() string {
		r.point("clears", ok, 10)
		r.point("opens", critical, 10)
		if shown := r.show("cpu"); shown.Error == "" || shown.Executing {
			return fmt.Sprintf("executing %t, error %q", shown.Executing, shown.Error)
		}
		return ""
	})
	r.panda.failure = r.failureAfterStart()
	r.disable("cpu")
	r.enable("cpu")
	r.point("clears", ok, 20)
	r.point("opens", critical, 20)
	r.wantTold("opens", "critical")
	r.wantTold("clears", "critical")
	if _, listed := r.active()["clears"]; !listed {
		t.Errorf("active are %v", r.active())
	}
	r.command("resolve", r.active()["clears"])
	r.wantTold("clears", "critical", "ok")
}
