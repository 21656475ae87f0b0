package cli

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
)

// aBox opens an outbox whose changes are two hours old, for as long as the test
// runs. Its payloads, levels and answers are such as the command must show with
// care.
func aBox(t *testing.T, dir, task string) *outbox.Disk {
	t.Helper()
	d, err := outbox.Open(dir, outbox.Options{
		Task: task, Node: "bigpanda3",
		URL: "http://127.0.0.1:9/", LeaveOrphans: true,
		Fingerprint: func(key []byte) []byte { return key },
		Log:         slog.New(slog.DiscardHandler),
		Now:         func() time.Time { return time.Now().Add(-2 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func alert(name string) []outbox.Change {
	return []outbox.Change{{
		Alert: "k host=" + name, AppKey: "k", Time: 5, Level: "CRITICAL", Payload: fmt.Appendf(nil, `{"host":"<%s>"}`, name),
	}}
}

// fillBox queues three alerts, of which the first is dead and the second is on
// its way.
func fillBox(t *testing.T, d *outbox.Disk) {
	t.Helper()
	for _, name := range []string{"a\x1b[2J", "b", "c"} {
		d.Append(alert(name), nil)
	}
	taken, err := d.Next(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Dead(taken[0], 400, "no \""+testToken+"\"\nhere"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Next(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
}

var boxVars = map[string]string{"BIGPANDA_TOKEN": testToken}

// runBox runs "bigpanda-udf outbox".
func runBox(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return run(t, nil, boxVars, append([]string{"outbox", "--outbox", dir}, args...)...)
}

// golden makes of an output what is the same in every run.
func golden(text, dir string) string {
	text = strings.ReplaceAll(text, dir, "DIR")
	text = strings.ReplaceAll(text, fmt.Sprintf("\"process\":%d,", os.Getpid()), `"process":PID,`)
	text = regexp.MustCompile(fmt.Sprintf(` %d +(\S+_bigpanda3\.)`, os.Getpid())).ReplaceAllString(text, " PID  $1")
	text = regexp.MustCompile(` {2,}`).ReplaceAllString(text, "  ") // how wide a column is says nothing
	text = regexp.MustCompile(`\b1\d{18}\b`).ReplaceAllString(text, "ID")
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`waits for 2h0m\d+s`).ReplaceAllString(text, "waits for AGE")
	return regexp.MustCompile(`[ \t]+\n`).ReplaceAllString(text, "\n")
}

// idsShown are the IDs in a JSON list.
func idsShown(t *testing.T, r result) (ids []string) {
	t.Helper()
	for line := range strings.Lines(r.stdout) {
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		ids = append(ids, e.ID)
	}
	return ids
}
