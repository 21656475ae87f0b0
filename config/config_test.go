package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"
)

// sources is where a setting comes from, highest first. "-" means that the
// setting cannot come from there.
type sources struct {
	flag, env, handler, config string // as text; in config as TOML
	// The values that follow from them, and the default.
	want [5]any
	get  func(s Settings) any
}

const testToken = "t0ken-of-the-tests-4711"

// environment looks names up in a map.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// write makes a file of a text.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const none = "-"

// everySetting has a row for each row of the settings table.
var everySetting = map[string]sources{
	"enabled": {"false", "true", none, none, [5]any{false, true, nil, nil, true},
		func(s Settings) any { return s.Enabled }},
	"token-file": {"/flag", "/env", none, `"/config"`, [5]any{"/flag", "/env", nil, "/config", ""},
		func(s Settings) any { return s.TokenFile }},
	"app-key": {"flag", "env", "handler", `"config"`, [5]any{"flag", "env", "handler", "config", ""},
		func(s Settings) any { return s.Defaults.AppKey }},
	"url": {"http://flag", "http://env", "http://handler", `"http://config"`, [5]any{"http://flag", "http://env", "http://handler", "http://config", bigpanda.DefaultURL},
		func(s Settings) any { return s.URL }},
	"auto-attributes": {"tags", "none", none, `"fields"`, [5]any{"tags", "", nil, "fields", "tags,fields"},
		func(s Settings) any { return s.Defaults.AutoAttributes }},
	"insecure-skip-verify": {"false", "true", none, "false", [5]any{false, true, nil, false, false},
		func(s Settings) any { return s.InsecureSkipVerify }},
	"ca-file": {"/flag", "/env", none, `"/config"`, [5]any{"/flag", "/env", nil, "/config", ""},
		func(s Settings) any { return s.CAFile }},
	"outbox": {"memory", "/env", none, `"/config"`, [5]any{"memory", "/env", nil, "/config", ""},
		func(s Settings) any { return s.Outbox }},
	"outbox-max-size": {"1GiB", "2GB", none, `"3MiB"`, [5]any{int64(1 << 30), int64(2e9), nil, int64(3 << 20), int64(outbox.DefaultMaxSize)},
		func(s Settings) any { return s.OutboxMaxSize }},
	"max-frame": {"1GiB", "100MB", none, `"80MiB"`, [5]any{int64(1 << 30), int64(1e8), nil, int64(80 << 20), int64(wire.DefaultMaxFrame)},
		func(s Settings) any { return s.MaxFrame }},
	"edge": {"stream", "batch", none, none, [5]any{"stream", "batch", nil, nil, "stream"},
		func(s Settings) any { return s.Edge }},
	"batch-size": {"1", "2", none, "3", [5]any{1, 2, nil, 3, udf.DefaultBatchSize},
		func(s Settings) any { return s.BatchSize }},
	"connections": {"1", "2", none, "3", [5]any{1, 2, nil, 3, bigpanda.DefaultConnections},
		func(s Settings) any { return s.Connections }},
	"rate": {"1.5", "2", none, "3", [5]any{1.5, 2.0, nil, 3.0, 0.0},
		func(s Settings) any { return s.Rate }},
	"timeout": {"1s", "2s", none, `"3s"`, [5]any{time.Second, 2 * time.Second, nil, 3 * time.Second, bigpanda.DefaultTimeout},
		func(s Settings) any { return s.Timeout }},
	"drain-timeout": {"0s", "2s", none, none, [5]any{time.Duration(0), 2 * time.Second, nil, nil, defaultDrainTimeout},
		func(s Settings) any { return s.DrainTimeout }},
	"log-level": {"debug", "WARN", none, `"error"`, [5]any{slog.LevelDebug, slog.LevelWarn, nil, slog.LevelError, slog.LevelInfo},
		func(s Settings) any { return s.LogLevel }},
	"log-format": {"json", "logfmt", none, `"json"`, [5]any{"json", "logfmt", nil, "json", "logfmt"},
		func(s Settings) any { return s.LogFormat }},
}

