package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// critical is a point that raises an alert.
func critical(host string) *agent.Request {
	return &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: 1_700_000_000e9, Name: "cpu", Group: "host=" + host,
		Tags:         map[string]string{"host": host},
		FieldsString: map[string]string{"level": "CRITICAL"},
	}}}
}

// frames is the input of requests.
func frames(requests ...*agent.Request) io.Reader { return bytes.NewReader(test.Frames(requests...)) }

// answers decodes all of stdout: there may be nothing but frames.
func answers(t *testing.T, stdout string) []*agent.Response {
	t.Helper()
	var all []*agent.Response
	var buffer []byte
	for in := bufio.NewReader(strings.NewReader(stdout)); ; {
		r := new(agent.Response)
		err := agent.ReadMessage(&buffer, in, r)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("stdout is not frames: %v in %q", err, stdout)
		}
		all = append(all, r)
	}
}

// silence is an input that goes on after its beginning, as Kapacitor's does
// after a failed Init: only the function itself can end the run.
func silence(t *testing.T, beginning io.Reader) io.Reader {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		r.Close()
	})
	go io.Copy(w, beginning)
	return r
}

// P2: Info is answered whatever is wrong, Init says what it is, the process
// ends by itself with code 0.
func TestBadSettingFailsInit(t *testing.T) {
	t.Parallel()
	missing := "/nonexistent/file"
	ok := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k"}
	loose := t.TempDir()
	if err := os.Chmod(loose, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		vars map[string]string // beside ok; "" takes one away
		want string            // the whole sentence
	}{
		{name: "an unknown flag", args: []string{"--conections=2"}, want: "unknown flag --conections: did you mean --connections?"},
		{name: "an unknown word", args: []string{"sned"}, want: `unknown command "sned": did you mean "send"?`},
		{name: "the token as a flag", args: []string{"--token", testToken}, want: `--token is no flag, as "ps" would show it: set BIGPANDA_TOKEN, or name a file with --token-file`},
		{name: "a flag without its value", args: []string{"--url"}, want: "--url needs a value: write --url=…"},
		{name: "a switch that is neither on nor off", args: []string{"--enabled=maybe"}, want: `--enabled: bool value must be true, 1, yes, false, 0 or no but got "maybe"`},
		{name: "a bad flag", args: []string{"--batch-size=0"}, want: `--batch-size is "0": write a whole number from 1`},
		{name: "a bad variable", vars: map[string]string{"BIGPANDA_RATE": "fast"}, want: `BIGPANDA_RATE is "fast": write requests a second, such as 5 or 0.5, or 0 for no limit`},
		{name: "no folder for the outbox", vars: map[string]string{"XDG_STATE_HOME": ""}, want: "no outbox folder, as neither HOME nor XDG_STATE_HOME is set: set --outbox (BIGPANDA_OUTBOX) to one"},
		{name: "a bad size of the outbox", args: []string{"--outbox-max-size=many"}, want: `--outbox-max-size is "many": write a size of 1.0 MiB or more, such as 500MB or 4GiB`},
		{name: "a missing config file", args: []string{"--config", missing}, want: "read config file: open " + missing + ": no such file or directory: name a kapacitor.conf that this user may read"},
		{name: "a missing handler file", args: []string{"--handler", missing}, want: "read handler file: open " + missing + ": no such file or directory: name a file that this user may read"},
		{name: "a value that is the token", args: []string{"--log-level=" + testToken}, want: `--log-level is "[token]": write debug, info, warn or error`},
		{name: "no token", vars: map[string]string{"BIGPANDA_TOKEN": ""}, want: "no token: set BIGPANDA_TOKEN or BIGPANDA_TOKEN_FILE (for Kapacitor in [udf.functions.bigpanda.env] of kapacitor.conf), or token-file in [bigpanda] of the --config file"},
		{name: "a missing token file", vars: map[string]string{"BIGPANDA_TOKEN_FILE": missing}, want: "BIGPANDA_TOKEN_FILE: read token file " + missing + ": no such file or directory; name a file that this process may read"},
		{name: "a missing CA file", args: []string{"--ca-file", missing}, want: "--ca-file: read CA file " + missing + ": no such file or directory; name a file that this process may read, or leave the setting out"},
		{name: "a bad URL", vars: map[string]string{"BIGPANDA_URL": "bigpanda"}, want: "BIGPANDA_URL: use url: "},
		{name: "a token in the URL", vars: map[string]string{"BIGPANDA_URL": "https://h/?ACCESS_TOKEN=" + testQuery}, want: "BIGPANDA_URL: use url: it has an access_token, which would end up in logs: leave it out and set the token; it looks like https://api.bigpanda.io/data/v2/alerts"},
		{name: "an outbox that others may write", args: []string{"--outbox", loose}, want: "the outbox in " + loose + " cannot be written safely, as others may write to " + loose + " (drwxrwxrwx): let the user that kapacitord runs as write there alone (chmod 700 " + loose + "), or set --outbox (BIGPANDA_OUTBOX) to a folder of its own"},
		{name: "a URL as a command", args: []string{"https://user:" + testPassword + "@h/?key=" + testQuery}, want: `unknown command "https://…@h/?…": see bigpanda-udf --help`},
		{name: "a token with a blank", vars: map[string]string{"BIGPANDA_TOKEN": "to ken"}, want: "BIGPANDA_TOKEN: use token: "},
		{name: "no app key", vars: map[string]string{"BIGPANDA_APP_KEY": ""}, want: "no app key: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			vars := map[string]string{}
			for _, m := range []map[string]string{ok, tt.vars} {
				for name, v := range m {
					vars[name] = v
				}
			}
			r := run(t, silence(t, frames(test.Info(), test.Init("task", "bigpanda2"))), vars, tt.args...)
			got := answers(t, r.stdout)
			if len(got) != 2 || got[0].GetInfo() == nil || got[1].GetInit() == nil {
				t.Fatalf("the answers are %v, want Info and Init", got)
			}
			if i := got[1].GetInit(); i.Success || i.Error != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(i.Error, tt.want)) {
				t.Errorf("Init says\n%q, want\n%q", i.Error, tt.want)
			}
			if r.code != 0 {
				t.Errorf("exit code %d, want 0", r.code)
			}
		})
	}
}

