package cli

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/test"
)

func TestCheckUsage(t *testing.T) {
	t.Parallel()
	conf := write(t, "k.conf", "[udf.functions.bigpanda]\nprog = 'bigpanda-udf'\n")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a function of nothing", []string{"--function=x"}, "add --kapacitor-conf FILE, or leave it out"},
		{"a setting beside a kapacitor.conf", []string{"--url=x", "--kapacitor-conf", conf}, "--url means nothing with --kapacitor-conf: only what stands in that file counts"},
		{"a kapacitor.conf that is not there", []string{"--kapacitor-conf=nowhere"}, "--kapacitor-conf: open nowhere: no such file or directory"},
		{"a kapacitor.conf that is none", []string{"--kapacitor-conf", write(t, "x.conf", "\ntoken = "+testToken)}, "is nothing that kapacitord would read in line 2: correct it"},
		{"sections that stand there twice", []string{"--kapacitor-conf", write(t, "twice.conf", "[udf]\n[udf.functions]\n\n[udf]\n[udf.functions]\n  [udf.functions.bigpanda]\n    timeout = '10s'\n")},
			"twice.conf: the section [udf] stands a second time in line 4: leave that line out; the section [udf.functions] stands a second time in line 5: leave that line out\n"},
		{"a section with keys that stands there twice", []string{"--kapacitor-conf", write(t, "keys.conf", "[bigpanda]\nenabled = false\n[bigpanda] # mine\n# its token\ntoken = '"+testToken+"'\n")},
			"keys.conf: the section [bigpanda] stands a second time in line 3: leave that line out, and move what is below it to the first [bigpanda]\n"},
		{"a key that stands there twice", []string{"--kapacitor-conf", write(t, "key.conf", "[bigpanda]\ntoken = '"+testToken+"'\ntoken = '"+testToken+"'\n")},
			"key.conf: the key bigpanda.token stands a second time in line 3: keep one\n"},
		{"an environment that is no text", []string{"--kapacitor-conf", write(t, "y.conf", "[udf.functions.x.env]\nA = 1")}, "is nothing that kapacitord would read"},
		{"a misspelt function", []string{"--kapacitor-conf", conf, "--function=bigpnda"}, "has no section [udf.functions.bigpnda]: did you mean bigpanda?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, nil, nil, append([]string{"check"}, tt.args...)...)
			if r.code != 2 || r.stdout != "" || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("exit code %d, stdout %s, stderr %s, want %q", r.code, r.stdout, r.stderr, tt.want)
			}
		})
	}
	r := run(t, nil, nil, "check", "--kapacitor-conf", write(t, "z.conf", "[udf.functions.x]\nprog = '/bin/x'\n"))
	if r.code != 1 || !strings.Contains(r.stderr, "has no [udf.functions.NAME] whose prog is bigpanda-udf: paste kapacitor.conf.snippet") {
		t.Errorf("without a function: exit code %d, stderr %s", r.code, r.stderr)
	}
}

