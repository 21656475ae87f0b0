package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// A story is how one host fares around an interruption, and what BigPanda is
// told of it. Each ends with a critical and an OK.
type story struct {
	host      string
	delivered level // before the interruption; BigPanda has it
	queued    level // before it, while BigPanda does not answer
	after     level // of the first point after it
	want      []string
	// forgotten is what BigPanda is told where the alert node has no topic and
	// so has forgotten everything; nil: the same.
	forgotten []string
}

var stories = []story{
	{host: "always-well", delivered: ok, queued: ok, after: ok,
		want: []string{"critical", "ok"}},
	{host: "opens-meanwhile", delivered: ok, queued: ok, after: critical,
		want: []string{"critical", "ok"}},
	{host: "stays-open", delivered: critical, queued: critical, after: critical,
		want: []string{"critical", "ok"}},
	{host: "gets-worse-meanwhile", delivered: warning, queued: warning, after: critical,
		want: []string{"warning", "critical", "ok"}},
	{host: "gets-better-meanwhile", delivered: critical, queued: critical, after: warning,
		want: []string{"critical", "warning", "critical", "ok"}},
	// An alert node that has forgotten makes no recovery of it, and what is
	// critical again is known already.
	{host: "clears-meanwhile", delivered: critical, queued: critical, after: ok,
		want: []string{"critical", "ok", "critical", "ok"}, forgotten: []string{"critical", "ok"}},
	{host: "opens-undelivered", delivered: ok, queued: critical, after: critical,
		want: []string{"critical", "ok"}},
	{host: "opens-undelivered-and-clears", delivered: ok, queued: critical, after: ok,
		want: []string{"critical", "ok", "critical", "ok"}, forgotten: []string{"critical", "ok"}},
	{host: "clears-undelivered", delivered: critical, queued: ok, after: ok,
		want: []string{"critical", "ok", "critical", "ok"}},
	{host: "clears-undelivered-and-opens", delivered: critical, queued: ok, after: critical,
		want: []string{"critical", "ok", "critical", "ok"}},
}

// An incident is two tasks in one server that is interrupted: one keeps the
// state of its alerts in a topic, and one does not.
type incident struct {
	*kapacitor
	t       *testing.T
	program string // that the server runs as the function
}

const keeps, forgets = "keeps", "forgets"

// script is the task's, with something between the alert node and @bigpanda(),
// and with options.
func (i *incident) script(task, between, options string) string {
	topic := ""
	if task == keeps {
		topic = `.topic('kept')`
	}
	return cpuAlert(`
        .id('{{ .TaskName }} {{ index .Tags "host" }}')`+topic+thresholds+conventional) + between + `
    @bigpanda()` + options
}

// eachTask does something to both tasks.
func (i *incident) eachTask(do func(task string)) {
	do(keeps)
	do(forgets)
}

// reload is what `kapacitor reload` does.
func (i *incident) reload(task string) {
	i.disable(task)
	i.enable(task)
}

// redefine is what `kapacitor define` does to a task that is enabled, and
// `kapacitor reload` after it.
func (i *incident) redefine(between, options string) {
	i.eachTask(func(task string) {
		i.call(http.MethodPatch, "/tasks/"+task, map[string]any{"script": i.script(task, between, options)})
		i.reload(task)
	})
}

// bringBack enables the tasks anew, once they have ended with an error. A task
// whose function is gone sees that only when points come, and they are lost.
func (i *incident) bringBack() {
	i.t.Helper()
	i.eachTask(func(task string) {
		i.eventually("task "+task+" has an error", func() string {
			i.write(fmt.Sprintf("cpu,host=lost usage=%d %d", critical.usage, at(0)))
			if shown := i.show(task); shown.Error == "" || shown.Executing {
				return fmt.Sprintf("executing %t, error %q", shown.Executing, shown.Error)
			}
			return ""
		})
	})
	i.eachTask(i.reload)
}

// exes returns how many functions run of each file; one that has been replaced
// is called deleted.
func (i *incident) exes() map[string]int {
	exes := make(map[string]int)
	for _, p := range i.functions() {
		// One that is just over has none.
		if exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.id), "exe")); err == nil {
			exes[exe]++
		}
	}
	return exes
}

// replaceProgram puts a newer version in the place of the one that runs, in one
// step, and starts the tasks anew.
func (i *incident) replaceProgram() {
	i.t.Helper()
	newer := i.program + ".new"
	if err := buildFunction(newer, "-ldflags=-X=bigpanda-udf/cli.Version=99.0.0"); err != nil {
		i.t.Fatal(err)
	}
	if err := os.Rename(newer, i.program); err != nil {
		i.t.Fatal(err)
	}
	if exes := i.exes(); exes[i.program+" (deleted)"] != 2 {
		i.t.Errorf("the older program does not run on: %v", exes)
	}
	i.eachTask(i.reload)
	i.eventually("the newer program runs", func() string {
		if exes := i.exes(); exes[i.program] != 2 {
			return fmt.Sprint(exes)
		}
		return ""
	})
}

// freeze keeps the server, and not its functions, from doing anything for a
// time.
func (k *kapacitor) freeze(d time.Duration) {
	k.t.Helper()
	if err := k.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		k.t.Fatal(err)
	}
	<-time.After(d)
	if err := k.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		k.t.Fatal(err)
	}
}

