package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A program is the whole program in processes of its own, with a server of NATS and a
// BigPanda.
type program struct {
	t        testing.TB
	bigPanda *sandbox.Server
	toPanda  []string // the environment of who posts to BigPanda
	toNATS   []string // of who uses the stream
	outputs  []*test.LogBuffer
}

func newProgram(t testing.TB, s *natstest.Server) *program {
	panda, env := test.NewBigPanda(t)
	p := &program{t: t, bigPanda: panda}
	p.toPanda = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "BIGPANDA_OUTBOX=") })
	p.toNATS = []string{"BIGPANDA_NATS=" + s.URL(), "BIGPANDA_NATS_REPLICAS=1", "BIGPANDA_NATS_LEASE_TTL=2s", "BIGPANDA_APP_KEY=app"}
	t.Cleanup(func() {
		for _, out := range p.outputs {
			if strings.Contains(out.String(), test.Token) {
				t.Errorf("P9: the token is in\n%s", out)
			}
		}
	})
	return p
}

// function starts the function on an outbox. It has no token.
func (p *program) function(outbox string, env ...string) *test.Function {
	p.t.Helper()
	f := test.Start(p.t, slices.Concat(p.toNATS, []string{"BIGPANDA_OUTBOX=" + outbox}, env))
	p.outputs = append(p.outputs, f.Log)
	return f
}

// pass sends points and waits until they come back (P4).
func pass(f *test.Function, points ...*agent.Request) {
	f.Send(points...)
	for range points {
		f.Receive()
	}
}

// A daemon is a command that lasts until it is told to end.
type daemon struct {
	*program
	cmd     *exec.Cmd
	log     *test.LogBuffer
	address string // of its probe and metrics
}

// deliver starts a deliverer and waits until it is ready.
func (p *program) deliver(env ...string) *daemon {
	p.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(p.t))
	return p.start(address, slices.Concat(p.toPanda, p.toNATS, env), "deliver", "--listen", address)
}

// start starts a command and waits until it is ready.
func (p *program) start(address string, env []string, args ...string) *daemon {
	p.t.Helper()
	d := p.launch(address, env, args...)
	natstest.Await(p.t, args[0]+" is ready", func() error {
		if status, body := d.get("/ready"); status != http.StatusOK || body != "ready\n" {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	return d
}

func (p *program) launch(address string, env []string, args ...string) *daemon {
	p.t.Helper()
	d := &daemon{program: p, cmd: test.Command(env, args...), log: new(test.LogBuffer), address: address}
	d.cmd.Stderr = d.log
	p.outputs = append(p.outputs, d.log)
	if err := d.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("log of %q:\n%s", args, d.log)
		}
	})
	return d
}

// get asks its probe or its metrics; the status is 0 while nobody listens.
func (d *daemon) get(path string) (status int, body string) {
	r, err := http.Get("http://" + d.address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(text)
}

// wantMetrics waits until there are lines that begin so.
func (d *daemon) wantMetrics(lines ...string) {
	d.t.Helper()
	natstest.Await(d.t, "the metrics are as they should be", func() error {
		_, body := d.get("/metrics")
		for _, want := range lines {
			if !strings.Contains("\n"+body, "\nbigpanda_udf_"+want) {
				return fmt.Errorf("no %s in\n%s", want, regexp.MustCompile(`(?m)^bigpanda_udf_(cluster|deliverer)_.*$`).FindAllString(body, -1))
			}
		}
		return nil
	})
}

// end ends it as systemd does, and wants the exit code 0.
func (d *daemon) end() {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("it ends with %v", err)
	}
}

// run runs a command to its end, as somebody with the rights of a deliverer.
func (p *program) run(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.runWith(nil, args...)
}

func (p *program) runWith(env []string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	var out, log test.LogBuffer
	p.outputs = append(p.outputs, &out, &log)
	cmd := test.Command(slices.Concat(p.toNATS, env), args...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return out.String(), log.String(), cmd.ProcessState.ExitCode()
}

// wantRun wants a command to succeed, with parts of what it prints in this order.
func (p *program) wantRun(parts []string, args ...string) {
	p.t.Helper()
	natstest.Await(p.t, strings.Join(args, " "), func() error {
		stdout, stderr, code := p.run(args...)
		rest := stdout
		for _, part := range parts {
			_, behind, found := strings.Cut(rest, part)
			if !found || code != 0 {
				return fmt.Errorf("exit code %d, and no %q in its place in\n%s%s", code, part, stdout, stderr)
			}
			rest = behind
		}
		return nil
	})
}

// A clusterJSON is what is read of cluster --json.
type clusterJSON struct {
	Stream struct {
		Name     string
		Messages int
	}
	Lease struct {
		Owner   string
		Standby []string
	}
	AppKeys []struct {
		AppKey string `json:"app_key"`
		Lag    int
	} `json:"app_keys"`
	Dead int
	Held []struct {
		AppKey string `json:"app_key"`
		Cause  string
	}
	Host struct{ Outboxes, Queued int }
}

// awaitCluster waits until cluster --json says what cond wants, and returns it.
func (p *program) awaitCluster(what string, cond func(c clusterJSON) bool, env ...string) (c clusterJSON) {
	p.t.Helper()
	natstest.Await(p.t, what, func() error {
		stdout, stderr, code := p.runWith(env, "cluster", "--json")
		c = clusterJSON{}
		if err := json.Unmarshal([]byte(stdout), &c); err != nil || !cond(c) {
			return fmt.Errorf("exit code %d (%v):\n%s%s", code, err, stdout, stderr)
		}
		return nil
	})
	return c
}

// wantStatuses waits until BigPanda was told these statuses, by host.
func (p *program) wantStatuses(want map[string][]string) {
	p.t.Helper()
	n := 0
	for _, statuses := range want {
		n += len(statuses)
	}
	test.WaitEvents(p.t, p.bigPanda, n)
	if got := test.Statuses(p.bigPanda); fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Errorf("BigPanda was told %v, want %v", got, want)
	}
}

// secretFile is a file that only its owner may read.
func secretFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