// A kapacitor.conf is checked as kapacitord would use it, and not with what the
// caller has in the environment.
func TestCheckKapacitorConf(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	type section map[string]string
	for _, tt := range []struct {
		name   string
		change func(r *checkRig, function, env section)
		code   int
		want   string
	}{
		{"all is well: the program", nil, 0, "ok  prog  " + program + ", which "},
		{"all is well: the arguments", nil, 0, "ok  args  []\n"},
		{"all is well: the timeout", nil, 0, "ok  function's timeout  10s\n"},
		{"all is well: the environment", nil, 0, "ok  app-key  of-the-file (BIGPANDA_APP_KEY)\n"},
		{"all is well: the token", nil, 0, "ok  token  accepted: "},
		{"the default outbox is the user's", func(_ *checkRig, _, env section) { delete(env, "BIGPANDA_OUTBOX") }, 0, "/.local/state/bigpanda-udf (default)\n"},
		{"no timeout", func(_ *checkRig, f, _ section) { delete(f, "timeout") }, 1, `fail  function's timeout  there is none, without which kapacitord does not start; write timeout = "10s"`},
		{"a timeout that is a number", func(_ *checkRig, f, _ section) { f["timeout"] = "10" }, 1, "fail  function's timeout  10 is no duration, so kapacitord does not start"},
		{"a timeout that kapacitord does not take", func(_ *checkRig, f, _ section) { f["timeout"] = "'1ms'" }, 1, "fail  function's timeout  1ms is too short for kapacitord to start"},
		{"a short timeout", func(_ *checkRig, f, _ section) { f["timeout"] = "'1s'" }, 1, "warn  function's timeout  1s is short"},
		{"a long timeout", func(_ *checkRig, f, _ section) { f["timeout"] = "'1h'" }, 1, "warn  function's timeout  1h0m0s is long"},
		{"a program that is not there", func(_ *checkRig, f, _ section) { f["prog"] = "'/nowhere/bigpanda-udf'" }, 1, "fail  prog  /nowhere/bigpanda-udf: no such file or directory; install the program where everybody may execute it"},
		{"a folder for a program", func(r *checkRig, f, _ section) { f["prog"] = "'" + r.folder("bigpanda-udf", 0o700) + "'" }, 1, "fail  prog  DIR/bigpanda-udf is no file"},
		{"a program that nobody may execute", func(r *checkRig, f, _ section) { f["prog"] = "'" + r.file("bigpanda-udf", "", 0o644) + "'" }, 1, " may not execute DIR/bigpanda-udf (-rw-r--r--, of "},
		{"another program", func(r *checkRig, f, _ section) { f["prog"] = "'" + r.file("bigpanda-udf", "", 0o755) + "'" }, 0, "note  prog  DIR/bigpanda-udf is another file than this program"},
		{"a program in no PATH", func(_ *checkRig, f, _ section) { f["prog"] = "'no-bigpanda-udf'" }, 1, "fail  prog  no-bigpanda-udf is not in the PATH"},
		{"a program in the PATH", func(_ *checkRig, f, _ section) { f["prog"] = "'bigpanda-udf'" }, 0, "note  prog  bigpanda-udf is looked up in kapacitord's PATH: here it is /"},
		{"a wrong argument", func(_ *checkRig, f, _ section) { f["args"] = "['--conections', '3']" }, 1, "fail  args  unknown flag --conections: did you mean --connections?"},
		{"an argument that is a command", func(_ *checkRig, f, _ section) { f["args"] = "['sandbox']" }, 1, `fail  args  ["sandbox"] make it a command, and no function`},
		{"arguments that are settings", func(_ *checkRig, f, _ section) { f["args"] = "['--connections', '3']" }, 0, "ok  connections  3 (--connections)\n"},
		{"a misspelt variable", func(_ *checkRig, _, env section) { env["BIGPANDA_APPKEY"] = "'x'" }, 1, "warn  env  BIGPANDA_APPKEY is no setting, and is not looked at; did you mean BIGPANDA_APP_KEY?"},
		{"a variable that only the caller has", func(_ *checkRig, _, env section) { delete(env, "BIGPANDA_TOKEN_FILE") }, 1, "fail  token  no token: "},
		{"the token in a file for all", func(_ *checkRig, _, env section) { env["BIGPANDA_TOKEN"] = "'" + testToken + "'" }, 1, "warn  kapacitor.conf  DIR/kapacitor.conf holds the token, and others may open it (-rw-r--r--)"},
		{"a relative file", func(_ *checkRig, _, env section) { env["BIGPANDA_OUTBOX"] = "'outbox'" }, 1, "warn  outbox folder  outbox counts from the folder that kapacitord runs in; write the full path"},
		{"a proxy of its own", func(_ *checkRig, _, env section) {
			env["HTTPS_PROXY"], env["BIGPANDA_URL"] = "'http://127.0.0.1:1'", "'https://nowhere.invalid'"
		}, 1, "ok  proxy  127.0.0.1:1\n"},
		{"every alert twice", func(r *checkRig, f, _ section) { f["args"] = "[]\n[bigpanda]\nenabled = true\nglobal = true" }, 1, "warn  [bigpanda]  every alert is sent twice: "},
		{"both a socket and a program", func(_ *checkRig, f, _ section) { f["socket"] = "'/x'" }, 1, "fail  socket  both a socket and a program are given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newCheckRig(t)
			function := section{"prog": "'" + program + "'", "args": "[]", "timeout": "'10s'"}
			env := section{}
			for name, text := range r.vars {
				env[name] = "'" + text + "'"
			}
			env["BIGPANDA_APP_KEY"] = "'of-the-file'"
			if tt.change != nil {
				tt.change(r, function, env)
			}
			var b strings.Builder
			b.WriteString("[udf.functions.bp.env]\n")
			writeSection(&b, env)
			b.WriteString("[udf.functions.bp]\n")
			writeSection(&b, function)
			r.args = []string{"--kapacitor-conf", r.file("kapacitor.conf", b.String(), 0o644), "--function=bp"}
			r.vars["BIGPANDA_CONNECTIONS"] = "77" // the caller's do not count
			res, lines := r.run()
			if res.code != tt.code || !strings.Contains(lines, tt.want) || strings.Contains(lines, "connections  77") {
				t.Errorf("exit code %d, want %d and %q in\n%s%s", res.code, tt.code, tt.want, lines, res.stderr)
			}
		})
	}
}

