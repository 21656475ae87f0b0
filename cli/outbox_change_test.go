package cli

import (
	"fmt"
	"strings"
	"testing"
)

func TestOutboxRetryAndDrop(t *testing.T) {
	t.Parallel()
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprintf("live %t", live), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			box, other := aBox(t, dir, "cpu"), aBox(t, dir, "disk")
			fillBox(t, box)
			fillBox(t, other)
			retried, whatNow := "1 dead letter are back in the queue", ""
			if !live {
				if err := box.Close(); err != nil {
					t.Fatal(err)
				}
				whatNow = "; delivered by another process with this outbox within two minutes, or by the next start"
			}
			dead := idsShown(t, runBox(t, dir, "dead", "--json", "--task=cpu"))
			queued := idsShown(t, runBox(t, dir, "list", "--json", "--task=cpu"))
			if len(dead) != 1 || len(queued) != 2 {
				t.Fatalf("dead are %s, queued %s", dead, queued)
			}
			retried = strings.Replace(retried, "are", "is", 1)
			for _, step := range []struct {
				name         string
				args         []string
				code         int
				stdout, said string
			}{
				{"retry without IDs", []string{"retry"}, 2, "", "which ones? Give IDs, which list and dead show, or --all\n"},
				{"drop without IDs", []string{"drop", "--queued"}, 2, "", "which ones? Give IDs"},
				{"drop with both", []string{"drop", "--all", dead[0]}, 2, "", "which ones? Give IDs"},
				{"what is no ID", []string{"retry", "first"}, 2, "", `"first" is no ID: take one that list or dead shows`},
				{"a queued one is no dead letter", []string{"drop", queued[1]}, 1, "", "there is no dead letter with the ID " + queued[1]},
				{"retry", []string{"retry", dead[0], "17"}, 1, "cpu bigpanda3: " + retried + whatNow + "\n", "there is no dead letter with the ID 17\n"},
				{"retry again", []string{"retry", dead[0]}, 1, "", "there is no dead letter with the ID " + dead[0]},
				{"drop a queued one", []string{"drop", "--queued", queued[1]}, 0, "cpu bigpanda3: 1 queued alert was dropped\n", ""},
				{"drop all dead ones", []string{"drop", "--all"}, 0, "disk bigpanda3: 1 dead letter was dropped\n", ""},
				{"drop all of none", []string{"drop", "--all"}, 0, "nothing to drop: there is no dead letter\n", ""},
				{"drop all of none of one task", []string{"drop", "--all", "--task=cpu"}, 0, "cpu bigpanda3: 0 dead letters were dropped\n", ""},
				{"retry all, as JSON", []string{"retry", "--all", "--json", "--task=disk"}, 0,
					`{"action":"retry","kind":"dead","folder":"DIR/disk_bigpanda3.b6cf60b3","task":"disk","node":"bigpanda3","process":PID,"done":0,"in_flight":0}` + "\n", ""},
				{"drop all queued of one that lives", []string{"drop", "--queued", "--all", "--task=disk"}, 0,
					"disk bigpanda3: 1 queued alert was dropped; 1 is on the connection to BigPanda and stays\n", ""},
			} {
				r := runBox(t, dir, step.args...)
				if got := golden(r.stdout, dir); r.code != step.code || got != step.stdout {
					t.Errorf("%s: exit code %d and %q, want %d and %q", step.name, r.code, got, step.code, step.stdout)
				}
				if !strings.Contains(r.stderr, step.said) || step.said == "" && r.stderr != "" {
					t.Errorf("%s: stderr is %q, want %q", step.name, r.stderr, step.said)
				}
			}
			left := idsShown(t, runBox(t, dir, "export", "--task=cpu"))
			if len(left) != 2 || left[0] != queued[0] || left[1] <= queued[1] {
				t.Errorf("left are %s of %s", left, queued)
			}
			if !live {
				return
			}
			r := runBox(t, dir, "drop", "--queued", left[0])
			if want := "1 queued alert is on the connection to BigPanda and stays: " + left[0]; r.code != 1 || !strings.Contains(r.stderr, want) {
				t.Errorf("exit code %d and %q, want %q", r.code, r.stderr, want)
			}
		})
	}
}

// On a terminal, all of something are dropped only after a yes.
func TestOutboxDropAllAsks(t *testing.T) {
	t.Parallel()
	const dead, queued = "Drop 2 dead letters of 2 outboxes for good? [y/N] ", "Drop 4 queued alerts of 2 outboxes for good? [y/N] "
	const no = "bigpanda-udf outbox drop: nothing was dropped, as there was no yes\n"
	const dropped = "cpu bigpanda3: 1 dead letter was dropped\ndisk bigpanda3: 1 dead letter was dropped\n"
	for _, tt := range []struct {
		name, typed    string
		notTerminal    bool
		args           []string
		code           int
		stdout, stderr string
	}{
		{name: "yes", typed: "yes\n", stdout: dropped, stderr: dead},
		{name: "no", typed: "no\n", code: 1, stderr: dead + no},
		{name: "the end", code: 1, stderr: dead + no},
		{name: "those that wait", typed: "\n", args: []string{"--queued"}, code: 1, stderr: queued + no},
		{name: "--yes", args: []string{"--yes"}, stdout: dropped},
		{name: "no terminal", notTerminal: true, stdout: dropped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, task := range []string{"cpu", "disk"} {
				fillBox(t, aBox(t, dir, task))
			}
			r := runOn(t, !tt.notTerminal, strings.NewReader(tt.typed), boxVars, append([]string{"outbox", "drop", "--all", "--outbox", dir}, tt.args...)...)
			if want := (result{tt.code, tt.stdout, tt.stderr}); r != want {
				t.Errorf("%+v, want %+v", r, want)
			}
			left, want := len(idsShown(t, runBox(t, dir, "export"))), 6
			if tt.code == 0 {
				want = 4
			}
			if left != want {
				t.Errorf("%d are left, want %d", left, want)
			}
		})
	}
	t.Run("there is none", func(t *testing.T) {
		dir := t.TempDir()
		aBox(t, dir, "cpu")
		r := runOn(t, true, strings.NewReader(""), boxVars, "outbox", "drop", "--all", "--outbox", dir)
		if want := (result{0, "nothing to drop: there is no dead letter\n", ""}); r != want {
			t.Errorf("it is asked about: %+v", r)
		}
	})
}
