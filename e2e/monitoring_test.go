package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// monitoring is the folder of what is shipped for monitors.
var monitoring = filepath.Join("..", "monitoring")

// findPrometheus returns the path of prometheus; promtool is beside it.
func findPrometheus(t *testing.T) string {
	t.Helper()
	return findProgram(t, "PROMETHEUS", "prometheus", "Prometheus is needed: apt-get install prometheus, or PROMETHEUS=/path/to/prometheus, with promtool beside it")
}

// promtool runs it, and returns what it says.
func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(filepath.Dir(findPrometheus(t)), "promtool"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// startProcess starts a program, and returns the first match of an expression in what
// it writes. It is stopped when the test ends.
func startProcess(t *testing.T, says *regexp.Regexp, program string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer late.Stop()
		cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(path)
			t.Logf("log of %s:\n%s", filepath.Base(program), log)
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if found := says.FindStringSubmatch(string(log)); found != nil {
			return found[1]
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not say where it listens", program)
		}
	}
}

// A prometheus is a server that scrapes one target each second, with the rules that
// are shipped; but nothing is waited for as long as there.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	program, dir := findPrometheus(t), t.TempDir()
	rules, err := os.ReadFile(filepath.Join(monitoring, "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	soon := regexp.MustCompile(`for: \d+m`).ReplaceAllString(string(rules), "for: 2s")
	soon = strings.Replace(soon, "oldest_queued_age_seconds > 300", "oldest_queued_age_seconds > 3", 1)
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: bigpanda-udf
    static_configs: [{targets: [%q]}]
`, target)
	for name, text := range map[string]string{"rules.yml": soon, "prometheus.yml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := startProcess(t, regexp.MustCompile(`msg="Listening on" address=(\S+)`), program, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	return prometheus{t, "http://" + address}
}

// A series is one of the answer to a query, with the newest value.
type series struct {
	Metric map[string]string
	Value  [2]any
}

// query runs a query. The error is Prometheus'.
func (p prometheus) query(expression string) ([]series, error) {
	p.t.Helper()
	resp, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var answer struct {
		Error string
		Data  struct{ Result []series }
	}
	if resp.StatusCode == http.StatusServiceUnavailable { // it has not read its data yet
		return nil, nil
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		p.t.Fatalf("%v: %s", err, body)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", expression, answer.Error)
	}
	return answer.Data.Result, nil
}

// waitFor waits until a query has a result, or none.
func (p prometheus) waitFor(expression string, some bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		got, err := p.query(expression)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(got) > 0 == some {
			return
		}
		if time.Now().After(end) {
			all, _ := p.query("ALERTS")
			p.t.Fatalf("after %v %s has the result %v; of alerts there are %v", patience, expression, got, all)
		}
	}
}

func firing(alert string) string { return `ALERTS{alertstate="firing",alertname="` + alert + `"}` }

// What an operator is told: a function under the real Kapacitor, its BigPanda gone, the
// rule fires, and resolves once alerts are delivered.
func TestMonitoring(t *testing.T) {
	findPrometheus(t)
	t.Parallel()
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	k := startKapacitor(t, config)
	panda.failure = k.failure
	outbox := functionTable(config)["env"].(map[string]any)["BIGPANDA_OUTBOX"].(string)
	served := startProcess(t, regexp.MustCompile(`url=http://(\S+)/metrics`), function, "metrics", "--listen=127.0.0.1:0", "--outbox="+outbox)
	p := startPrometheus(t, served)

	k.define("cpu", withOptions(""))
	k.write(fmt.Sprintf("cpu,host=h usage=95 %d", at(0)))
	panda.waitForCount(1)
	p.waitFor(`bigpanda_udf_alerts_delivered_total{task="cpu"} == 1`, true)
	p.waitFor(`ALERTS`, false)

	panda.fail(sandbox.Faults{Drop: true})
	k.write(fmt.Sprintf("cpu,host=h usage=10 %d", at(1)))
	p.waitFor(firing("BigPandaDeliveriesLate"), true)
	panda.fail(sandbox.Faults{})
	panda.waitForCount(2)
	p.waitFor(firing("BigPandaDeliveriesLate"), false)

	// The token is no longer the right one.
	panda.fail(sandbox.Faults{Status: http.StatusUnauthorized})
	k.write(fmt.Sprintf("cpu,host=h usage=95 %d", at(2)))
	p.waitFor(firing("BigPandaAlertsHeld"), true)
	p.waitFor(`bigpanda_udf_held{task="cpu",app_key="",reason="token"}`, true)
	panda.fail(sandbox.Faults{})
	panda.waitForCount(3)
	p.waitFor(firing("BigPandaAlertsHeld"), false)

	// Refused for good.
	panda.fail(sandbox.Faults{Status: http.StatusBadRequest})
	k.write(fmt.Sprintf("cpu,host=h usage=10 %d", at(3)))
	p.waitFor(firing("BigPandaDeadLetters"), true)

	t.Run("each query of the dashboard has a result", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(monitoring, "grafana-dashboard.json"))
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatal(err)
		}
		variables := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*", "$task", ".*")
		queries := 0
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				queries++
				got, err := p.query(variables.Replace(target.Expr))
				if err != nil || len(got) == 0 {
					t.Errorf("%s: %s has the result %v, %v", panel.Title, target.Expr, got, err)
				}
			}
		}
		if queries < 20 {
			t.Errorf("there are %d queries", queries)
		}
	})
	t.Run("promtool finds no fault in the metrics", func(t *testing.T) {
		resp, err := http.Get("http://" + served + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if said := promtool(t, string(body), "check", "metrics"); said != "" {
			t.Errorf("promtool says %s", said)
		}
	})

	// The TICKscript says so of what Telegraf writes, here into a file.
	script, err := os.ReadFile(filepath.Join(monitoring, "late.tick"))
	if err != nil {
		t.Fatal(err)
	}
	said := filepath.Join(t.TempDir(), "said")
	k.defineOn("late", "telegraf", strings.Replace(string(script), ".email('oncall@example.com')", ".log('"+said+"')", 1))
	for i, age := range []int{0, 301} {
		k.writeOn("telegraf", fmt.Sprintf("prometheus,host=web,task=cpu,node=n,folder=f bigpanda_udf_oldest_queued_age_seconds=%d %d", age, at(i)))
	}
	k.eventually("the TICKscript tells that alerts are late", func() string {
		text, _ := os.ReadFile(said)
		if !strings.Contains(string(text), "bigpanda-udf web cpu f: the oldest alert has waited for 301 s") {
			return "it says " + string(text)
		}
		return ""
	})

	k.stop()
	p.waitFor(`bigpanda_udf_up{task="cpu"} == 0`, true)
}

