package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
)

// raise has an outbox hold critical alerts of hosts.
func raise(d *outbox.Disk, hosts ...string) {
	var levels []outbox.Level
	for _, host := range hosts {
		key := "host=" + host + "\x00cpu"
		name, err := json.Marshal(host)
		if err != nil {
			panic(err)
		}
		levels = append(levels, outbox.Level{Key: key, Time: 5, Value: fmt.Appendf(nil,
			`{"level":%d,"told":5000000000,"last":5,"identity":{"app_key":"k","primary":"host","primary_value":%s,"secondary":"check","secondary_value":"cpu"}}`,
			udf.Critical, name)})
	}
	d.Append(nil, levels)
}

// activeHosts are the hosts of what is active, and their keys.
func activeHosts(t *testing.T, dir string) (hosts []string, keys map[string]string) {
	t.Helper()
	keys = make(map[string]string)
	for line := range strings.Lines(runBox(t, dir, "active", "--json", "--limit=0").stdout) {
		var a struct {
			Key      string
			Identity struct {
				Value string `json:"primary_value"`
			}
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		hosts = append(hosts, a.Identity.Value)
		keys[a.Identity.Value] = a.Key
	}
	return hosts, keys
}

// On a terminal, all are resolved only after a yes.
func TestOutboxResolveAllAsks(t *testing.T) {
	t.Parallel()
	const question = "Tell BigPanda that 2 alerts are OK, of 2 outboxes? [y/N] "
	const no = question + "bigpanda-udf outbox resolve: nothing was resolved, as there was no yes\n"
	for _, tt := range []struct {
		name, typed string
		notTerminal bool
		args        []string
		code        int
		stderr      string
	}{
		{name: "yes", typed: "yes\n", stderr: question},
		{name: "Y", typed: " Y \n", stderr: question},
		{name: "y and the end", typed: "y", stderr: question},
		{name: "no", typed: "n\n", code: 1, stderr: no},
		{name: "return", typed: "\n", code: 1, stderr: no},
		{name: "another word", typed: "yo\n", code: 1, stderr: no},
		{name: "the end", typed: "", code: 1, stderr: no},
		{name: "--yes", args: []string{"--yes"}},
		{name: "no terminal", notTerminal: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			raise(aBox(t, dir, "cpu"), "a")
			raise(aBox(t, dir, "disk"), "b")
			r := runOn(t, !tt.notTerminal, strings.NewReader(tt.typed), boxVars, append([]string{"outbox", "resolve", "--all", "--outbox", dir}, tt.args...)...)
			if r.code != tt.code || r.stderr != tt.stderr {
				t.Errorf("exit code %d and %q, want %d and %q", r.code, r.stderr, tt.code, tt.stderr)
			}
			left, _ := activeHosts(t, dir)
			want, said := 0, "cpu bigpanda3: 1 alert was resolved\ndisk bigpanda3: 1 alert was resolved\n"
			if tt.code != 0 {
				want, said = 2, ""
			}
			if len(left) != want || r.stdout != said {
				t.Errorf("%q are left, stdout is %q, want %d and %q", left, r.stdout, want, said)
			}
		})
	}
	t.Run("nothing is open", func(t *testing.T) {
		dir := t.TempDir()
		aBox(t, dir, "cpu")
		r := runOn(t, true, strings.NewReader(""), boxVars, "outbox", "resolve", "--all", "--outbox", dir)
		if r.code != 0 || r.stderr != "" || r.stdout != "nothing to resolve: every alert is OK\n" {
			t.Errorf("it is asked about: %+v", r)
		}
	})
}

