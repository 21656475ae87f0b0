package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/recording"
	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// fleetPoints are some minutes of two hosts, as |alert() passes them on.
const fleetPoints = `# two hosts
cpu,host=web-1,alertID=load usage=91.5,level="CRITICAL",message="web-1 is busy",duration=0i 1700000000000000000
cpu,host=web-2,alertID=load usage=81.25,level="WARNING",message="web-2 is busy",duration=0i 1700000000000000000
cpu,host=web-1,alertID=load usage=95,level="CRITICAL",message="web-1 is busy",duration=10i 1700000010000000000
cpu,host=web-1,alertID=load usage=12,level="OK",message="web-1 is well",duration=20i 1700000020000000000
cpu,host=web-2,alertID=load usage=71,level="INFO",message="web-2 is \"fine\"",duration=20i 1700000020000000000
`

var replayVars = map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k"}

func replay(t *testing.T, points string, vars map[string]string, args ...string) result {
	t.Helper()
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--tick") || strings.HasPrefix(a, "--group-by") }) {
		args = append(slices.Clone(args), "--group-by=host")
	}
	return run(t, nil, vars, append([]string{"replay", write(t, "points.lp", points)}, args...)...)
}

func TestReplayTable(t *testing.T) {
	t.Parallel()
	r := replay(t, fleetPoints, replayVars)
	const want = `TIME                  STATUS    PRIMARY     SECONDARY   DESCRIPTION
2023-11-14T22:13:20Z  critical  host=web-1  check=load  web-1 is busy
2023-11-14T22:13:20Z  warning   host=web-2  check=load  web-2 is busy
2023-11-14T22:13:40Z  ok        host=web-1  check=load  web-1 is well
2023-11-14T22:13:40Z  ok        host=web-2  check=load  web-2 is "fine"
`
	if r.code != 0 || r.stdout != want {
		t.Errorf("it ends with %d and prints\n%s, want\n%s", r.code, r.stdout, want)
	}
	one := "cpu,host=web-1 level=\"CRITICAL\",message=\"\x1b[2J" + strings.Repeat("x", 200) + "\" 1700000000000000000\n"
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"no secondary property", "critical  host=web-1  check=cpu:host=web-1  ·[2Jxxx", nil},
		{"another identity", "critical  incident_identifier=cpu  -  ·[2Jxxx", []string{"--incident-identifier={{ .Name }}"}},
		{"a long text", "… (124 bytes more)", []string{"--incident-identifier={{ .Name }}"}},
	} {
		r := replay(t, one, replayVars, tt.args...)
		if got := regexp.MustCompile(` {2,}`).ReplaceAllString(r.stdout, "  "); !strings.Contains(got, tt.want) {
			t.Errorf("%s: it prints\n%s, want %q in it", tt.name, got, tt.want)
		}
	}
}

// Points that come from a file have no group until somebody says which.
func TestReplayWarnsOfOneGroup(t *testing.T) {
	t.Parallel()
	const text = "warning: all points are one group"
	script := write(t, "x.tick", "stream|from()@bigpanda()")
	for _, tt := range []struct {
		name, points string
		args         []string
		warns        bool
	}{
		{"two hosts", fleetPoints, nil, true},
		{"one host", "cpu,host=a,level=OK f=1 1\ncpu,host=a,level=INFO f=1 1", nil, false},
		{"a group", fleetPoints, []string{"--group-by=host"}, false},
		{"a script", fleetPoints, []string{"--tick", script}, false},
		{"two services of a host", "cpu,host=a,service=b,level=OK f=1 1\ncpu,host=a,service=c,level=OK f=1 1", nil, true},
		{"one host, the level elsewhere", "cpu,host=a,state=DOWN f=1 1\ncpu,host=a,state=UP f=1 1", []string{"--level-tag=state", "--level=DOWN=CRITICAL", "--level=UP=OK"}, false},
		{"one host, the id elsewhere", "cpu,host=a,level=OK,id=b f=1 1\ncpu,host=a,level=OK,id=c f=1 1", []string{"--id-tag=id"}, false},
	} {
		r := run(t, strings.NewReader(tt.points), replayVars, append([]string{"replay", "-"}, tt.args...)...)
		if r.code != 0 || strings.Contains(r.stderr, text) != tt.warns {
			t.Errorf("%s: exit code %d, stderr %s", tt.name, r.code, r.stderr)
		}
	}
}

