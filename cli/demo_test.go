package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// The fleet begins calm, each host alerts, some do in the outage, and one is
// critical at the end.
func TestFleet(t *testing.T) {
	t.Parallel()
	levels := make(map[string]string)
	changes := make(map[string]int)
	points, inOutage := 0, 0
	for at := time.Duration(0); at <= fleetLength; at += fleetTick {
		for _, h := range fleet {
			_, event, changed := h.evaluate(at, levels)
			if event {
				points++
			}
			if !changed {
				continue
			}
			changes[h.name]++
			if at >= outageFrom && at < outageTo {
				inOutage++
			}
		}
	}
	for _, h := range fleet {
		end := "OK"
		if h.name == "queue-1" {
			end = "CRITICAL"
		}
		if first := h.load(0); first > warnOver || levels[h.name] != end {
			t.Errorf("%s begins with %v %% and ends %s", h.name, first, levels[h.name])
		}
		if changes[h.name] < 4 {
			t.Errorf("%s changes %d times", h.name, changes[h.name])
		}
	}
	if inOutage < 5 || points < 100 {
		t.Errorf("%d points, %d changes in the outage", points, inOutage)
	}
	// Else outage() never sees these times.
	if outageFrom%fleetTick != 0 || outageTo%fleetTick != 0 {
		t.Error("the outage does not begin and end with a tick")
	}
}

func TestDemoResult(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_700_000_000, 0)
	told := []fleetChange{
		{host: "a", level: "WARNING", at: time.Second},
		{host: "b", level: "CRITICAL", at: time.Second},
		{host: "a", level: "OK", at: 3 * time.Second},
	}
	const aWarning, bCritical, aOK = `a warning 1`, `b critical 1`, `a ok 3`
	for _, tt := range []struct {
		name    string
		arrived []string
		want    demoResult
		err     string
	}{
		{"all in order", []string{aWarning, bCritical, aOK}, demoResult{delivered: 3, inOrder: true}, ""},
		{"hosts in another order", []string{bCritical, aWarning, aOK}, demoResult{delivered: 3, inOrder: true}, ""},
		{"a duplicate", []string{aWarning, aWarning, bCritical, aOK}, demoResult{delivered: 3, duplicates: 1, inOrder: true}, ""},
		{"one is missing", []string{aWarning, bCritical}, demoResult{delivered: 2, lost: 1, inOrder: true}, "1 of 3 changes did not arrive"},
		{"one host's in another order", []string{aOK, aWarning, bCritical}, demoResult{delivered: 3}, "not arrive in order"},
		{"one too many", []string{aWarning, bCritical, aOK, `a critical 5`}, demoResult{delivered: 3}, "others came too"},
		{"another time", []string{aWarning, bCritical, `a ok 4`}, demoResult{delivered: 2, lost: 1}, "1 of 3 changes did not arrive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := demoRun{server: sandbox.New(sandbox.Options{}), begin: begin, changes: told, points: 9, echoes: 9}
			for _, a := range tt.arrived {
				var host, status string
				var at int64
				fmt.Sscan(a, &host, &status, &at)
				body := fmt.Sprintf(`{"app_key":"k","host":%q,"status":%q,"timestamp":%d}`, host, status, begin.Unix()+at)
				r, _ := http.NewRequest(http.MethodPost, "http://localhost"+sandbox.Path, strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer x")
				r.Header.Set("Content-Type", "application/json")
				d.server.ServeHTTP(&discardResponse{http.Header{}}, r)
			}
			want := tt.want
			want.points, want.echoes, want.changes, want.requests = 9, 9, 3, len(tt.arrived)
			got := d.result()
			if got != want {
				t.Errorf("the result is %+v, want %+v", got, want)
			}
			var out bytes.Buffer
			err := newScreen(Process{Stdout: &out, LookupEnv: environment(nil), IsTerminal: isTerminal}).summary(got)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("the error is %v, want %q", err, tt.err)
			}
			if strings.Contains(out.String(), "Every change arrived") != (tt.err == "") {
				t.Errorf("it says\n%s", out.String())
			}
		})
	}
}

