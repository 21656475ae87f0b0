package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The real Kapacitor takes the configuration and the task of the compose example with
// NATS, and the points as its head writes them. No server is in reach here, so that the
// alert is in the outbox; what becomes of it is a test of stream/test.
func TestExampleOfNATS(t *testing.T) {
	t.Parallel()
	k := startKapacitor(t, nil)
	k.stop()
	example, err := filepath.Abs(filepath.Join("..", "examples", "nats", "compose"))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(filepath.Join(example, "kapacitor.conf"))
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(k.dir, "functions")
	if err := os.WriteFile(password, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"/var/lib/kapacitor", k.dir, "/etc/kapacitor/load", filepath.Join(example, "load"), `":9092"`, `"127.0.0.1:0"`,
		"/usr/local/bin/bigpanda-udf", function, "/run/secrets/functions", password,
		"nats-1:4222", "127.0.0.1:1", "nats-2:4222", "127.0.0.1:1", "nats-3:4222", "127.0.0.1:1",
	).Replace(string(conf))
	if err := os.WriteFile(k.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k.start()
	k.eventually("the task is loaded and runs", func() string {
		if answer, err := k.try(http.MethodGet, "/tasks/cpu", nil); err != nil {
			return err.Error()
		} else if !strings.Contains(string(answer), `"executing": true`) {
			return string(answer)
		}
		return ""
	})
	write := strings.Replace(k.url, "/kapacitor/v1", "/write?db=telegraf&rp=autogen", 1)
	answer, err := http.Post(write, "application/x-www-form-urlencoded", strings.NewReader(fmt.Sprintf("cpu,host=web-1 usage_user=95 %d", at(0))))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		t.Fatalf("the point is answered with %s", answer.Status)
	}
	k.waitForQueue(filepath.Join(k.dir, "bigpanda-udf"), 1)
}