func TestPrecedence(t *testing.T) {
	for _, row := range Table {
		src, ok := everySetting[row.Name]
		if !ok {
			if row.Name != "config" && row.Name != "handler" {
				t.Errorf("setting %s is in no test", row.Name)
			}
			continue
		}
		// With every source, then without the highest one, and so on.
		for from := range src.want {
			if src.want[from] == nil {
				continue
			}
			t.Run(fmt.Sprintf("%s from %s", row.Name, [...]string{"flag", "environment", "handler", "config", "default"}[from]), func(t *testing.T) {
				flags, vars := map[string]string{}, map[string]string{}
				if from <= 0 {
					flags[row.Name] = src.flag
				}
				if from <= 1 {
					vars[Variable(row.Name)] = src.env
				}
				if from <= 2 && src.handler != none {
					flags["handler"] = write(t, "handler.yaml", "kind: bigpanda\noptions: {"+row.Name+": '"+src.handler+"'}\n")
				}
				if from <= 3 && src.config != none {
					vars["BIGPANDA_CONFIG"] = write(t, "k.conf", "[bigpanda]\n"+row.Name+" = "+src.config+"\n")
				}
				s, err := Resolve(flags, environment(vars))
				if err != nil {
					t.Fatal(err)
				}
				if got := src.get(s); got != src.want[from] {
					t.Errorf("it is %v, want %v", got, src.want[from])
				}
			})
		}
	}
}

// A variable that was made of a file ends with the file's newline.
func TestWhiteSpaceAroundVariables(t *testing.T) {
	for name, src := range everySetting {
		for _, text := range []string{src.env + "\n", src.env + "\r", " " + src.env + " "} {
			s, err := Resolve(nil, environment(map[string]string{Variable(name): text}))
			if got := src.get(s); err != nil || got != src.want[1] {
				t.Errorf("%s is %q: got %v and error %v, want %v", Variable(name), text, got, err, src.want[1])
			}
		}
		s, err := Resolve(nil, environment(map[string]string{Variable(name): "\n"}))
		if got := src.get(s); err != nil || name != "outbox" && got != src.want[4] {
			t.Errorf("%s is a newline: got %v and error %v, want %v", Variable(name), got, err, src.want[4])
		}
	}
	s, err := Resolve(nil, environment(map[string]string{"BIGPANDA_TOKEN": testToken + "\n"}))
	if err != nil || s.Token != testToken {
		t.Errorf("the token is %q, error %v", s.Token, err)
	}
}

func TestTokenPrecedence(t *testing.T) {
	for _, tt := range []struct {
		name        string
		flags, vars map[string]string
		config      string
		token, file string
	}{
		{name: "none"},
		{name: "environment", vars: map[string]string{"BIGPANDA_TOKEN": "e"}, token: "e"},
		{name: "config", config: `token = "c"`, token: "c"},
		{name: "empty in the config", config: `token = ""`},
		{name: "environment over config", vars: map[string]string{"BIGPANDA_TOKEN": "e"}, config: `token = "c"`, token: "e"},
		{name: "environment over a file in the config", vars: map[string]string{"BIGPANDA_TOKEN": "e"}, config: `token-file = "/c"`, token: "e"},
		{name: "a flag over the environment", flags: map[string]string{"token-file": "/f"}, vars: map[string]string{"BIGPANDA_TOKEN": "e"}, file: "/f"},
		{name: "the file of two in the environment", vars: map[string]string{"BIGPANDA_TOKEN": "e", "BIGPANDA_TOKEN_FILE": "/e"}, file: "/e"},
		{name: "the file of two in the config", config: "token = 'c'\ntoken-file = '/c'", file: "/c"},
		{name: "a file in the environment over the config", vars: map[string]string{"BIGPANDA_TOKEN_FILE": "/e"}, config: `token = "c"`, file: "/e"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flags := map[string]string{"config": write(t, "k.conf", "[bigpanda]\n"+tt.config)}
			for name, text := range tt.flags {
				flags[name] = text
			}
			s, err := Resolve(flags, environment(tt.vars))
			if err != nil || s.Token != tt.token || s.TokenFile != tt.file {
				t.Errorf("token %q and file %q (%v), want %q and %q", s.Token, s.TokenFile, err, tt.token, tt.file)
			}
		})
	}
}