// Whatever interrupts a task in the middle of incidents: what was queued is
// delivered, what BigPanda knows is not repeated, and what has changed
// meanwhile is told, as far as the alert node tells it (P5).
func TestInterruptedIncidents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		timeout   string // of the function; "": the snippet's
		interrupt func(*incident)
		attribute string // that every alert after the interruption has
	}{
		{name: "kapacitord stopped and started", interrupt: func(i *incident) { i.stop(); i.start() }},
		{name: "kapacitord killed and started", interrupt: func(i *incident) { i.kill(); i.start() }},
		{name: "function killed and task enabled again", interrupt: func(i *incident) {
			i.endFunctions(syscall.SIGKILL)
			i.bringBack()
		}},
		{name: "function killed and kapacitord restarted", interrupt: func(i *incident) {
			i.endFunctions(syscall.SIGKILL)
			i.stop()
			i.start()
		}},
		{name: "kapacitord frozen beyond the timeout and task enabled again", timeout: "2s", interrupt: func(i *incident) {
			i.eventually("kapacitord gives both functions up", func() string {
				n := strings.Count(i.log(), "keepalive timedout")
				if n == 2 {
					return ""
				}
				// One that answered the last keepalive meanwhile is alive when the
				// server wakes, as chance has it.
				i.freeze(5 * time.Second)
				<-time.After(2 * time.Second) // in which the server looks for the next ones
				return fmt.Sprintf("it has given up %d", n)
			})
			i.bringBack()
		}},
		{name: "task disabled and enabled", interrupt: func(i *incident) {
			i.eachTask(i.disable)
			i.waitForFunctions(0)
			i.eachTask(i.enable)
		}},
		{name: "task changed and reloaded", attribute: "two", interrupt: func(i *incident) {
			i.redefine("", `.attribute('edition', 'two')`)
		}},
		{name: "node renumbered", attribute: "two", interrupt: func(i *incident) {
			i.redefine(`|where(lambda: TRUE)`, `.attribute('edition', 'two')`)
		}},
		{name: "program replaced by a newer one", interrupt: (*incident).replaceProgram},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			dir := t.TempDir()
			outbox, program := filepath.Join(dir, "outbox"), filepath.Join(dir, "bigpanda-udf")
			copyProgram(t, program)
			config := functionConfig(t, panda, map[string]string{"BIGPANDA_OUTBOX": outbox})
			table := functionTable(config)
			table["prog"] = program
			if test.timeout != "" {
				table["timeout"] = test.timeout
			}
			i := &incident{kapacitor: startKapacitor(t, config), t: t, program: program}
			i.eachTask(func(task string) { i.define(task, i.script(task, "", "")) })

			// Each tell is a point of every host.
			told := 0
			tell := func(of func(story) level) {
				var points []string
				for _, s := range stories {
					points = append(points, fmt.Sprintf("cpu,host=%s usage=%d %d", s.host, of(s).usage, at(10*told)))
				}
				told++
				i.write(points...)
			}
			tell(func(s story) level { return s.delivered })
			delivered, waiting := 0, 0
			for _, s := range stories {
				delivered += 2 * len(changes([]level{s.delivered}))
				waiting += 2 * (len(changes([]level{s.delivered, s.queued})) - len(changes([]level{s.delivered})))
			}
			panda.waitForCount(delivered)
			panda.fail(sandbox.Faults{Status: 503})
			tell(func(s story) level { return s.queued })
			i.waitForQueue(outbox, waiting)

			test.interrupt(i)
			if got := len(panda.Events()); got != delivered {
				t.Fatalf("the API took %d alerts while it was down", got-delivered)
			}
			panda.fail(sandbox.Faults{})
			panda.failure = i.failureAfterStart()
			tell(func(s story) level { return s.after })
			tell(func(story) level { return critical })
			tell(func(story) level { return ok })

			want := make(map[string][]string) // by check
			total := 0
			i.eachTask(func(task string) {
				for _, s := range stories {
					steps := s.want
					if task == forgets && s.forgotten != nil {
						steps = s.forgotten
					}
					want[task+" "+s.host] = steps
					total += len(steps)
				}
			})
			events := panda.waitForCount(total)
			wantClean(t, events)
			got := byCheck(events)
			for check, steps := range want {
				if t.Run(check, func(t *testing.T) { wantStatuses(t, got[check], steps...) }); len(got[check]) == 0 {
					continue
				}
				last := got[check][len(got[check])-1]
				if edition := last.Payload.Text("edition"); edition != test.attribute {
					t.Errorf("the last alert of %s has edition %q, want %q", check, edition, test.attribute)
				}
			}
			if len(events) != total {
				t.Errorf("got %d alerts, want %d", len(events), total)
			}
			i.eachTask(func(task string) {
				if shown := i.show(task); !shown.Executing || shown.Error != "" {
					t.Errorf("task %s is not well: %+v", task, shown)
				}
			})
			if left, _ := filepath.Glob(filepath.Join(outbox, "*~*")); len(left) > 0 {
				t.Errorf("outboxes of a second process are left: %v", left)
			}
		})
	}
}

// waitForQueue waits until so many changes wait in the outbox: then all others
// have arrived, and the outbox knows it.
func (k *kapacitor) waitForQueue(outbox string, want int) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("%d changes wait in the outbox", want), func() string {
		if n, err := queued(outbox); n != want {
			return fmt.Sprintf("%d do, %v", n, err)
		}
		return ""
	})
}

// failureAfterStart is failure for tasks that have failed once and run again.
func (k *kapacitor) failureAfterStart() func() error {
	before := len(taskFailed.FindAllString(k.log(), -1))
	return func() error {
		if failed := taskFailed.FindAllString(k.log(), -1); len(failed) > before {
			return errors.New(failed[len(failed)-1])
		}
		return nil
	}
}

// copyProgram makes a copy of the function that a test may replace.
func copyProgram(t *testing.T, path string) {
	t.Helper()
	from, err := os.Open(function)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
}