// Wrong arguments are logged as soon as kapacitord asks for Info, at its start.
func TestWrongArgumentsAreLoggedAtInfo(t *testing.T) {
	t.Parallel()
	const said = `level=ERROR msg="every task with this function will fail at Init" error="unknown flag --conections: did you mean --connections?"`
	r := run(t, frames(test.Info()), nil, "--conections=2")
	if r.code != 0 || strings.Count(r.stderr, said) != 1 {
		t.Errorf("exit code %d, want 0 and once %q in\n%s", r.code, said, r.stderr)
	}
	if got := answers(t, r.stdout); len(got) != 1 || got[0].GetInfo() == nil {
		t.Errorf("the answers are %v, want Info", got)
	}
}

// Kapacitor asks for Info alone when it starts, before anything is set up.
func TestInfoNeedsNothing(t *testing.T) {
	t.Parallel()
	r := run(t, frames(test.Info()), nil)
	if got := answers(t, r.stdout); r.code != 0 || len(got) != 1 || got[0].GetInfo() == nil {
		t.Errorf("exit code %d and answers %v", r.code, got)
	}
	if r.stderr != "" {
		t.Errorf("it logs %q", r.stderr)
	}
}

func TestFunctionDelivers(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url, "BIGPANDA_LOG_LEVEL": "debug", "BIGPANDA_OUTBOX": "memory"}
	r := run(t, frames(test.Info(), test.Init("task", "bigpanda2"), critical("a"), critical("b"), critical("a")), vars)
	if got := answers(t, r.stdout); r.code != 0 || len(got) != 5 || !got[1].GetInit().GetSuccess() || got[4].GetPoint() == nil {
		t.Fatalf("exit code %d, answers %v, log %s", r.code, got, r.stderr)
	}
	// The end of the input waits for the delivery, as a memory outbox keeps nothing.
	events := api.Events()
	if len(events) != 2 || events[0].Title != "a" || events[1].Title != "b" || events[0].Status != "critical" {
		t.Errorf("the events are %v", events)
	}
	for _, q := range api.Requests() {
		if !strings.HasPrefix(q.UserAgent, "bigpanda-udf/") {
			t.Errorf("the user agent is %q", q.UserAgent)
		}
	}
}