// What replay prints, what it sends, and what the function sends for the same
// points over the protocol, is one and the same.
func TestReplayIsTheFunction(t *testing.T) {
	t.Parallel()
	script := write(t, "load.tick", `
var template = 'http://g/' + '{{ .Tags.host }}'
stream
    |from()
        .measurement('cpu')
        .groupBy('host')
    |alert()
    @bigpanda()
        .primaryProperty('host')
        .attribute('dashboard', template)
        .attribute('group', '{{ .Group }}')
        .infoStatus('warning')
        .resendAfter(5s)
`)
	flags := []string{"--group-by=host", "--task=load", "--primary-property=host", "--attribute=dashboard=http://g/{{ .Tags.host }}",
		"--attribute=group={{ .Group }}", "--info-status=warning", "--resend-after=5s"}
	requests := []*agent.Request{test.Info(), test.Init("load", "bigpanda2",
		test.Option("primaryProperty", "host"), test.Option("attribute", "dashboard", "http://g/{{ .Tags.host }}"),
		test.Option("attribute", "group", "{{ .Group }}"), test.Option("infoStatus", "warning"),
		&agent.Option{Name: "resendAfter", Values: []*agent.OptionValue{{Type: agent.ValueType_DURATION, Value: &agent.OptionValue_DurationValue{DurationValue: 5e9}}}},
	)}
	points := recording.NewReader(strings.NewReader(fleetPoints), recording.Options{})
	for {
		p, err := points.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Group, p.Dimensions = "host="+p.Tags["host"], []string{"host"}
		requests = append(requests, &agent.Request{Message: &agent.Request_Point{Point: p}})
	}
	sent := func(name string, vars map[string]string, stdin io.Reader, args ...string) []string {
		api, url := newAPI(t, sandbox.Faults{})
		vars = maps.Clone(vars)
		vars["BIGPANDA_URL"] = url
		vars["BIGPANDA_CONNECTIONS"] = "1" // one alert's order is kept anyway; so is that of all
		if r := run(t, stdin, vars, args...); r.code != 0 {
			t.Errorf("%s ends with %d: %s", name, r.code, r.stderr)
		}
		var all []string
		for _, e := range api.Events() {
			all = append(all, fmt.Sprint(e.AppKey, " ", e.Payload))
		}
		return all
	}
	memory := maps.Clone(replayVars)
	memory["BIGPANDA_OUTBOX"] = "memory"
	want := sent("the function", memory, frames(requests...))
	if len(want) != 5 {
		t.Fatalf("the function sends %q", want)
	}
	file := write(t, "points.lp", fleetPoints)
	for name, args := range map[string][]string{
		"flags":    flags,
		"a script": {"--tick", script},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"replay", file}, args...)
			if got := sent(name, replayVars, nil, append(args, "--send")...); !slices.Equal(got, want) {
				t.Errorf("replay --send sends\n%s\nthe function\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			r := run(t, nil, replayVars, append(args, "--json")...)
			var got []string
			for line := range strings.Lines(r.stdout) {
				got = append(got, strings.TrimSpace(line))
			}
			if len(got) != len(want) {
				t.Fatalf("replay --json prints\n%s%s", r.stdout, r.stderr)
			}
			for i, line := range got {
				var printed, posted map[string]any
				appKey, payload, _ := strings.Cut(want[i], " ")
				if err := json.Unmarshal([]byte(line), &printed); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal([]byte(payload), &posted); err != nil {
					t.Fatal(err)
				}
				posted["app_key"] = appKey
				if !reflect.DeepEqual(printed, posted) {
					t.Errorf("line %d is\n%s, but the function posts\n%s", i+1, line, want[i])
				}
			}
		})
	}
}

