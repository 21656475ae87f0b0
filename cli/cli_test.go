package cli

import (
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// A folder for outboxes that a group may write is refused, and t.TempDir makes such
// ones where the umask is 002.
func init() { syscall.Umask(0o022) }

// testToken is in the environment of nearly every test, testQuery in the URL and
// testPassword in the proxy of some, and none of them in any output (P9): run looks
// for them.
const (
	testToken    = "t0ken-of-the-tests-4711"
	testQuery    = "qu3ry-of-the-tests"
	testPassword = "pa55word-of-the-tests"
)

// result is what a run of the program left behind.
type result struct {
	code           int
	stdout, stderr string
}

// environment looks names up in a map.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// run runs the whole program in this process.
func run(t *testing.T, stdin io.Reader, vars map[string]string, args ...string) result {
	t.Helper()
	return runOn(t, false, stdin, vars, args...)
}

func runOn(t *testing.T, terminal bool, stdin io.Reader, vars map[string]string, args ...string) result {
	t.Helper()
	p := Process{Stdin: stdin, IsTerminal: func(any) bool { return terminal }, passingFileSystem: lasting}
	return runProcess(t, p, vars, args...)
}

func runProcess(t *testing.T, p Process, vars map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr test.LogBuffer
	if vars = maps.Clone(vars); vars == nil {
		vars = make(map[string]string)
	}
	if _, set := vars["XDG_STATE_HOME"]; !set {
		vars["XDG_STATE_HOME"] = t.TempDir()
	}
	p.Args, p.Stdout, p.Stderr, p.LookupEnv = args, &stdout, &stderr, environment(vars)
	code := Run(t.Context(), p)
	r := result{code, stdout.String(), stderr.String()}
	for _, secret := range []string{testToken, testQuery, testPassword} {
		if strings.Contains(r.stdout+r.stderr, secret) {
			t.Errorf("P9: %q shows %s:\n%s\n%s", args, secret, r.stdout, r.stderr)
		}
	}
	shown := r.stderr
	if len(args) > 0 && slices.Contains([]string{"send", "sandbox", "demo", "replay", "check", "outbox", "version"}, args[0]) {
		shown += r.stdout // in function mode it is frames
	}
	if i := strings.IndexFunc(shown, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
		t.Errorf("%q shows %q, which a terminal obeys or nobody sees", args, shown[i:min(len(shown), i+20)])
	}
	return r
}

// newAPI starts a sandbox that takes testToken, and returns it with the
// address of its Alerts API.
func newAPI(t *testing.T, f sandbox.Faults) (*sandbox.Server, string) {
	t.Helper()
	api := sandbox.New(sandbox.Options{Token: testToken, Faults: f})
	server := httptest.NewServer(api)
	t.Cleanup(func() {
		api.Close()
		server.Close()
	})
	return api, server.URL + sandbox.Path
}

// write writes a file and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		terminal bool
		args     []string
		code     int
		stdout   string // a part
		stderr   string // a part
	}{
		{name: "help", args: []string{"--help"}, stdout: "Usage: bigpanda-udf [<command>] [flags]"},
		{name: "help lists the function's flags", args: []string{"-h"}, stdout: "--drain-timeout=TIME"},
		{name: "help names variables", args: []string{"--help"}, stdout: "[BIGPANDA_DRAIN_TIMEOUT]"},
		{name: "help as a word", args: []string{"help"}, stdout: "Commands:"},
		{name: "help of a command", args: []string{"help", "send"}, stdout: "Usage: bigpanda-udf send [flags]"},
		{name: "help of a command as a flag", args: []string{"sandbox", "--help"}, stdout: "Faults, from the start:"},
		{name: "help of an unknown command", args: []string{"help", "sned"}, code: 2, stderr: `bigpanda-udf help: unknown command "sned": did you mean "send"?`},
		{name: "version as a flag", args: []string{"--version"}, stdout: "bigpanda-udf "},
		{name: "a terminal in function mode", terminal: true, code: 2, stderr: "try bigpanda-udf demo"},
		{name: "an unknown command on a terminal", terminal: true, args: []string{"sned"}, code: 2, stderr: `bigpanda-udf: unknown command "sned": did you mean "send"?`},
		{name: "an unknown word like no command", terminal: true, args: []string{"everything"}, code: 2, stderr: `unknown command "everything": see bigpanda-udf --help`},
		{name: "an unknown flag on a terminal", terminal: true, args: []string{"--conections=2"}, code: 2, stderr: "unknown flag --conections: did you mean --connections?"},
		{name: "a flag with one hyphen", terminal: true, args: []string{"-url=x"}, code: 2, stderr: "unknown flag -url: did you mean --url?"},
		{name: "the token as a flag", terminal: true, args: []string{"--token=" + testToken}, code: 2, stderr: "--token is no flag"},
		{name: "the token as a flag of send", args: []string{"send", "--token", testToken}, code: 2, stderr: "set BIGPANDA_TOKEN"},
		{name: "a flag before the command", args: []string{"--url", "ftp://x", "send", "--app-key=k"}, code: 2, stderr: "--url: use url"},
		{name: "a value that is a command's name", terminal: true, args: []string{"--config", "send"}, code: 2, stderr: "kapacitord starts it"},
		{name: "a value that is missing", args: []string{"sandbox", "--latency"}, code: 2, stderr: "--latency needs a value: write --latency=…"},
		{name: "a value of the wrong kind", args: []string{"sandbox", "--latency=x"}, code: 2, stderr: `bigpanda-udf sandbox: --latency: expected duration but got "x"`},
		{name: "a flag of another command", args: []string{"version", "--url=x"}, code: 2, stderr: "unknown flag --url: see bigpanda-udf version --help"},
		{name: "the function by a name", terminal: true, args: []string{"function"}, code: 2, stderr: `unknown command "function": see bigpanda-udf --help`},
		{name: "a command behind the end of flags", args: []string{"--", "version"}, stdout: "bigpanda-udf "},
		{name: "a word too many", args: []string{"version", "now"}, code: 2, stderr: "unexpected argument now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := runOn(t, tt.terminal, strings.NewReader(""), map[string]string{"BIGPANDA_TOKEN": testToken}, tt.args...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			if !strings.Contains(r.stdout, tt.stdout) || tt.stdout == "" && r.stdout != "" {
				t.Errorf("stdout %q, want %q in it", r.stdout, tt.stdout)
			}
			if !strings.Contains(r.stderr, tt.stderr) || tt.stderr == "" && r.stderr != "" {
				t.Errorf("stderr %q, want %q in it", r.stderr, tt.stderr)
			}
		})
	}
}

func TestEnvironmentOfCommandFlags(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"BIGPANDA_SANDBOX_LATENCY": "x", "BIGPANDA_SANDBOX_LISTEN": "nowhere"}
	r := run(t, nil, vars, "sandbox")
	if want := "BIGPANDA_SANDBOX_LATENCY: --latency: expected duration"; r.code != 2 || !strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d and %q, want 2 and %q", r.code, r.stderr, want)
	}
	vars["BIGPANDA_SANDBOX_LATENCY"] = "1s\r\n" // of a file
	if r := run(t, nil, vars, "sandbox"); !strings.Contains(r.stderr, `--listen is "nowhere"`) {
		t.Errorf("exit code %d and %q", r.code, r.stderr)
	}
	r = run(t, nil, vars, "sandbox", "--latency=1s")
	if want := `--listen is "nowhere"`; r.code != 2 || !strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d and %q, want 2 and %q", r.code, r.stderr, want)
	}
}