func TestTokenOfFiles(t *testing.T) {
	t.Parallel()
	file := write(t, "token", testToken+"\n")
	for name, config := range map[string]string{
		"the token itself": "token = '" + testToken + "'",
		"a token file":     "token-file = '" + file + "'",
	} {
		t.Run(name, func(t *testing.T) {
			api, url := newAPI(t, sandbox.Faults{})
			path := write(t, "kapacitor.conf", "[bigpanda]\nenabled = true\nglobal = true\napp-key = 'k'\nurl = '"+url+"'\n"+config)
			r := run(t, frames(test.Init("task", "bigpanda2"), critical("a")), nil, "--config", path, "--log-format=json", "--log-level=debug", "--outbox=memory")
			if n := len(api.Events()); r.code != 0 || n != 1 {
				t.Errorf("exit code %d, %d events, log %s", r.code, n, r.stderr)
			}
			if !strings.Contains(r.stderr, "every alert is sent twice") {
				t.Errorf("no warning in %s", r.stderr)
			}
		})
	}
}

// P9: a token that is read from its file later, as BigPanda refused the one
// before, is hidden as that is.
func TestLogHidesALaterToken(t *testing.T) {
	t.Parallel()
	const before, later = "t0ken-of-before-4711", "t0ken-of-later-4711"
	file := write(t, "token", before)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+later {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if err := os.WriteFile(file, []byte(later+"\n"), 0o600); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer api.Close()
	vars := map[string]string{"BIGPANDA_TOKEN_FILE": file, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": api.URL, "BIGPANDA_DRAIN_TIMEOUT": "1m"}
	r := run(t, frames(test.Init("task", "bigpanda2"), critical(before+" "+later)), vars, "--outbox=memory")
	if strings.Contains(r.stderr, before) || strings.Contains(r.stderr, later) {
		t.Errorf("the log shows a token: %s", r.stderr)
	}
	if !strings.Contains(r.stderr, "all alerts are held") || !strings.Contains(r.stderr, tokenShown+" "+tokenShown) {
		t.Errorf("the log does not show the dead letter: %s", r.stderr)
	}
}

func TestHandlerFileSetsOptions(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	handler := write(t, "handler.yaml", `
kind: bigpanda
options:
  app-key: of-the-handler
  url: `+url+`
  host: 'host-{{ index .Tags "host" }}'
  attributes: {env: test, port: 8080}
`)
	r := run(t, frames(test.Init("task", "bigpanda2"), critical("a")), map[string]string{"BIGPANDA_TOKEN": testToken}, "--handler="+handler, "--outbox=memory")
	events := api.Events()
	if r.code != 0 || len(events) != 1 {
		t.Fatalf("exit code %d, events %v, log %s", r.code, events, r.stderr)
	}
	p := events[0].Payload
	if p.Text("host") != "host-a" || p.Text("env") != "test" || p.Text("port") != "8080" || events[0].AppKey != "of-the-handler" {
		t.Errorf("the payload is %s", p)
	}
}

// P8: what nothing else keeps is delivered for a while, then counted as lost.
func TestLostChangesAreCounted(t *testing.T) {
	t.Parallel()
	_, url := newAPI(t, sandbox.Faults{Hang: true})
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url}
	r := run(t, frames(test.Init("task", "bigpanda2"), critical("a"), critical("b")), vars, "--outbox=memory", "--drain-timeout=1ms")
	if r.code != 0 || !strings.Contains(r.stderr, "level=ERROR") || !strings.Contains(r.stderr, "lost=2") {
		t.Errorf("exit code %d, log %s", r.code, r.stderr)
	}
}

// P5: what was not delivered is delivered by the next start.
func TestNextStartDelivers(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{Status: 503})
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url, "BIGPANDA_OUTBOX": t.TempDir()}
	r := run(t, frames(test.Init("task", "bigpanda2"), critical("a"), critical("b")), vars)
	if r.code != 0 || !strings.Contains(r.stderr, "queued=2") {
		t.Errorf("exit code %d, log %s", r.code, r.stderr)
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	in, stdin := io.Pipe()
	ended := make(chan result)
	go func() { ended <- run(t, in, vars) }()
	if _, err := io.Copy(stdin, frames(test.Init("task", "bigpanda2"), critical("a"))); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := api.WaitFor(ctx, func(s sandbox.Stats) bool { return s.Events == 2 }); err != nil {
		t.Error(err)
	}
	stdin.Close()
	if r := <-ended; r.code != 0 {
		t.Errorf("exit code %d, log %s", r.code, r.stderr)
	}
}

