package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"bigpanda-udf/config"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
)

// hostile does to a terminal, a log or a reader what its author wants.
const hostile = "a\x1b[2Jb\u009b2Jc\u202edcba\u2066e\u200bf\u2028g\x7fh\U000e0041i"

// Text that came from outside reaches a terminal only with what it would do there
// made visible: run looks for it. What a script reads is the text itself.
func TestOutputsDoNothingToATerminal(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, hostile+"\naccepted\n")
	}))
	t.Cleanup(server.Close)
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_URL": server.URL, "BIGPANDA_APP_KEY": hostile}
	dir := filepath.Join(t.TempDir(), "out\u202ebox")
	box := aBox(t, dir, hostile)
	dead := outbox.Change{Alert: hostile, AppKey: hostile, Time: 5, Level: "CRITICAL", Payload: jsonOf(t, map[string]string{"host": hostile})}
	box.Append([]outbox.Change{dead, dead}, nil)
	taken, err := box.Next(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Dead(taken[0], 400, hostile); err != nil {
		t.Fatal(err)
	}
	raise(box, hostile)
	box.Report(func() outbox.Delivery {
		return outbox.Delivery{Held: []outbox.Held{{AppKey: hostile, Reason: hostile}}, LastError: hostile}
	})
	line := "cpu,host=a\u202eb level=\"CRITICAL\",message=\"" + strings.ReplaceAll(hostile, "\x7f", "") + "\" 1700000000000000000\n"
	points := write(t, "points\u202e", line)
	for _, tt := range []struct {
		args  []string
		code  int
		shown string // a part of stdout
		whole bool   // the text is in the JSON of stdout
	}{
		{[]string{"send", "--host", hostile}, 1, "a·[2Jb·2Jc·dcba·e·f·g·h·i·accepted\n", false},
		{[]string{"send", "--host", hostile, "--json"}, 1, `\u009b2J`, true},
		{[]string{"check"}, 1, "a·[2Jb·2Jc·dcba·e·f·g·h·i (BIGPANDA_APP_KEY)", false},
		{[]string{"check", "--json"}, 1, "a·[2Jb·2Jc·dcba·e·f·g·h·i (BIGPANDA_APP_KEY)", false},
		{[]string{"outbox"}, 0, "a·[2Jb·2Jc·dcba·e·f·g·h·i bigpanda3: alerts of the app key", false},
		{[]string{"outbox", "--json"}, 0, `\u202edcba\u2066e`, true},
		{[]string{"outbox", "--prometheus"}, 0, `task="a·[2Jb·2Jc·dcba·e·f·g·h·i"`, false},
		{[]string{"outbox", "--max-age=1m"}, 1, "", false},
		{[]string{"outbox", "list", "--payload"}, 0, "·dcba·", false},
		{[]string{"outbox", "list", "--payload", "--json"}, 0, `\u202edcba`, true},
		{[]string{"outbox", "dead"}, 0, "·dcba·", false},
		{[]string{"outbox", "dead", "--json"}, 0, `\u202edcba`, true},
		{[]string{"outbox", "export"}, 0, `\u202edcba`, true},
		{[]string{"outbox", "active"}, 0, "·dcba·", false},
		{[]string{"outbox", "active", "--json"}, 0, `\u202edcba`, true},
		{[]string{"outbox", "retry", "--all"}, 0, "·dcba·", false},
		{[]string{"outbox", "drop", "--all", "--queued", "--json"}, 0, `\u202edcba`, true},
		{[]string{"outbox", hostile}, 2, "", false},
		{[]string{"outbox", "list", hostile}, 2, "", false},
		{[]string{"outbox", "--task", "\u202e", "--folder", "\u009b"}, 1, "", false},
		{[]string{"replay", points}, 0, "·dcba·", false},
		{[]string{"replay", points, "--json"}, 0, `\u202edcba`, false},
		{[]string{"replay", "no\u202efile"}, 2, "", false},
		{[]string{"send", "\u009b"}, 2, "", false},
		{[]string{"sandbox", "--latency=\u202e"}, 2, "", false},
	} {
		t.Run(fmt.Sprintf("%q", tt.args), func(t *testing.T) {
			vars["BIGPANDA_OUTBOX"] = dir
			r := run(t, nil, vars, tt.args...)
			if r.code != tt.code || !strings.Contains(r.stdout, tt.shown) {
				t.Errorf("exit code %d, want %d, and %q in\n%s%s", r.code, tt.code, tt.shown, r.stdout, r.stderr)
			}
			if !tt.whole {
				return
			}
			whole := false
			for line := range strings.Lines(r.stdout) {
				var v any
				if err := json.Unmarshal([]byte(line), &v); err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				whole = whole || strings.Contains(fmt.Sprint(v), hostile)
			}
			if !whole {
				t.Errorf("a script does not get the text:\n%s", r.stdout)
			}
		})
	}
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLogDoesNothingToATerminal(t *testing.T) {
	t.Parallel()
	for _, format := range []string{config.FormatLogfmt, config.FormatJSON} {
		var out bytes.Buffer
		newLogger(&out, slog.LevelInfo, format, new(secrets)).Info(hostile, "text", hostile, hostile, 1, slog.Group("g", "inner", hostile), "level", udf.Active{Key: hostile})
		if text := out.String(); plain(text) != strings.TrimSuffix(text, "\n")+"·" {
			t.Errorf("%s: %q", format, text)
		}
		var line map[string]any
		if format == config.FormatJSON {
			if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["text"] != hostile {
				t.Errorf("%v, %v", err, line)
			}
		}
	}
}
