package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"

	"github.com/influxdata/kapacitor/udf/agent"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestActiveScripts runs sessions with functions that are processes of their
// own. The commands:
//
//	faults FAULTS                  how the API answers from now on, as JSON
//	function TASK                  start a function and have it take its Init
//	point TASK HOST LEVEL SECOND   send it a point, and wait until it has passed on
//	ends TASK                      close its input, and wait for its end
//	kills TASK                     kill it
//	heard HOST STATUS…             wait until the API has taken these alerts of a
//	                               host, and no other ones
//	keep NAME HOST                 set a variable to the key that "active --json",
//	                               the last program that ran, has shown for a host
//	exits CODE PROGRAM…            run a program that ends with this code
func TestActiveScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/active",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			api := sandbox.New(sandbox.Options{Token: testToken})
			server := httptest.NewServer(api)
			e.Defer(func() {
				api.Close()
				server.Close()
			})
			e.Setenv("BIGPANDA_TOKEN", testToken)
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("BIGPANDA_APP_KEY", "k")
			e.Setenv("BIGPANDA_URL", server.URL+sandbox.Path)
			e.Setenv("BIGPANDA_OUTBOX", e.WorkDir+"/outbox")
			e.Values[runningKey{}] = running{api, make(map[string]*child)}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"faults": func(ts *testscript.TestScript, _ bool, args []string) {
				faults, err := sandbox.ParseFaults([]byte(args[0]))
				ts.Check(err)
				ts.Check(runningIn(ts).api.SetFaults(faults))
			},
			"function": func(ts *testscript.TestScript, _ bool, args []string) { startChild(ts, args[0]) },
			"point": func(ts *testscript.TestScript, _ bool, args []string) {
				second, err := strconv.ParseInt(args[3], 10, 64)
				ts.Check(err)
				runningIn(ts).of[args[0]].ask(ts, hostPoint(args[1], args[2], second))
			},
			"ends": func(ts *testscript.TestScript, _ bool, args []string) {
				runningIn(ts).of[args[0]].stdin.Close()
				ts.Check(runningIn(ts).of[args[0]].cmd.Wait())
			},
			"kills": func(ts *testscript.TestScript, _ bool, args []string) {
				p := runningIn(ts).of[args[0]]
				ts.Check(p.cmd.Process.Kill())
				p.cmd.Wait() // says that it was killed
			},
			"heard": func(ts *testscript.TestScript, _ bool, args []string) { heard(ts, args[0], args[1:]) },
			"keep": func(ts *testscript.TestScript, _ bool, args []string) {
				for line := range strings.Lines(ts.ReadFile("stdout")) {
					var a struct {
						Key      string
						Identity struct {
							Value string `json:"primary_value"`
						}
					}
					ts.Check(json.Unmarshal([]byte(line), &a))
					if a.Identity.Value == args[1] {
						ts.Setenv(args[0], a.Key)
						return
					}
				}
				ts.Fatalf("no alert of the host %s is shown", args[1])
			},
			"exits": exits,
		},
	})
}

// running is what a script speaks to.
type running struct {
	api *sandbox.Server
	of  map[string]*child // by task
}

type runningKey struct{}

func runningIn(ts *testscript.TestScript) running { return ts.Value(runningKey{}).(running) }

// A child is a function in a process of its own.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	buffer []byte
}

func startChild(ts *testscript.TestScript, task string) {
	p := &child{cmd: exec.Command(programName)}
	for _, name := range []string{"PATH", "HOME", "BIGPANDA_TOKEN", "BIGPANDA_APP_KEY", "BIGPANDA_URL", "BIGPANDA_OUTBOX", "GORACE"} {
		p.cmd.Env = append(p.cmd.Env, name+"="+ts.Getenv(name))
	}
	p.cmd.Env = append(p.cmd.Env, noLooks+"=1")
	var log bytes.Buffer
	p.cmd.Stderr = &log
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	ts.Check(err)
	stdout, err := p.cmd.StdoutPipe()
	ts.Check(err)
	p.stdout = bufio.NewReader(stdout)
	ts.Check(p.cmd.Start())
	ts.Defer(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		ts.Logf("log of %s:\n%s", task, &log)
	})
	runningIn(ts).of[task] = p
	answer := p.ask(ts, &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: task, NodeID: "bigpanda2"}}})
	if !answer.GetInit().GetSuccess() {
		ts.Fatalf("Init: %v", answer)
	}
}

// ask sends a request and returns what comes of it.
func (p *child) ask(ts *testscript.TestScript, r *agent.Request) *agent.Response {
	ts.Check(agent.WriteMessage(r, p.stdin))
	answer := new(agent.Response)
	late := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	ts.Check(agent.ReadMessage(&p.buffer, p.stdout, answer))
	return answer
}

// hostPoint is one as |alert() passes it on.
func hostPoint(host, level string, second int64) *agent.Request {
	return &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: (1_700_000_000 + second) * 1e9, Name: "cpu", Group: "host=" + host,
		Tags:         map[string]string{"host": host},
		FieldsString: map[string]string{"level": level},
		FieldsInt:    map[string]int64{"duration": 60e9},
	}}}
}

// heard waits until the API has taken alerts of a host with these statuses.
// None of them may be one that BigPanda would ignore.
func heard(ts *testscript.TestScript, host string, want []string) {
	api := runningIn(ts).api
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var got []string
	err := api.WaitFor(ctx, func(sandbox.Stats) bool {
		got = nil
		for _, e := range api.Events() {
			if e.Payload.Text("host") != host || e.Duplicate {
				continue // it is sent at least once
			}
			status := e.Status
			if e.Stale || e.Dropped != "" {
				status = fmt.Sprintf("%s, ignored: %s", status, e.Payload)
			}
			got = append(got, status)
		}
		return len(got) >= len(want)
	})
	if err != nil || !slices.Equal(got, want) {
		ts.Fatalf("BigPanda has heard %q of %s, want %q (%v)", got, host, want, err)
	}
}