// The end of a process tells of what BigPanda refused while it ran, and not again
// of what it had refused before.
func TestEndTellsOfItsOwnDeadLetters(t *testing.T) {
	t.Parallel()
	_, url := newAPI(t, sandbox.Faults{Status: 400})
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url, "BIGPANDA_OUTBOX": t.TempDir()}
	for _, tt := range []struct {
		name  string
		point *agent.Request // that is refused
		drop  bool           // all dead letters, while it runs
		dead  int            // in the outbox, before the end
		want  string         // what the log says of them; "" for nothing
	}{
		{"one is refused", critical("a"), false, 1, "refused=1"},
		{"nothing happens", nil, false, 1, ""},
		{"another one is refused", critical("b"), false, 2, "refused=1"},
		{"all are dropped", nil, true, 0, ""},
	} {
		in, stdin := io.Pipe()
		ended := make(chan result)
		go func() { ended <- run(t, in, vars) }()
		requests := []*agent.Request{test.Init("task", "bigpanda2")}
		if tt.point != nil {
			requests = append(requests, tt.point)
		}
		if _, err := io.Copy(stdin, frames(requests...)); err != nil {
			t.Error(err)
		}
		status := func() string { return run(t, nil, vars, "outbox", "--json").stdout }
		eventually(t, tt.name+": the process works on the outbox", func() bool {
			return strings.Contains(status(), fmt.Sprintf(`"process":%d`, os.Getpid()))
		})
		if tt.drop {
			run(t, nil, vars, "outbox", "drop", "--all")
		}
		eventually(t, tt.name+": the dead letters", func() bool { return strings.Contains(status(), fmt.Sprintf(`"dead":%d`, tt.dead)) })
		stdin.Close()
		r := <-ended
		const words = "some changes never reached BigPanda"
		if got := strings.Contains(r.stderr, words); r.code != 0 || got != (tt.want != "") || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%s: exit code %d, log %s", tt.name, r.code, r.stderr)
		}
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	r := run(t, frames(test.Info(), test.Init("task", "bigpanda2"), critical("a"), critical("b")), nil, "--enabled=false")
	if got := answers(t, r.stdout); r.code != 0 || len(got) != 4 || !got[1].GetInit().GetSuccess() || got[3].GetPoint() == nil {
		t.Fatalf("exit code %d, answers %v", r.code, got)
	}
	if n := strings.Count(r.stderr, "\n"); n != 1 || !strings.Contains(r.stderr, "switched off") {
		t.Errorf("the log is %q, want one line", r.stderr)
	}
}

func TestBrokenStreamEndsWith1(t *testing.T) {
	t.Parallel()
	noLength := strings.NewReader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	r := run(t, io.MultiReader(frames(test.Info(), test.Init("task", "bigpanda2")), noLength), nil, "--enabled=false")
	if r.code != 1 || !strings.Contains(r.stderr, "level=ERROR") {
		t.Errorf("exit code %d, log %s", r.code, r.stderr)
	}
	answers(t, r.stdout)
}

// The first signal ends the input, the second the delivery.
func TestStopSignals(t *testing.T) {
	stopping, hurrying, release := stopSignals(t.Context())
	defer release()
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	<-stopping.Done()
	if hurrying.Err() != nil {
		t.Error("one signal ended the delivery")
	}
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	<-hurrying.Done()
}
