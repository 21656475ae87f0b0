package program

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// A scrape is what a monitor gets: values by the name and the labels of a metric.
type scrape map[string]float64

// parse reads Prometheus' text format.
func parse(t testing.TB, text string) scrape {
	t.Helper()
	s := make(scrape)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if _, twice := s[line[:at]]; twice {
			t.Errorf("%s is there twice", line[:at])
		}
		s[line[:at]] = value
	}
	return s
}

// of returns the value of a metric, -1 for none: the only one of that name whose
// labels hold all of these.
func (s scrape) of(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	value, n := -1.0, 0
series:
	for series, v := range s {
		own, rest, _ := strings.Cut(series, "{")
		if own != "bigpanda_udf_"+name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue series
			}
		}
		value, n = v, n+1
	}
	if n > 1 {
		t.Errorf("there are %d of %s %v", n, name, labels)
	}
	return value
}

// served starts a program that serves metrics, and returns where.
func served(t *testing.T, env []string, args ...string) string {
	t.Helper()
	f := test.Launch(t, env, args...)
	address := regexp.MustCompile(`url=(http://\S+/metrics)`)
	for deadline := time.Now().Add(test.Patient); ; time.Sleep(5 * time.Millisecond) {
		if found := address.FindStringSubmatch(f.Log.String()); found != nil {
			return found[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not say where it listens:\n%s", f.Log)
		}
	}
}

func get(t testing.TB, url, host string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func scraped(t testing.TB, url string) scrape {
	t.Helper()
	status, body := get(t, url, "")
	if status != http.StatusOK {
		t.Fatalf("the scrape is answered %d: %s", status, body)
	}
	if strings.Contains(body, test.Token) {
		t.Error("P9: the metrics show the token")
	}
	return parse(t, body)
}

// waitScrape scrapes until cond holds.
func waitScrape(t testing.TB, url, what string, cond func(scrape) bool) scrape {
	t.Helper()
	for deadline := time.Now().Add(test.Patient); ; time.Sleep(10 * time.Millisecond) {
		s := scraped(t, url)
		if cond(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %s; the last scrape is %v", test.Patient, what, s)
		}
	}
}

// What is counted is right, and goes on over a process that is killed; of one that is
// gone it can still be read.
func TestMetricsOverAKill(t *testing.T) {
	t.Parallel()
	bp, env := test.NewBigPanda(t)
	url := served(t, env, "metrics", "--listen=127.0.0.1:0")
	if s := scraped(t, url); len(s) != 0 {
		t.Errorf("before any task there are %v", s)
	}

	f := test.Start(t, env)
	f.MustInit(test.Option("attribute", "bad", `{{ index .Tags.host 99 }}`))
	f.Send(test.Point("web1", "CRITICAL", 1000), test.Point("web2", "WARNING", 1000), test.Point("web2", "OK", 1001),
		test.Point("web3", "LOUD", 1000), test.Point("web3", "", 1000), test.Keepalive(1))
	f.Receive()
	s := waitScrape(t, url, "three alerts are delivered", func(s scrape) bool { return s.of(t, "alerts_delivered_total") == 3 && s.of(t, "queued_alerts") == 0 })
	use := []string{`task="cpu_alert"`, `node="bigpanda3"`}
	for name, want := range map[string]float64{
		"up": 1, "scrape_success": 1, "points_total": 5, "points_unknown_level_total": 1, "points_without_level_total": 1,
		"template_failures_total": 3, "panics_total": 0, "alerts_duplicate_total": 0, "alerts_retried_total": 0, "dead_letters_total": 0,
		"given_up_total": 0, "queued_alerts": 0, "in_flight_alerts": 0, "disk_refuses": 0, "oldest_queued_age_seconds": 0,
		"point_to_durable_seconds_count": 3, "durable_to_delivered_seconds_count": 3, "held": -1,
	} {
		if got := s.of(t, name, use...); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for level, want := range map[string]float64{"critical": 1, "warning": 1, "info": 0, "ok": 1} {
		if got := s.of(t, "changes_total", `level="`+level+`"`); got != want {
			t.Errorf("changes to %s: %v, want %v", level, got, want)
		}
	}
	for level, want := range map[string]float64{"critical": 1, "warning": 0, "info": 0} {
		if got := s.of(t, "active_alerts", `level="`+level+`"`); got != want {
			t.Errorf("active at %s: %v, want %v", level, got, want)
		}
	}
	if n := s.of(t, "requests_total", `outcome="accepted"`); n < 1 || n != s.of(t, "request_duration_seconds_count") {
		t.Errorf("%v requests were accepted, %v took their time", n, s.of(t, "request_duration_seconds_count"))
	}
	if started := s.of(t, "start_time_seconds"); time.Since(time.Unix(int64(started), 0)).Abs() > 2*test.Patient {
		t.Errorf("it has begun at %v", started)
	}
	if s.of(t, "outbox_size_bytes") < 4096 || s.of(t, "outbox_free_bytes") < 1 || s.of(t, "build_info") != 1 {
		t.Errorf("size %v, free %v, build %v", s.of(t, "outbox_size_bytes"), s.of(t, "outbox_free_bytes"), s.of(t, "build_info"))
	}

	// BigPanda refuses the token, so the next alert is held.
	test.SetFaults(t, bp, sandbox.Faults{Status: 401})
	f.Send(test.Point("web4", "INFO", 1002), test.Keepalive(2))
	f.Receive()
	s = waitScrape(t, url, "all alerts are held", func(s scrape) bool { return s.of(t, "held", `app_key=""`, `reason="token"`) == 1 })
	if s.of(t, "queued_alerts") != 1 || s.of(t, "requests_total", `outcome="token"`) < 1 || s.of(t, "alerts_retried_total") < 1 || s.of(t, "last_error_timestamp_seconds") == 0 {
		t.Errorf("held: %v", s)
	}
	if err := f.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f.Wait()
	s = waitScrape(t, url, "its process is gone", func(s scrape) bool { return s.of(t, "up", use...) == 0 && s.of(t, "scrape_success") == 1 })
	for name, want := range map[string]float64{
		"queued_alerts": 1, "points_total": 6, "alerts_delivered_total": 3, "active_alerts": -1, "start_time_seconds": -1, "build_info": -1, "held": -1,
	} {
		if got := s.of(t, name); got != want {
			t.Errorf("of the killed: %s is %v, want %v", name, got, want)
		}
	}

	test.SetFaults(t, bp, sandbox.Faults{})
	f = test.Start(t, env)
	f.MustInit()
	f.Send(test.Point("web1", "CRITICAL", 1003), test.Keepalive(1))
	f.Receive()
	s = waitScrape(t, url, "what was queued is delivered", func(s scrape) bool { return s.of(t, "alerts_delivered_total") == 4 && s.of(t, "queued_alerts") == 0 })
	if s.of(t, "points_total") != 7 || s.of(t, "active_alerts", `level="critical"`) != 1 || s.of(t, "active_alerts", `level="info"`) != 1 {
		t.Errorf("after a restart: %v", s)
	}
	// What is written at a good end is read the same.
	f.End()
	if s = scraped(t, url); s.of(t, "up") != 0 || s.of(t, "points_total") != 7 || s.of(t, "alerts_delivered_total") != 4 {
		t.Errorf("after the end: %v", s)
	}
}

// A process that hangs holds up nobody but itself: it is not up, and its outbox was
// not read, which is told with the names that it had.
func TestMetricsWhileAProcessHangs(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	url := served(t, env, "metrics", "--listen=127.0.0.1:0")
	hangs, works := test.Start(t, env), test.Start(t, env)
	hangs.MustInit()
	works.Send(test.Init("mem_alert", "bigpanda2"))
	if answer := works.Receive().GetInit(); !answer.GetSuccess() {
		t.Fatal(answer)
	}
	of, others := `task="cpu_alert"`, `task="mem_alert"`
	waitScrape(t, url, "both are up", func(s scrape) bool { return s.of(t, "up", of) == 1 && s.of(t, "up", others) == 1 })
	if err := hangs.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer hangs.Cmd.Process.Signal(syscall.SIGCONT)
	// A signal takes its time, too: a scrape may come before it.
	s := waitScrape(t, url, "it hangs", func(s scrape) bool { return s.of(t, "scrape_success", of) == 0 })
	if s.of(t, "up", of) != 0 || s.of(t, "queued_alerts", of) != -1 {
		t.Errorf("of the one that hangs: %v", s)
	}
	if s.of(t, "scrape_success", others) != 1 || s.of(t, "up", others) != 1 || s.of(t, "queued_alerts", others) != 0 {
		t.Errorf("of the other: %v", s)
	}
	hangs.Cmd.Process.Signal(syscall.SIGCONT)
	waitScrape(t, url, "it answers again", func(s scrape) bool { return s.of(t, "up", of) == 1 && s.of(t, "scrape_success", of) == 1 })
}

// The name of a task can break neither the text nor its reader, and tasks whose names
// look the same are told apart.
func TestMetricsOfHostileNames(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	url := served(t, env, "metrics", "--listen=127.0.0.1:0")
	long := strings.Repeat("x", 5000)
	for _, task := range []string{"a\"} 1\nbad{x=\"", `\`, "a\x1b[2J", "a\u202e[2J", long + "1", long + "2", test.Token} {
		f := test.Start(t, env)
		f.Send(test.Init(task, "n"))
		if answer := f.Receive().GetInit(); !answer.GetSuccess() {
			t.Fatal(answer)
		}
	}
	_, body := get(t, url, "")
	s := parse(t, body)
	up := 0
	for series, v := range s {
		if strings.HasPrefix(series, "bigpanda_udf_up{") && v == 1 {
			up++
		}
		if !strings.HasPrefix(series, "bigpanda_udf_") || len(series) > 1000 {
			t.Errorf("there is %.300q", series)
		}
	}
	if up != 7 || strings.ContainsAny(body, "\x1b\u202e") || strings.Contains(body, test.Token) {
		t.Errorf("%d are up:\n%.2000s", up, body)
	}
}

// The daemon gives the same text, as `outbox status --prometheus` does.
func TestMetricsOfADaemon(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	socket := filepath.Join(test.SocketDir(t), "s")
	url := served(t, env, "serve", "--socket", socket, "--metrics-listen=127.0.0.1:0")
	conn := test.Dial(t, socket)
	defer conn.Close()
	if _, err := conn.Write(test.Frames(test.Init("cpu_alert", "bigpanda3"), test.Point("web1", "CRITICAL", 1000), test.Keepalive(1))); err != nil {
		t.Fatal(err)
	}
	s := waitScrape(t, url, "an alert is delivered, and the daemon's own outbox is open", func(s scrape) bool {
		return s.of(t, "up", `task="bigpanda-udf serve"`) == 1 && s.of(t, "alerts_delivered_total", `task="cpu_alert"`) == 1 && s.of(t, "queued_alerts", `task="cpu_alert"`) == 0
	})
	out, err := test.Command(env, "outbox", "status", "--prometheus").Output()
	if err != nil {
		t.Fatal(err)
	}
	same := parse(t, string(out))
	for series, v := range s {
		if got, ok := same[series]; !ok || got != v && !strings.HasPrefix(series, "bigpanda_udf_outbox_free_bytes") {
			t.Errorf("%s is %v, and %v in the file", series, v, got)
		}
	}
	if len(same) != len(s) {
		t.Errorf("%d values, and %d in the file", len(s), len(same))
	}
}

// Loopback is for this machine: a web page that has its own name lead there is kept
// out. What cannot be served is said.
func TestMetricsAreForThisMachine(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	url := served(t, env, "metrics", "--listen=127.0.0.1:0")
	for host, want := range map[string]int{"": 200, "localhost:9786": 200, "evil.example": 403, "evil.example:80": 403} {
		if status, _ := get(t, url, host); status != want {
			t.Errorf("the host %q is answered %d, want %d", host, status, want)
		}
	}
	if status, _ := get(t, strings.TrimSuffix(url, "/metrics")+"/other", ""); status != 404 {
		t.Errorf("another path is answered %d", status)
	}
	taken := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics")
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"metrics", "--listen", taken}, taken + " is taken: stop what listens there, or choose another port with --listen, 0 for a free one", 1},
		{[]string{"metrics", "--listen", "9786"}, `--listen is "9786": write an address with its port, such as 127.0.0.1:8089`, 2},
		{[]string{"serve", "--socket=/x", "--metrics-listen", "9786"}, `--metrics-listen is "9786": write an address with its port`, 2},
		{[]string{"metrics", "--outbox=memory"}, "the outbox is in memory, so nobody can ask about it and there are no metrics: set --outbox (BIGPANDA_OUTBOX) to a folder", 2},
	} {
		cmd := test.Command(env, tt.args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("%v: exit code %d, %s", tt.args, code, out)
		}
	}
}

// Of an outbox that cannot be read, that is told.
func TestMetricsOfADamagedOutbox(t *testing.T) {
	_, env := test.NewBigPanda(t)
	dir := strings.TrimPrefix(env[len(env)-1], "BIGPANDA_OUTBOX=")
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty", "outbox.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := scraped(t, served(t, env, "metrics", "--listen=127.0.0.1:0"))
	const empty = `folder="empty"`
	if s.of(t, "scrape_success", empty) != 0 || s.of(t, "up", empty) != 0 || s.of(t, "queued_alerts", empty) != -1 {
		t.Errorf("%v", s)
	}
}