// Of many outboxes, only those with something to resolve are spoken of: how many
// there are, what was done, and who tells BigPanda.
func TestOutboxResolveAllOfMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 14 {
		aBox(t, dir, fmt.Sprint("calm", i))
	}
	raise(aBox(t, dir, "cpu"), "a")
	gone := aBox(t, dir, "disk")
	raise(gone, "b")
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	r := runOn(t, true, strings.NewReader("y\n"), boxVars, "outbox", "resolve", "--all", "--outbox", dir)
	if want := "Tell BigPanda that 2 alerts are OK, of 2 outboxes? [y/N] "; r.code != 0 || r.stderr != want {
		t.Errorf("exit code %d and %q, want %q", r.code, r.stderr, want)
	}
	if want := "cpu bigpanda3: 1 alert was resolved\n" +
		"disk bigpanda3: 1 alert was resolved; BigPanda is told by another process with this outbox within two minutes, or by the next start\n"; r.stdout != want {
		t.Errorf("stdout is %q, want %q", r.stdout, want)
	}
	if r := runBox(t, dir, "resolve", "--all"); r.code != 0 || r.stdout != "nothing to resolve: every alert is OK\n" {
		t.Errorf("once more: %+v", r)
	}
	for task, want := range map[string]string{
		"cpu":  `{"action":"resolve","kind":"active","folder":"DIR/cpu_bigpanda3.301685fe","task":"cpu","node":"bigpanda3","process":PID,"done":0,"changed":0}`,
		"disk": `{"action":"resolve","kind":"active","folder":"DIR/disk_bigpanda3.b6cf60b3","task":"disk","node":"bigpanda3","process":0,"done":0,"changed":0}`,
	} {
		if r := runBox(t, dir, "resolve", "--all", "--json", "--task", task); r.code != 0 || golden(r.stdout, dir) != want+"\n" {
			t.Errorf("as JSON: %+v, want %s", r, want)
		}
	}
}

// The beginning of a key does, where it is one alert's alone.
func TestOutboxResolveByTheBeginningOfAKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box := aBox(t, dir, "cpu")
	hosts := make([]string, 2000)
	for i := range hosts {
		hosts[i] = fmt.Sprint("h", i)
	}
	raise(box, hosts...)
	_, keys := activeHosts(t, dir)
	begin := make(map[string][]string) // hosts by the first letters of their keys
	for _, host := range hosts {
		begin[keys[host][:minKey]] = append(begin[keys[host][:minKey]], host)
	}
	var twins []string
	alone := ""
	for _, same := range begin {
		if len(same) == 2 && twins == nil {
			twins = same
		} else if len(same) == 1 {
			alone = same[0]
		}
	}
	if twins == nil || alone == "" {
		t.Fatal("no two keys begin alike, or all do")
	}
	r := runBox(t, dir, "resolve", keys[alone][:minKey], keys[twins[0]][:minKey], "ffffffffffff")
	if r.code != 1 || r.stdout != "cpu bigpanda3: 1 alert was resolved\n" {
		t.Errorf("exit code %d and %q", r.code, r.stdout)
	}
	for _, want := range []string{
		"2 keys begin with " + keys[twins[0]][:minKey] + ", write more of the one that is meant: ", keys[twins[0]], keys[twins[1]],
		"no alert that is not OK has the key ffffffffffff: see bigpanda-udf outbox active",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("stderr is %q, want %q", r.stderr, want)
		}
	}
	left, _ := activeHosts(t, dir)
	if len(left) != len(hosts)-1 {
		t.Errorf("%d are left of %d", len(left), len(hosts))
	}
	if r := runBox(t, dir, "active"); strings.Count(r.stdout, "CRITICAL") != 20 || r.stderr != "cpu bigpanda3: and 1979 more: --limit 0 shows all\n"+
		"cpu bigpanda3: 1 change waits: BigPanda does not know all of this yet, see bigpanda-udf outbox list\n" {
		t.Errorf("%d are shown, and %q", strings.Count(r.stdout, "CRITICAL"), r.stderr)
	}
}

// What an alert says does nothing to a terminal, and is not the token (P9, which
// run looks for); a level that cannot be read hides no other.
func TestOutboxActiveWithCare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box := aBox(t, dir, "cpu\talert")
	raise(box, "a\x1b[2J\n", testToken)
	box.Append(nil, []outbox.Level{{Key: "noise", Time: 5, Value: []byte("noise")}})
	const unreadable = ": cpu·alert bigpanda3: 1 of its levels cannot be read"
	for _, args := range [][]string{{"active"}, {"active", "--json"}, {"resolve", "--all"}} {
		r := runBox(t, dir, args...)
		if r.code != 1 || !strings.HasPrefix(r.stderr, "bigpanda-udf outbox "+args[0]+unreadable) || strings.Contains(r.stdout, "\x1b") {
			t.Errorf("%q: %+v", args, r)
		}
		if args[0] == "active" && !strings.Contains(r.stdout, "[token]") {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if left, _ := activeHosts(t, dir); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
}
