package cli

import (
	"maps"
	"strings"
	"testing"

	"bigpanda-udf/bigpanda"
)

func TestOutboxUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := write(t, "text", "text")
	for _, tt := range []struct {
		name string
		vars map[string]string
		args []string
		code int
		want string // in stderr
	}{
		{name: "an unknown action", args: []string{"lst"}, code: 2, want: `bigpanda-udf outbox: unknown command "lst": did you mean "list"?`},
		{name: "a flag of another action", args: []string{"list", "--prometheus"}, code: 2, want: "bigpanda-udf outbox list: unknown flag --prometheus: see bigpanda-udf outbox list --help"},
		{name: "a limit to what is resolved", args: []string{"resolve", "--all", "--limit", "1"}, code: 2, want: "unknown flag --limit: see bigpanda-udf outbox resolve --help"},
		{name: "a limit that is the default", args: []string{"resolve", "--all", "--limit=20"}, code: 2, want: "unknown flag --limit: see bigpanda-udf outbox resolve --help"},
		{name: "a limit to a status", args: []string{"--limit=20"}, code: 2, want: "unknown flag --limit: see bigpanda-udf outbox --help"},
		{name: "a limit to retry", args: []string{"retry", "--all", "--limit=1"}, code: 2, want: "unknown flag --limit: see bigpanda-udf outbox retry --help"},
		{name: "a limit to drop", args: []string{"drop", "--all", "--limit=0"}, code: 2, want: "unknown flag --limit: see bigpanda-udf outbox drop --help"},
		{name: "a limit to an export", args: []string{"export", "--limit=20"}, code: 2, want: "unknown flag --limit: see bigpanda-udf outbox export --help"},
		{name: "a bad limit in the environment", vars: map[string]string{"BIGPANDA_OUTBOX_LIMIT": "few"}, args: []string{"list"}, code: 2, want: "BIGPANDA_OUTBOX_LIMIT: --limit: expected a valid 64 bit int"},
		{name: "a limit in the environment, of others", vars: map[string]string{"BIGPANDA_OUTBOX_LIMIT": "few"}, args: []string{"export"}, want: "no outbox is in " + dir},
		{name: "a flag before its command", args: []string{"--limit", "x", "--folder=f", "list"}, code: 2, want: `bigpanda-udf outbox list: --limit: expected a valid 64 bit int but got "x"`},
		{name: "a yes to what has an ID", args: []string{"drop", "5", "--yes"}, code: 2, want: "--yes means nothing without --all: what has an ID is not asked about"},
		{name: "a limit that is no number", args: []string{"active", "--limit=x"}, code: 2, want: `--limit: expected a valid 64 bit int but got "x"`},
		{name: "IDs for a list", args: []string{"list", "5"}, code: 2, want: "unexpected argument 5: leave it out, or see bigpanda-udf outbox list --help"},
		{name: "two formats", args: []string{"--json", "--prometheus"}, code: 2, want: "--json and --prometheus are two formats"},
		{name: "a bad limit", args: []string{"list", "--limit=-1"}, code: 2, want: "--limit is -1: write a number from 0"},
		{name: "a bad place to begin", args: []string{"list", "--after=x"}, code: 2, want: `--after: "x" is no ID: take one that list or dead shows`},
		{name: "a bad age", args: []string{"--max-age=-1s"}, code: 2, want: "--max-age is -1s"},
		{name: "a bad age in the environment", vars: map[string]string{"BIGPANDA_OUTBOX_MAX_AGE": "long"}, code: 2, want: `BIGPANDA_OUTBOX_MAX_AGE: --max-age: expected duration but got "long"`},
		{name: "an unknown flag", args: []string{"--jsn"}, code: 2, want: "unknown flag --jsn: did you mean --json?"},
		{name: "memory", vars: map[string]string{"BIGPANDA_OUTBOX": "memory"}, code: 2, want: "the outbox is in memory"},
		{name: "no folder", vars: map[string]string{"BIGPANDA_OUTBOX": "", "XDG_STATE_HOME": ""}, code: 2, want: "set --outbox (BIGPANDA_OUTBOX)"},
		{name: "a folder that is not there", vars: map[string]string{"BIGPANDA_OUTBOX": dir + "/nowhere"}, code: 1, want: "there is no outbox in " + dir + "/nowhere: set --outbox (BIGPANDA_OUTBOX) to the outbox folder of the function"},
		{name: "a file", vars: map[string]string{"BIGPANDA_OUTBOX": text}, code: 1, want: "not a directory"},
		{name: "an empty folder", code: 0, want: "no outbox is in " + dir + ": nothing waits there"},
		{name: "a config file", vars: map[string]string{"BIGPANDA_OUTBOX": ""}, args: []string{"--config", write(t, "kapacitor.conf", "[bigpanda]\noutbox = '"+dir+"'\ntoken = '"+testToken+"'\n")}, code: 0, want: "no outbox is in " + dir},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_OUTBOX": dir}
			maps.Copy(vars, tt.vars)
			r := run(t, nil, vars, append([]string{"outbox"}, tt.args...)...)
			if r.code != tt.code || r.stdout != "" || !strings.Contains(r.stderr, tt.want) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %d and %q", r.code, r.stdout, r.stderr, tt.code, tt.want)
			}
		})
	}
}

// A key is shown as the values that it is made of; what is damaged, as it is.
func TestAlertOf(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{bigpanda.Identity{AppKey: "k", Primary: "host", PrimaryValue: "a:1", Secondary: "check", SecondaryValue: "cpu"}.Key(), "a:1 cpu"},
		{bigpanda.Identity{AppKey: "k", PrimaryValue: "a"}.Key(), "a"},
		{bigpanda.Identity{AppKey: "k", PrimaryValue: "a", SecondaryValue: "-"}.Key(), "a -"},
		{bigpanda.Identity{AppKey: "k", Incident: "rack 1"}.Key(), "incident_identifier=rack 1"},
		{"", ""}, {"p", "p"}, {"k host=b", "k host=b"}, {"p1:k99:a", "p1:k99:a"}, {"p-1:k", "p-1:k"}, {"i1:k[token]", "i1:k[token]"},
	} {
		if got := alertOf(tt[0]); got != tt[1] {
			t.Errorf("%q is shown as %q, want %q", tt[0], got, tt[1])
		}
	}
}