type discardResponse struct{ header http.Header }

func (d *discardResponse) Header() http.Header            { return d.header }
func (d *discardResponse) Write(data []byte) (int, error) { return len(data), nil }
func (d *discardResponse) WriteHeader(int)                {}

func TestDemoColors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		terminal bool
		vars     map[string]string
		colored  bool
	}{
		{"a terminal", true, nil, true},
		{"a pipe", false, nil, false},
		{"a terminal with NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, false},
		{"a terminal with an empty NO_COLOR", true, map[string]string{"NO_COLOR": ""}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			s := newScreen(Process{Stdout: &out, LookupEnv: environment(tt.vars), IsTerminal: func(any) bool { return tt.terminal }})
			s.changed(fleetChange{host: "a", from: "OK", level: "CRITICAL"})
			if got := strings.Contains(out.String(), "\x1b["); got != tt.colored {
				t.Errorf("it shows %q", out.String())
			}
		})
	}
}

// With --keep the demo prints its link, to a page that shows the fleet, first and
// last, and stays until Ctrl-C, which is a good end.
func TestDemoKeeps(t *testing.T) {
	t.Parallel()
	// The test binary is the program under this name: see TestMain.
	cmd := exec.CommandContext(t.Context(), programName, "demo", "--speed", "30", "--keep")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	stays := false
	for lines := bufio.NewScanner(out); !stays && lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		stays = strings.Contains(lines.Text(), "The console stays")
	}
	links := regexp.MustCompile(`http://\S+`).FindAllString(said.String(), -1)
	if !stays || len(links) != 2 || links[0] != links[1] || !strings.HasSuffix(said.String(), links[0]+"\n") {
		t.Fatalf("the links are %q; it says\n%s", links, said.String())
	}
	for path, want := range map[string]string{"": "<!doctype html>", "incidents": `"title":"queue-1","subtitle":"cpu load","status":"critical"`} {
		r, err := http.NewRequest("GET", links[0]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("/%s: %v\n%s", path, err, body)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

// The console has one address, unless that is taken or another is asked for.
func TestDemoListens(t *testing.T) {
	var taken []string
	for range 2 {
		l, err := (&demoFlags{}).listen()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		taken = append(taken, l.Addr().String())
	}
	if l, err := net.Listen("tcp", demoListen); err == nil {
		l.Close()
		t.Errorf("it listens at %q, and %s is free", taken, demoListen)
	}
	for listen, want := range map[string]string{
		taken[0]:      taken[0] + " is taken: stop what listens there, or choose another port with --listen",
		"nonsense":    `--listen is "nonsense": write an address with its port`,
		"192.0.2.1:0": "listen on 192.0.2.1:0: ",
	} {
		if r := run(t, nil, nil, "demo", "--listen", listen); r.code == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("--listen %s ends with %d and %q", listen, r.code, r.stderr)
		}
	}
}

// The demo ends when it is told to, wherever it is.
func TestDemoIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr test.LogBuffer
	code := Run(ctx, Process{
		Args: []string{"demo"}, Stdout: new(test.LogBuffer), Stderr: &stderr,
		LookupEnv: environment(nil), IsTerminal: func(any) bool { return false },
	})
	if code != 1 || !strings.Contains(stderr.String(), "bigpanda-udf demo: interrupted") {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
}

func TestDemoSpeed(t *testing.T) {
	t.Parallel()
	for _, speed := range []string{"0", "-1", "NaN", "+Inf"} {
		if r := run(t, nil, nil, "demo", "--speed="+speed); r.code != 2 || !strings.Contains(r.stderr, "--speed is") {
			t.Errorf("--speed=%s ends with %d and %q", speed, r.code, r.stderr)
		}
	}
}