// What is posted for one alert alone is what --json prints, byte for byte.
func TestReplayJSONIsTheBody(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	vars := maps.Clone(replayVars)
	vars["BIGPANDA_URL"] = url
	one := strings.SplitAfter(fleetPoints, "\n")[1]
	r := replay(t, one, vars, "--json", "--send")
	requests := api.Requests()
	if len(requests) != 1 || requests[0].Body+"\n" != r.stdout {
		t.Errorf("it prints\n%sand posts %v", r.stdout, requests)
	}
}

// A flag for each option that the function tells Kapacitor of.
func TestReplayHasAllOptions(t *testing.T) {
	t.Parallel()
	help := run(t, nil, nil, "help", "replay").stdout
	for option := range optionInfo().Options {
		if flag := "--" + flagOfOption(option) + "="; !strings.Contains(help, flag) {
			t.Errorf("the help of replay has no %s", flag)
		}
	}
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReplayInputs(t *testing.T) {
	t.Parallel()
	var stream strings.Builder
	for line := range strings.Lines(fleetPoints) {
		if !strings.HasPrefix(line, "#") {
			stream.WriteString("telegraf\nautogen\n" + line)
		}
	}
	want := replay(t, fleetPoints, replayVars, "--json").stdout
	for _, tt := range []struct {
		name, file, content string
		args                []string
	}{
		{"a file", "points.lp", fleetPoints, nil},
		{"gzip", "points.lp.gz", gzipped(t, fleetPoints), nil},
		{"gzip by another name", "points", gzipped(t, fleetPoints), nil},
		{"stdin", "-", fleetPoints, nil},
		{"gzip on stdin", "-", gzipped(t, fleetPoints), nil},
		{"milliseconds", "points.lp", strings.ReplaceAll(fleetPoints, "000000000\n", "000\n"), []string{"--precision=ms"}},
		{"a recording", "8c1f.srpl", gzipped(t, stream.String()), nil},
		{"a recording, whatever the precision", "8c1f.srpl", gzipped(t, stream.String()), []string{"--precision=s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := tt.file
			if file != "-" {
				file = write(t, tt.file, tt.content)
			}
			r := run(t, strings.NewReader(tt.content), replayVars, append([]string{"replay", "--json", "--group-by=host", file}, tt.args...)...)
			if r.code != 0 || r.stdout != want {
				t.Errorf("it ends with %d and prints\n%s%s, want\n%s", r.code, r.stdout, r.stderr, want)
			}
		})
	}
}

func TestReplaySays(t *testing.T) {
	t.Parallel()
	const noLevel = "cpu,host=a usage=1 1700000000000000000\n"
	recent := fmt.Sprintf("cpu,host=a usage=1,level=\"CRITICAL\" %d\n", time.Now().UnixNano())
	two := write(t, "two.tick", "var d = stream|from().groupBy('host')\nd@bigpanda()\nd@bigpanda().host('x')\n")
	lambda := write(t, "lambda.tick", "stream|from()@bigpanda().host(lambda: TRUE)")
	group := write(t, "group.tick", "var by list\nstream|from().groupBy(by)@bigpanda()")
	for _, tt := range []struct {
		name   string
		points string
		vars   map[string]string
		args   []string
		code   int
		lines  int    // on stdout, with the table's heading
		stderr string // a part
	}{
		{name: "the count", points: fleetPoints, lines: 5, stderr: "bigpanda-udf replay: 5 points, 4 changes; nothing was sent\n"},
		{name: "a point without a level", points: fleetPoints + noLevel, lines: 5, stderr: "6 points, 4 changes, 1 without a level; nothing was sent\n"},
		{name: "no point with a level", points: noLevel, code: 1, stderr: "points have no level, so no alert can be made of them: add .levelField('level')"},
		{name: "no point with a level, and what to do", points: noLevel, code: 1, stderr: "no point has a level: take points from behind |alert(), or name their level's field or tag with --level-field or --level-tag\n"},
		{name: "a level elsewhere", points: `cpu,host=a,state=bad usage=1 1`, args: []string{"--level-tag=state", "--level=BAD=CRITICAL"}, lines: 2, stderr: "1 point, 1 change;"},
		{name: "an unknown level", points: "cpu,host=a level=\"BAD\" 1\n" + fleetPoints, lines: 5, stderr: "1 with an unknown level"},
		{name: "a point without a time", points: `cpu,host=a level="CRITICAL"`, lines: 2, stderr: "1 point, 1 change, 1 without a time, dated now;"},
		{name: "too old", points: fleetPoints + recent, args: []string{"--max-age=1h"}, lines: 2, stderr: "5 too old"},
		{name: "a line that is none", points: "cpu\n" + fleetPoints, code: 1, lines: 5, stderr: "points.lp:1: empty tag name"},
		{name: "the count of such lines", points: "cpu\ncpu usage=1u\n" + fleetPoints, code: 1, lines: 5, stderr: "4 changes, 2 that cannot be read; nothing was sent\nbigpanda-udf replay: 2 lines cannot be read: see above\n"},
		{name: "nothing", code: 1, stderr: "there is no point in it"},
		{name: "no file", args: nil, code: 1, points: "\n# nothing", stderr: "0 points"},
		{name: "of two uses", points: fleetPoints, args: []string{"--tick", two}, code: 2, stderr: "has 2 uses of @bigpanda() (lines 2, 3): choose one with --node 1 to --node 2"},
		{name: "one of two uses", points: fleetPoints, args: []string{"--tick", two, "--node=2"}, lines: 5, stderr: "4 changes"},
		{name: "one of two that is none", points: fleetPoints, args: []string{"--tick", two, "--node=3"}, code: 2, stderr: "--node is 3, but " + two + " has 2 of @bigpanda()"},
		{name: "another function", points: fleetPoints, args: []string{"--tick", two, "--function=bp"}, code: 2, stderr: "has no @bp(): add it behind the alert node, or name what the script calls the function with --function"},
		{name: "a node of no script", points: fleetPoints, args: []string{"--node=3"}, code: 2, stderr: "add --tick FILE"},
		{name: "a script that is not there", points: fleetPoints, args: []string{"--tick=nowhere"}, code: 2, stderr: "--tick: read the TICKscript: open nowhere"},
		{name: "a script that is none", points: fleetPoints, args: []string{"--tick", write(t, "x.tick", "stream|")}, code: 2, stderr: "x.tick: it is no TICKscript"},
		{name: "a value that needs a server", points: fleetPoints, args: []string{"--tick", lambda}, code: 2, stderr: "lambda.tick: line 1: .host(): a lambda, in line 1, is not evaluated here"},
		{name: "a group that is not known", points: fleetPoints, args: []string{"--tick", group}, code: 2, stderr: "or say it with --group-by"},
		{name: "a group that is said", points: fleetPoints, args: []string{"--tick", group, "--group-by=*"}, lines: 5, stderr: "4 changes"},
		{name: "a bad option", points: fleetPoints, args: []string{"--attribute=status=x"}, code: 2, stderr: "option .attribute('status', …)"},
		{name: "an option without its second value", points: fleetPoints, args: []string{"--level=x"}, code: 2, stderr: `--level is "x": write the option's two values with = between them`},
		{name: "a bad duration", points: fleetPoints, args: []string{"--max-age=soon"}, code: 2, stderr: `--max-age is "soon": write a duration, such as 10m or 1d`},
		{name: "a bad boolean", points: fleetPoints, args: []string{"--pass-through=perhaps"}, code: 2, stderr: `--pass-through is "perhaps": write true or false`},
		{name: "a bad precision", points: fleetPoints, args: []string{"--precision=y"}, code: 2, stderr: `--precision is "y": write h, m, ms, n, ns, s, u, us`},
		{name: "options that contradict", points: fleetPoints, args: []string{"--level-tag=a", "--level-field=b"}, code: 2, stderr: "contradict each other"},
		{name: "no app key", points: fleetPoints, vars: map[string]string{"BIGPANDA_APP_KEY": ""}, code: 2, stderr: "no app key: "},
		{name: "a bad setting", points: fleetPoints, vars: map[string]string{"BIGPANDA_RATE": "x"}, code: 2, stderr: "BIGPANDA_RATE is"},
		{name: "switched off", points: fleetPoints, vars: map[string]string{"BIGPANDA_ENABLED": "false"}, lines: 5, stderr: "warning: the function is switched off by BIGPANDA_ENABLED"},
		{name: "switched off, and to be sent", points: fleetPoints, vars: map[string]string{"BIGPANDA_ENABLED": "false"}, args: []string{"--send"}, code: 2, stderr: "switched off by BIGPANDA_ENABLED: leave out --send"},
		{name: "no token to send with", points: fleetPoints, vars: map[string]string{"BIGPANDA_TOKEN": ""}, args: []string{"--send"}, code: 2, stderr: "no token: "},
		{name: "the log of the function", points: fleetPoints, args: []string{"--log-level=info"}, lines: 5, stderr: `msg="input ended" task=replay`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			vars := maps.Clone(replayVars)
			maps.Copy(vars, tt.vars)
			r := replay(t, tt.points, vars, tt.args...)
			if n := strings.Count(r.stdout, "\n"); r.code != tt.code || n != tt.lines {
				t.Errorf("exit code %d and %d lines, want %d and %d:\n%s", r.code, n, tt.code, tt.lines, r.stdout)
			}
			if !strings.Contains(r.stderr, tt.stderr) {
				t.Errorf("stderr is\n%s, want %q in it", r.stderr, tt.stderr)
			}
		})
	}
}