// The cron job that is shipped writes what a real node-exporter reads.
func TestNodeExporter(t *testing.T) {
	program := findProgram(t, "NODE_EXPORTER", "prometheus-node-exporter", "node-exporter is needed: apt-get install prometheus-node-exporter, or NODE_EXPORTER=/path/to/it")
	t.Parallel()
	panda := startBigPanda(t)
	config := functionConfig(t, panda, nil)
	k := startKapacitor(t, config)
	panda.failure = k.failure
	k.define("cpu", withOptions(""))
	k.write(fmt.Sprintf("cpu,host=h usage=95 %d", at(0)))
	panda.waitForCount(1)

	cron, err := os.ReadFile(filepath.Join(monitoring, "node-exporter.cron"))
	if err != nil {
		t.Fatal(err)
	}
	_, job, found := strings.Cut(string(cron), "\n* * * * * root ")
	if !found || strings.Contains(job, "%") { // which is a line feed to cron
		t.Fatalf("there is no job that cron takes:\n%s", cron)
	}
	texts := t.TempDir()
	outbox := functionTable(config)["env"].(map[string]any)["BIGPANDA_OUTBOX"].(string)
	job = strings.NewReplacer("/var/lib/prometheus/node-exporter", texts, "/var/lib/bigpanda-udf", outbox,
		"runuser -u kapacitor -- bigpanda-udf", function).Replace(job)
	address := startProcess(t, regexp.MustCompile(`msg="Listening on" address=(\S+)`), program,
		"--collector.disable-defaults", "--collector.textfile", "--collector.textfile.directory="+texts, "--web.listen-address=127.0.0.1:0")
	wanted := []string{
		`bigpanda_udf_up{folder="`, `bigpanda_udf_alerts_delivered_total{folder="`, `node_textfile_scrape_error 0`,
		`node_textfile_mtime_seconds{file="` + texts + `/bigpanda-udf.prom"}`, // which a rule asks for
	}
	k.eventually("node-exporter has the metrics", func() string {
		if out, err := exec.Command("sh", "-c", job).CombinedOutput(); err != nil || len(out) > 0 {
			return fmt.Sprintf("the job says %v: %s", err, out)
		}
		resp, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		for _, text := range wanted {
			if err != nil || !strings.Contains(string(body), text) {
				return fmt.Sprintf("there is no %s (%v) in %s", text, err, body)
			}
		}
		return ""
	})
}

// The rules that are shipped are good, and each fires when it is to, and resolves.
func TestMonitoringRules(t *testing.T) {
	t.Parallel()
	promtool(t, "", "check", "config", filepath.Join(monitoring, "prometheus.yml")) // and the rules
	promtool(t, "", "test", "rules", filepath.Join(monitoring, "rules_test.yml"))
}