// The function for replays that docs/ shows is well as it stands.
func TestCheckQuietFunctionOfDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/what-happens-when.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "[udf.functions.bigpandaQuiet]\n")
	section, _, _ = strings.Cut(section, "```")
	if !found || !strings.Contains(section, "--enabled=false") {
		t.Fatalf("the page shows %q", section)
	}
	r := newCheckRig(t)
	r.vars = nil
	r.args = []string{"--kapacitor-conf", r.file("k.conf", "[udf.functions.bigpandaQuiet]\n"+installed(t, section), 0o600)}
	res, lines := r.run()
	if res.code != 0 || res.stderr != "" || strings.Count(lines, "switched off") != 1 {
		t.Errorf("exit code %d, %s%s", res.code, lines, res.stderr)
	}
	for _, of := range []string{"  token  ", "  app-key  there is none", "  lookup  ", "  connect  ", "  answer  "} {
		if strings.Contains(lines, of) {
			t.Errorf("a line%sin\n%s", of, lines)
		}
	}
}

// installed is a kapacitor.conf with this program's path.
func installed(t *testing.T, conf string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(conf, "/usr/local/bin/bigpanda-udf", program)
}

// Whoever takes the comment from a setting of the snippet finds it in both
// functions.
func TestCheckSnippetWithItsComments(t *testing.T) {
	t.Parallel()
	snippet, err := os.ReadFile("../kapacitor.conf.snippet")
	if err != nil {
		t.Fatal(err)
	}
	r := newCheckRig(t)
	conf := installed(t, strings.NewReplacer(
		"# BIGPANDA_", "BIGPANDA_",
		"/var/lib/kapacitor/bigpanda-udf", r.vars["BIGPANDA_OUTBOX"],
		"https://eu-api.bigpanda.io/data/v2/alerts", r.vars["BIGPANDA_URL"],
		"/etc/kapacitor/bigpanda.token", r.vars["BIGPANDA_TOKEN_FILE"],
		placeholderAppKey, "k",
	).Replace(string(snippet)))
	r.args = []string{"--kapacitor-conf", r.file("k.conf", conf, 0o600)}
	url := r.vars["BIGPANDA_URL"]
	r.vars = nil
	_, lines := r.run()
	for _, want := range []string{"ok  outbox  DIR/outbox (BIGPANDA_OUTBOX)\n", "ok  url  " + url + " (BIGPANDA_URL)\n", "ok  token  accepted: "} {
		if n := strings.Count(lines, want); n != 2 {
			t.Errorf("%d times %q in\n%s", n, want, lines)
		}
	}
}

func writeSection(b *strings.Builder, s map[string]string) {
	names := slices.Sorted(maps.Keys(s))
	if i := slices.Index(names, "args"); i >= 0 { // last, as a test may begin another section behind it
		names = append(slices.Delete(names, i, i+1), "args")
	}
	for _, name := range names {
		fmt.Fprintf(b, "%s = %s\n", name, s[name])
	}
}

func TestCheckSocketFunction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(test.SocketDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		name, socket string
		code         int
		want         string
	}{
		{"one that listens", path, 0, "ok    socket                " + path + ", which "},
		{"none", path + "x", 1, "no such file or directory; start the process that listens there before kapacitord"},
		{"a file", write(t, "s", ""), 1, "is no socket; start"},
	} {
		conf := write(t, "k.conf", fmt.Sprintf("[udf.functions.bigpanda]\nsocket = %q\ntimeout = '10s'\n", tt.socket))
		r := run(t, nil, nil, "check", "--kapacitor-conf", conf)
		if r.code != tt.code || !strings.Contains(r.stdout, tt.want) {
			t.Errorf("%s: exit code %d, want %d and %q in\n%s%s", tt.name, r.code, tt.code, tt.want, r.stdout, r.stderr)
		}
	}
}