// All tokens are secrets, also those that another one beat.
func TestEveryTokenIsSecret(t *testing.T) {
	flags := map[string]string{"token-file": "/f", "config": write(t, "k.conf", "[bigpanda]\ntoken = 'c'")}
	s, err := Resolve(flags, environment(map[string]string{"BIGPANDA_TOKEN": "e"}))
	if want := []string{"e", "c"}; err != nil || !slices.Equal(s.Secrets, want) {
		t.Errorf("the secrets are %v (%v), want %v", s.Secrets, err, want)
	}
}

func TestBadValues(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"batch-size", "0", "write a whole number from 1"},
		{"batch-size", "many", "write a whole number from 1"},
		{"connections", "-1", "write a whole number from 1"},
		{"connections", "1.5", "write a whole number from 1"},
		{"rate", "-1", "write requests a second"},
		{"rate", "NaN", "write requests a second"},
		{"rate", "Inf", "write requests a second"},
		{"rate", "5/s", "write requests a second"},
		{"timeout", "0", "write 1ms or more"},
		{"timeout", "-1s", "write 1ms or more"},
		{"timeout", "10", "such as 10s"},
		{"drain-timeout", "-1s", "write 0s or more"},
		{"drain-timeout", "soon", "such as 10s"},
		{"enabled", "maybe", "write true or false"},
		{"insecure-skip-verify", "maybe", "write true or false"},
		{"outbox-max-size", "1kB", "write a size of 1.0 MiB or more"},
		{"outbox-max-size", "-1", "write a size of 1.0 MiB or more"},
		{"max-frame", "1MiB", "write a size of 64 MiB or more"},
		{"edge", "batches", "write stream or batch"},
		{"auto-attributes", "tags,colours", "write tags, fields, tags,fields or none"},
		{"log-level", "loud", "write debug, info, warn or error"},
		{"log-format", "xml", "write logfmt or json"},
	} {
		t.Run(tt.name+" "+tt.text, func(t *testing.T) {
			_, err := Resolve(nil, environment(map[string]string{Variable(tt.name): tt.text}))
			want := fmt.Sprintf("%s is %q: ", Variable(tt.name), tt.text)
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %s…%s", err, want, tt.want)
			}
		})
	}
}

// The others hold when one is wrong: the log says what is wrong as it was told.
func TestBadValueLeavesOthers(t *testing.T) {
	s, err := Resolve(map[string]string{"rate": "x", "log-format": "json"}, environment(nil))
	if err == nil || s.LogFormat != FormatJSON {
		t.Errorf("error %v, log format %q", err, s.LogFormat)
	}
}

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                         "plain",
		"https://user:secret@host/path": "https://…@host/path",
		"https://host/path":             "https://host/path",
		strings.Repeat("x", 1000):       strings.Repeat("x", 200) + "… (800 bytes more)",
	} {
		if got := Shown(text); got != want {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
}

func TestPlainHTTPIsWarnedOf(t *testing.T) {
	for url, want := range map[string]int{
		"http://127.0.0.1:1/x": 0, "http://localhost/x": 0, "http://[::1]/x": 0, "https://bigpanda.example/x": 0, "http://bigpanda.example/x": 1,
	} {
		s, err := Resolve(map[string]string{"url": url}, environment(nil))
		if err != nil || len(s.Warnings) != want {
			t.Errorf("%s is warned of by %q (%v)", url, s.Warnings, err)
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"app-key", "token-file", "timeout", "rate"}
	for word, want := range map[string]string{
		"appKey": "app-key", "APP_KEY": "app-key", "app-kye": "app-key", "tokenfile": "token-file", "token": "token-file",
		"time-out": "timeout", "timeot": "timeout", "rates": "rate", "r": "", "": "", "colour": "", "-": "",
	} {
		if got := nearest(word, candidates); got != want {
			t.Errorf("nearest(%q) is %q, want %q", word, got, want)
		}
	}
}