// A terminal or a pipe may say nothing for ever: Ctrl-C still ends it, and what
// came until then is told.
func TestReplayEndsWhileItWaits(t *testing.T) {
	t.Parallel()
	in, points := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr test.LogBuffer
	ended := make(chan int)
	go func() {
		ended <- Run(ctx, Process{Args: []string{"replay", "-", "--json", "--group-by=host"}, Stdin: in, Stdout: &stdout, Stderr: &stderr,
			LookupEnv: environment(replayVars), IsTerminal: func(any) bool { return false }})
	}()
	if _, err := io.WriteString(points, fleetPoints); err != nil { // it was read
		t.Fatal(err)
	}
	cancel()
	if code := <-ended; code != 1 || !strings.Contains(stderr.String(), "stopped after ") {
		t.Errorf("exit code %d, stderr %s", code, stderr.String())
	}
	points.Close()
}

func TestReplayFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		file []string
		code int
		want string
	}{
		{"none", nil, 2, "which points? Name a file of line protocol or a recording, or write - for stdin"},
		{"one that is not there", []string{"nowhere"}, 2, "read the points: open nowhere: no such file or directory"},
		{"a folder", []string{os.TempDir()}, 1, "bigpanda-udf replay: read " + os.TempDir() + ": is a directory\n"},
		{"a batch", []string{"x.brpl"}, 2, "x.brpl is the recording of a batch task, which replay does not take: record the points of a stream with kapacitor record stream (in a task, @bigpandaBatch() takes batches)"},
		{"broken gzip", []string{write(t, "x.gz", gzipped(t, fleetPoints)[:60])}, 1, "unexpected EOF"},
		{"no gzip", []string{write(t, "x.gz", "\x1f\x8b and more of it")}, 1, "begins like gzip and is none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, replayVars, append([]string{"replay"}, tt.file...)...)
			if r.code != tt.code || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("exit code %d, stderr %s, want %d and %q", r.code, r.stderr, tt.code, tt.want)
			}
		})
	}
}
