package e2e

import (
	"bytes"
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
)

// influxDB is an InfluxDB 1.x server in a folder of its own, for Kapacitor's
// batch tasks to query. Its database is the one of all the tests.
type influxDB struct {
	t   *testing.T
	url string
}

func findInfluxDB(t *testing.T) string {
	t.Helper()
	return findProgram(t, "INFLUXD", "influxd", "InfluxDB 1.x is needed: apt-get install influxdb, or INFLUXD=/path/to/influxd")
}

// findProgram returns the path of a program: what a variable of the environment names,
// or the one in the PATH. Without one it skips the test, unless CI is set.
func findProgram(t *testing.T, variable, name, hint string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	return path
}

// influxListening finds the address in the log of influxd.
var influxListening = regexp.MustCompile(`msg="Listening on HTTP".* addr=(\S+)`)

// startInfluxDB starts a server on loopback with an empty database, and waits
// until it answers. It is stopped when the test ends.
func startInfluxDB(t *testing.T) *influxDB {
	t.Helper()
	program, dir := findInfluxDB(t), t.TempDir()
	conf, logs := filepath.Join(dir, "influxdb.conf"), filepath.Join(dir, "log")
	text := fmt.Sprintf(`
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = %q
[data]
  dir = %q
  wal-dir = %q
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:0"
  log-enabled = false
`, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(logs)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, "-config", conf)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = []string{"HOME=" + dir}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("influxd did not stop well: %v", err)
		}
	})
	db := &influxDB{t: t}
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		said, err := os.ReadFile(logs)
		if err != nil {
			t.Fatal(err)
		}
		if found := influxListening.FindSubmatch(said); found != nil {
			db.url = "http://" + string(found[1])
			break
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v until influxd listens:\n%s", patience, said)
		}
	}
	db.query("CREATE DATABASE " + database)
	return db
}

// config is the section of kapacitor.conf that has Kapacitor query the server
// and subscribe to nothing.
func (db *influxDB) config() []map[string]any {
	return []map[string]any{{
		"enabled": true, "name": "default", "default": true, "urls": []string{db.url}, "disable-subscriptions": true,
	}}
}

// write sends points in line protocol with times in nanoseconds. Those of one
// call are seen together.
func (db *influxDB) write(lines ...string) {
	db.t.Helper()
	query := url.Values{"db": {database}, "rp": {retention}}.Encode()
	db.post("/write?"+query, "text/plain", strings.Join(lines, "\n"))
}

// query runs a statement of InfluxQL that has no answer but an error.
func (db *influxDB) query(statement string) {
	db.t.Helper()
	text := db.post("/query", "application/x-www-form-urlencoded", url.Values{"q": {statement}}.Encode())
	var answer struct {
		Results []struct{ Error string }
	}
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Results) != 1 || answer.Results[0].Error != "" {
		db.t.Fatalf("InfluxDB, %s: %s (%v)", statement, text, err)
	}
}

func (db *influxDB) post(path, contentType, body string) []byte {
	db.t.Helper()
	client := http.Client{Timeout: patience}
	answer, err := client.Post(db.url+path, contentType, strings.NewReader(body))
	if err != nil {
		db.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode/100 != 2 {
		db.t.Fatalf("InfluxDB, POST %s: %s %s (%v)", path, answer.Status, bytes.TrimSpace(text), err)
	}
	return text
}
