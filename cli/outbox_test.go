package cli

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

func TestOutboxTables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box, other := aBox(t, dir, "cpu\talert"), aBox(t, dir, "disk")
	fillBox(t, box)
	box.Report(func() outbox.Delivery {
		now := time.Now()
		return outbox.Delivery{
			Held: []outbox.Held{
				{Reason: "BigPanda does not accept the token " + testToken + ": set another", Since: now.Add(-90 * time.Minute)},
				{AppKey: "k", Reason: "no such app key"},
			},
			LastSuccess: now.Add(-3 * time.Hour),
			LastError:   "401 Unauthorized", LastErrorTime: now.Add(-time.Minute),
		}
	})
	damaged := filepath.Join(dir, "gone_bigpanda3.00000000", "outbox.db.damaged-20250102T030405.000000000Z")
	if err := os.MkdirAll(filepath.Dir(damaged), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string // of stdout
		said string // a part of stderr
	}{
		{name: "status", args: nil, want: `
TASK       NODE       QUEUED  OLDEST   SIZE  DEAD  GIVEN UP  DELIVERED    PROCESS  FOLDER
cpu·alert  bigpanda3  2       2 hours  28 B  1     0         3 hours ago  PID      cpu_alert_bigpanda3.cacef29d
                      0       -        0 B   0     0         -            none     gone_bigpanda3.00000000
cpu·alert bigpanda3: all alerts are held for 1 hour: BigPanda does not accept the token [token]: set another
cpu·alert bigpanda3: alerts of the app key "k" are held: no such app key
cpu·alert bigpanda3: the last error, 1 minute ago: 401 Unauthorized
gone_bigpanda3.00000000: DIR/gone_bigpanda3.00000000/outbox.db.damaged-20250102T030405.000000000Z could not be read and was moved aside: it is not delivered
1 idle outbox: nothing waits, is held or dead there (--idle shows them)
`},
		{name: "status of idle ones, too", args: []string{"--idle"}, want: `
TASK       NODE       QUEUED  OLDEST   SIZE  DEAD  GIVEN UP  DELIVERED    PROCESS  FOLDER
cpu·alert  bigpanda3  2       2 hours  28 B  1     0         3 hours ago  PID      cpu_alert_bigpanda3.cacef29d
disk       bigpanda3  0       -        0 B   0     0         -            none     disk_bigpanda3.b6cf60b3
                      0       -        0 B   0     0         -            none     gone_bigpanda3.00000000
cpu·alert bigpanda3: all alerts are held for 1 hour: BigPanda does not accept the token [token]: set another
cpu·alert bigpanda3: alerts of the app key "k" are held: no such app key
cpu·alert bigpanda3: the last error, 1 minute ago: 401 Unauthorized
gone_bigpanda3.00000000: DIR/gone_bigpanda3.00000000/outbox.db.damaged-20250102T030405.000000000Z could not be read and was moved aside: it is not delivered
`},
		{name: "one task", args: []string{"status", "--task=disk"}, want: `
TASK  NODE       QUEUED  OLDEST  SIZE  DEAD  GIVEN UP  DELIVERED  PROCESS  FOLDER
disk  bigpanda3  0       -       0 B   0     0         -          none     disk_bigpanda3.b6cf60b3
`},
		{name: "an unknown task", args: []string{"list", "--task=dusk"}, code: 1, said: "no outbox in DIR is of that task and folder: see bigpanda-udf outbox status --idle"},
		{name: "max-age", args: []string{"--folder=cpu_alert_bigpanda3.cacef29d", "--max-age=1h", "--json"}, code: 1, want: `
{"folder":"DIR/cpu_alert_bigpanda3.cacef29d","task":"cpu\talert","node":"bigpanda3","url":"http://127.0.0.1:9/","format_version":2,"process":PID,"queued":2,"in_flight":1,"bytes":28,"oldest":"TIME","dead":1,"given_up":0,"kept_in_memory":0,"disk_refuses":false,"held":[{"app_key":"","reason":"BigPanda does not accept the token [token]: set another","since":"TIME"},{"app_key":"k","reason":"no such app key"}],"last_success":"TIME","last_error":"401 Unauthorized","last_error_time":"TIME"}
`, said: "bigpanda-udf outbox: cpu·alert bigpanda3: the oldest alert waits for AGE, longer than 1h0m0s\n"},
		{name: "max-age that is not reached", args: []string{"--task=disk", "--max-age=1s", "--json"}, want: `
{"folder":"DIR/disk_bigpanda3.b6cf60b3","task":"disk","node":"bigpanda3","url":"http://127.0.0.1:9/","format_version":2,"process":0,"queued":0,"in_flight":0,"bytes":0,"dead":0,"given_up":0,"kept_in_memory":0,"disk_refuses":false}
`},
		{name: "list", args: []string{"list", "--payload"}, want: `
cpu·alert bigpanda3 (DIR/cpu_alert_bigpanda3.cacef29d):
ID                   WAITS    LEVEL     APP KEY  ALERT     SIZE  STATE       PAYLOAD
ID  2 hours  CRITICAL  k        k host=b  14 B  on its way  {"host":"<b>"}
ID  2 hours  CRITICAL  k        k host=c  14 B  waits       {"host":"<c>"}
`},
		{name: "list of idle ones, too", args: []string{"list", "--payload", "--idle"}, want: `
cpu·alert bigpanda3 (DIR/cpu_alert_bigpanda3.cacef29d):
ID                   WAITS    LEVEL     APP KEY  ALERT     SIZE  STATE       PAYLOAD
ID  2 hours  CRITICAL  k        k host=b  14 B  on its way  {"host":"<b>"}
ID  2 hours  CRITICAL  k        k host=c  14 B  waits       {"host":"<c>"}
disk bigpanda3: none
gone_bigpanda3.00000000: none
`},
		{name: "nothing is active", args: []string{"active"}, want: "none in 3 outboxes\n", said: "2 changes wait: BigPanda does not know all of this yet"},
		{name: "nothing of one task", args: []string{"dead", "--task=disk"}, want: "disk bigpanda3: none\n"},
		{name: "list with a limit", args: []string{"list", "--task=cpu\talert", "--limit=1"}, want: `
cpu·alert bigpanda3 (DIR/cpu_alert_bigpanda3.cacef29d):
ID                   WAITS    LEVEL     APP KEY  ALERT     SIZE  STATE
ID  2 hours  CRITICAL  k        k host=b  14 B  on its way
`, said: "cpu·alert bigpanda3: there are more: --limit 0 shows all, --after ID what follows\n"},
		{name: "dead", args: []string{"dead", "--task=cpu\talert"}, want: `
cpu·alert bigpanda3 (DIR/cpu_alert_bigpanda3.cacef29d):
ID                   DIED         LEVEL     APP KEY  ALERT         STATUS  ANSWER
ID  2 hours ago  CRITICAL  k        k host=a·[2J  400     no "[token]"·here
`},
		{name: "dead as JSON", args: []string{"dead", "--json"}, want: `
{"kind":"dead","folder":"DIR/cpu_alert_bigpanda3.cacef29d","task":"cpu\talert","node":"bigpanda3","id":"ID","queued":"TIME","app_key":"k","alert":"k host=a\u001b[2J","level":"CRITICAL","timestamp":5,"size":18,"status":400,"answer":"no \"[token]\"\nhere","died":"TIME"}
`},
		{name: "export", args: []string{"export"}, want: `
{"kind":"queued","folder":"DIR/cpu_alert_bigpanda3.cacef29d","task":"cpu\talert","node":"bigpanda3","id":"ID","queued":"TIME","app_key":"k","alert":"k host=b","level":"CRITICAL","timestamp":5,"size":14,"in_flight":true,"payload":{"host":"<b>"}}
{"kind":"queued","folder":"DIR/cpu_alert_bigpanda3.cacef29d","task":"cpu\talert","node":"bigpanda3","id":"ID","queued":"TIME","app_key":"k","alert":"k host=c","level":"CRITICAL","timestamp":5,"size":14,"payload":{"host":"<c>"}}
{"kind":"dead","folder":"DIR/cpu_alert_bigpanda3.cacef29d","task":"cpu\talert","node":"bigpanda3","id":"ID","queued":"TIME","app_key":"k","alert":"k host=a\u001b[2J","level":"CRITICAL","timestamp":5,"size":18,"status":400,"answer":"no \"[token]\"\nhere","died":"TIME","payload":"{\"host\":\"\u003ca\u001b[2J\u003e\"}"}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := runBox(t, dir, tt.args...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			if got, want := golden(r.stdout, dir), golden(strings.TrimPrefix(tt.want, "\n"), dir); got != want {
				t.Errorf("stdout is\n%swant\n%s", got, want)
			}
			if got := golden(r.stderr, dir); !strings.Contains(got, tt.said) || tt.said == "" && got != "" {
				t.Errorf("stderr is %q, want %q", got, tt.said)
			}
		})
	}
}

// Who collects files hears of an outbox that cannot be read as a scrape does, and so
// that is no failure: the file would not be replaced.
func TestOutboxMetricsOfOneThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	aBox(t, dir, "cpu")
	bad := filepath.Join(dir, "bad")
	if err := errors.Join(os.Mkdir(bad, 0o700), os.WriteFile(filepath.Join(bad, "outbox.db"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		read []string // the values of scrape_success
	}{
		{[]string{"--prometheus"}, 0, []string{"0", "1"}},
		{[]string{"--prometheus", "--folder=bad"}, 0, []string{"0"}},
		{[]string{"--prometheus", "--task=cpu"}, 0, []string{"0", "1"}}, // it may be of that task
		{[]string{"--prometheus", "--max-age=3h"}, 1, []string{"0", "1"}},
		{nil, 1, nil},
	} {
		r := runBox(t, dir, append([]string{"status"}, tt.args...)...)
		var read []string
		for _, found := range regexp.MustCompile(`(?m)^bigpanda_udf_scrape_success\{.*\} (.*)$`).FindAllStringSubmatch(r.stdout, -1) {
			read = append(read, found[1])
		}
		if r.code != tt.code || !slices.Equal(read, tt.read) || !strings.Contains(r.stderr, "it is empty") {
			t.Errorf("%v: exit code %d, read %v, %s", tt.args, r.code, read, r.stderr)
		}
	}
}

func TestOutboxMetrics(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box := aBox(t, dir, `cpu "x" \`)
	fillBox(t, box)
	box.Report(func() outbox.Delivery {
		return outbox.Delivery{Held: []outbox.Held{{AppKey: "k\n", Reason: "why"}}, LastSuccess: time.Unix(1700000000, 5e8)}
	})
	r := runBox(t, dir, "status", "--prometheus", "--max-age=3h")
	if r.code != 0 || r.stderr != "" {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	values := make(map[string]string)
	for line := range strings.Lines(r.stdout) {
		if line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "{")
		labels, value, _ := strings.Cut(rest, "} ")
		values[strings.TrimPrefix(name, "bigpanda_udf_")] = value
		if !strings.Contains(labels, `folder="cpu__x____bigpanda3.`) || !strings.Contains(labels, `node="bigpanda3"`) || !strings.Contains(labels, `task="cpu \"x\" \\"`) {
			t.Errorf("the labels are %s", labels)
		}
		if name == "bigpanda_udf_held" && !strings.HasPrefix(labels, `app_key="k·",folder=`) {
			t.Errorf("the labels are %s", labels)
		}
	}
	if age := values["oldest_queued_age_seconds"]; !strings.HasPrefix(age, "72") {
		t.Errorf("the oldest waits for %s s, want two hours", age)
	}
	for name, want := range map[string]string{
		"queued_alerts": "2", "in_flight_alerts": "1", "queued_bytes": "28", "kept_dead_letters": "1", "dead_letters_total": "1", "given_up_total": "0",
		"unwritten_changes": "0", "disk_refuses": "0", "up": "1", "scrape_success": "1", "damaged_files": "0", "held": "1",
		"last_success_timestamp_seconds": "1.7000000005e+09", "last_error_timestamp_seconds": "0",
	} {
		if got := values[name]; got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
}

// An outbox that cannot be read does not hide the others, and what it holds is
// not said to be nowhere.
func TestOutboxUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := aBox(t, dir, "cpu").Close(); err != nil {
		t.Fatal(err) // a live one would move the bad one's file aside
	}
	bad := filepath.Join(dir, "bad")
	if err := os.Mkdir(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "outbox.db"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runBox(t, dir, "--idle")
	if r.code != 1 || !strings.Contains(r.stdout, "cpu") || !strings.Contains(r.stderr, "read the outbox "+bad+": it is damaged") {
		t.Errorf("exit code %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
	}
	for _, tt := range []struct {
		args         []string
		stdout, said string
	}{
		{[]string{"resolve", "d5cb"}, "", "no alert that is not OK has the key d5cb in the outboxes that could be read: see bigpanda-udf outbox active\n"},
		{[]string{"resolve", "--all"}, "nothing to resolve: every alert is OK in the outboxes that could be read\n", ""},
		{[]string{"retry", "17"}, "", "there is no dead letter with the ID 17 in the outboxes that could be read\n"},
	} {
		r := runBox(t, dir, tt.args...)
		if r.code != 1 || r.stdout != tt.stdout || !strings.Contains(r.stderr, tt.said) || !strings.Contains(r.stderr, bad+": it is damaged") {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", tt.args, r.code, r.stdout, r.stderr)
		}
	}
}

// The command beside a function, and after its end (P5); the files are private
// and the token is in none of them (P9).
func TestOutboxOfFunction(t *testing.T) {
	t.Parallel()
	api, address := newAPI(t, sandbox.Faults{Status: 503, Count: 1_000_000})
	dir := filepath.Join(t.TempDir(), "outbox")
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": address, "BIGPANDA_OUTBOX": dir}
	in, stdin := io.Pipe()
	ended := make(chan result)
	go func() { ended <- run(t, in, vars) }()
	if _, err := io.Copy(stdin, frames(test.Init("task", "bigpanda2"), critical("a"), critical("b"))); err != nil {
		t.Fatal(err)
	}
	var status outbox.Status
	for deadline := time.Now().Add(time.Minute); status.Queued != 2; time.Sleep(10 * time.Millisecond) { // between two looks
		r := run(t, nil, vars, "outbox", "--json")
		if r.code == 0 && r.stdout != "" {
			if err := json.Unmarshal([]byte(r.stdout), &status); err != nil {
				t.Fatalf("%v in %s", err, r.stdout)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the status is %+v", status)
		}
	}
	if status.Process != os.Getpid() {
		t.Errorf("the status is %+v", status)
	}
	stdin.Close()
	<-ended
	if got := idsShown(t, run(t, nil, vars, "outbox", "export")); len(got) != 2 || !slices.IsSorted(got) {
		t.Errorf("exported are %s", got)
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), testToken) {
			t.Errorf("P9: %s has the token in it, or cannot be read: %v", path, err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
