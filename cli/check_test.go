package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/sandbox"
)

// What is wrong has a line of its own, with the cause and a hint.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		damage func(r *checkRig)
		code   int
		want   string // a part
	}{
		{"all is well: the token", func(*checkRig) {}, 0, "ok  token  accepted: what is no alert gets 400 Bad Request with it, and 401 with another\n"},
		{"all is well: where a setting is from", func(r *checkRig) { r.args = []string{"--rate=5"} }, 0, "ok  rate  5 (--rate)\n"},
		{"all is well: a default", func(*checkRig) {}, 0, "ok  batch-size  500 (default)\n"},
		{"all is well: files", func(*checkRig) {}, 0, "ok  token file  DIR/token, which "},
		{"all is well: the outbox", func(*checkRig) {}, 0, "ok  outbox folder  DIR/outbox, which "},
		{"an outbox that is still to be made", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] += "/a/b" }, 0, "ok  outbox folder  DIR/outbox/a/b is not there yet: "},
		{"certificates", func(r *checkRig) { r.certified(9999 * time.Hour) }, 0, "ok  tls  TLS 1.3, certificate of 127.0.0.1 by ours, until "},

		// Settings.
		{"a bad setting", func(r *checkRig) { r.vars["BIGPANDA_TIMEOUT"] = "soon" }, 1, `fail  settings  BIGPANDA_TIMEOUT is "soon": write a number with its unit`},
		{"a bad URL", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "ftp://x" }, 1, "fail  token  BIGPANDA_URL: use url: it does not begin with https://"},
		{"no app key", func(r *checkRig) { delete(r.vars, "BIGPANDA_APP_KEY") }, 0, "note  app-key  there is none: tasks that set none fail at Init; set --app-key (BIGPANDA_APP_KEY), or .appKey('…') in every task\n"},
		{"switched off", func(r *checkRig) { r.args = []string{"--enabled=false"} }, 0, "note  enabled  switched off: points pass, and nothing is sent, so token, app key, outbox and the connection to BigPanda are not looked at; leave it out to send alerts\n"},
		{"every alert twice", func(r *checkRig) {
			r.vars["BIGPANDA_CONFIG"] = r.file("k.conf", "[bigpanda]\nenabled = true\nglobal = true", 0o600)
		}, 1, "warn  settings  every alert is sent twice: [bigpanda] in DIR/k.conf"},
		{"the token in plain text", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "http://nowhere.invalid/" }, 1, "warn  settings  url is http: the token crosses the network unencrypted, use https\n"},

		// Topic handlers.
		{"a handler file", func(r *checkRig) { r.handler("cpu.yaml", "kind: bigpanda\noptions: {app-key: own}") }, 0, "ok  handler cpu  DIR/cpu.yaml, app key own\n"},
		{"a handler file without an app key", func(r *checkRig) { r.handler("cpu.json", `{"kind": "bigpanda"}`) }, 0, "ok  handler cpu  DIR/cpu.json, app key "},
		{"a handler file with a match", func(r *checkRig) { r.handler("cpu.yaml", "kind: bigpanda\nmatch: changed()") }, 1,
			"fail  handler cpu  handler file DIR/cpu.yaml: match belongs into the post handler, which bigpanda-udf topic-handler prints: remove it here\n"},
		{"a handler file with another URL", func(r *checkRig) { r.handler("cpu.yaml", "kind: bigpanda\noptions: {url: 'https://x.example/'}") }, 1,
			"fail  handler cpu  handler file DIR/cpu.yaml: option url is not that of the daemon, which has one for all: remove it, or start another daemon with --url\n"},
		{"a handler file that asks for the group", func(r *checkRig) { r.handler("cpu.yaml", "kind: bigpanda\noptions: {host: '{{ .Group }}'}") }, 1,
			"fail  handler cpu  handler file DIR/cpu.yaml: a template asks for .Group, which is not in the events of a topic: use .Tags\n"},
		{"a handler file with a bad duration", func(r *checkRig) { r.handler("cpu.yaml", "kind: bigpanda\noptions: {max-age: soon}") }, 1,
			`fail  handler cpu  handler file DIR/cpu.yaml: option max-age is "soon": write a duration, such as 10m or 1d`},
		{"no folder of handler files", func(r *checkRig) { r.args = []string{"--handlers=/nonexistent"} }, 1,
			"fail  handlers  read the folder of handler files: open /nonexistent: no such file or directory: name one that this user may read\n"},
		{"no handler file", func(r *checkRig) { r.handler("cpu.txt", "") }, 0, "note  handlers  DIR has no handler files; put NAME.yaml there for each handler that has options of its own\n"},

		// Files.
		{"no token", func(r *checkRig) { delete(r.vars, "BIGPANDA_TOKEN_FILE") }, 1, "fail  token  no token: set BIGPANDA_TOKEN or BIGPANDA_TOKEN_FILE"},
		{"no token, but the connection to BigPanda", func(r *checkRig) { delete(r.vars, "BIGPANDA_TOKEN_FILE") }, 1, "ok  answer  401 Unauthorized, without a token\n"},
		{"a token file that is a pipe", func(r *checkRig) {
			r.vars["BIGPANDA_TOKEN_FILE"] = r.dir + "/pipe"
			if err := syscall.Mkfifo(r.dir+"/pipe", 0o600); err != nil {
				r.t.Fatal(err)
			}
		}, 1, "fail  token file  DIR/pipe is no file; set --token-file (BIGPANDA_TOKEN_FILE) to a file that "},
		{"the app key of the example", func(r *checkRig) { r.vars["BIGPANDA_APP_KEY"] = placeholderAppKey }, 1,
			"warn  app-key  " + placeholderAppKey + " is only the example's; put the integration's app key in its place\n"},
		{"a token file that is not there", func(r *checkRig) { r.vars["BIGPANDA_TOKEN_FILE"] = r.dir + "/none" }, 1,
			"fail  token file  it cannot be looked at: DIR/none: no such file or directory; set --token-file (BIGPANDA_TOKEN_FILE) to a file that "},
		{"a token in the place of its file", func(r *checkRig) { r.vars["BIGPANDA_TOKEN_FILE"] = testToken }, 1, "fail  token file  it cannot be looked at: [token]: no such"},
		{"a folder for a token file", func(r *checkRig) { r.vars["BIGPANDA_TOKEN_FILE"] = r.dir }, 1, "fail  token file  DIR is a folder"},
		{"an empty token file", func(r *checkRig) { r.vars["BIGPANDA_TOKEN_FILE"] = r.file("empty", "", 0o600) }, 1, "fail  token  BIGPANDA_TOKEN_FILE: read token file DIR/empty: it is empty"},
		{"a token file for all", func(r *checkRig) { os.Chmod(r.dir+"/token", 0o644) }, 1,
			"warn  token file  DIR/token holds the token, and others may open it (-rw-r--r--); chmod 600 DIR/token\n"},
		{"a token in a config file for all", func(r *checkRig) {
			r.vars["BIGPANDA_CONFIG"] = r.file("k.conf", "[bigpanda]\ntoken = '"+testToken+"'", 0o604)
		}, 1, "warn  config file  DIR/k.conf holds the token, and others may open it (-rw----r--); chmod 600"},
		{"a config file that others may change", func(r *checkRig) {
			r.vars["BIGPANDA_CONFIG"] = r.file("k.conf", "[bigpanda]", 0o666)
		}, 1, "warn  config file  others may change DIR/k.conf (-rw-rw-rw-); chmod go-w"},
		{"a config file that is none", func(r *checkRig) { r.vars["BIGPANDA_CONFIG"] = r.file("k.conf", "x", 0o600) }, 1, "fail  settings  config file DIR/k.conf is not TOML in line 1"},
		{"a CA file that is none", func(r *checkRig) { r.vars["BIGPANDA_CA_FILE"] = r.file("ca", "x", 0o600) }, 1, "fail  token  BIGPANDA_CA_FILE: read CA file DIR/ca: it holds no certificate"},

		// The outbox.
		{"an outbox in memory", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] = "memory" }, 1, "warn  outbox folder  in memory: what is not delivered when the process is killed is lost; set --outbox"},
		{"no folder for the outbox", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"], r.vars["XDG_STATE_HOME"] = "", "" }, 1, "fail  outbox folder  no folder, as neither HOME nor XDG_STATE_HOME is set; set --outbox"},
		{"a file for an outbox", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] = r.dir + "/token" }, 1, "fail  outbox folder  DIR/token is no folder; set --outbox"},
		{"an outbox below a file", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] = r.dir + "/token/x" }, 1, "fail  outbox folder  it cannot be looked at: DIR/token/x: not a directory; set --outbox"},
		{"an outbox for all", func(r *checkRig) { os.Chmod(r.dir+"/outbox", 0o755) }, 1, "warn  outbox folder  others may look into DIR/outbox (drwxr-xr-x, of "},
		{"an outbox that others may write", func(r *checkRig) { os.Chmod(r.dir+"/outbox", 0o777) }, 1, "fail  outbox folder  others may write to DIR/outbox (drwxrwxrwx); chmod 700 DIR/outbox, or set --outbox"},
		{"an outbox that a group may write", func(r *checkRig) { os.Chmod(r.dir+"/outbox", 0o770) }, 1, "fail  outbox folder  others may write to DIR/outbox (drwxrwx---); chmod 700"},
		{"an outbox where others may put another", func(r *checkRig) { os.Chmod(r.dir, 0o777) }, 1, "warn  outbox folder  others may put another folder in the place of DIR/outbox, as they may write to DIR; chmod +t DIR\n"},
		{"an outbox that goes with its container", func(r *checkRig) { r.onFileSystem("overlay") }, 1,
			"warn  outbox folder  DIR/outbox is on overlay: what was not delivered is lost with the container, or with the machine's next start; mount a volume there, or set --outbox"},
		{"an outbox to be made, in memory", func(r *checkRig) { r.onFileSystem("tmpfs"); r.vars["BIGPANDA_OUTBOX"] += "/a" }, 1, "warn  outbox folder  DIR/outbox is on tmpfs: "},
		{"more queue than disk", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX_MAX_SIZE"] = "4EiB" }, 1, "and the queue may grow to 4.0 EiB; make room, or set --outbox-max-size"},

		// What is secret in addresses; run looks for it.
		{"a query", func(r *checkRig) { r.vars["BIGPANDA_URL"] += "?key=" + testQuery }, 0, "/data/v2/alerts?… (BIGPANDA_URL)\n"},
		{"a fragment", func(r *checkRig) { r.vars["BIGPANDA_URL"] += "#" + testQuery }, 0, "/data/v2/alerts?… (BIGPANDA_URL)\n"},
		{"the token in the query", func(r *checkRig) { r.vars["BIGPANDA_URL"] += "?Access_Token=" + testQuery }, 1, "BIGPANDA_URL: use url: it has an access_token, which would end up in logs: leave it out and set the token; it looks like https://api"},
		{"the token in the path", func(r *checkRig) { r.vars["BIGPANDA_URL"] += ";access%5Ftoken=" + testQuery }, 1, "/… (BIGPANDA_URL)\n"},
		{"the token as a part of the path", func(r *checkRig) { r.vars["BIGPANDA_URL"] += "/" + testToken }, 1, "/data/v2/alerts/[token] (BIGPANDA_URL)\n"},
		{"the token as the user", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "https://" + testQuery + "@h/" }, 1, "ok  url  https://…@h/ (BIGPANDA_URL)\n"},
		{"the token as the URL", func(r *checkRig) { r.vars["BIGPANDA_URL"] = testQuery }, 1, "ok  url  (not an address) (BIGPANDA_URL)\n"},
		{"a proxy's password", func(r *checkRig) {
			r.proxied(strings.Replace(r.proxy(http.StatusBadGateway), "://", "://user:"+testPassword+"@", 1))
		}, 1, "fail  proxy  the proxy answered 502 Bad Gateway"},
		{"a proxy's password, without http", func(r *checkRig) { r.proxied("user:" + testPassword + "@127.0.0.1:1") }, 1, "ok  proxy  127.0.0.1:1\n"},
		{"a proxy's password that makes it no address", func(r *checkRig) { r.proxied("http://user:" + testPassword + "%@h:1") }, 1, "warn  proxy  HTTPS_PROXY is no address"},

		// The connection to BigPanda.
		{"no such host", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "https://nowhere.invalid/" }, 1, "fail  lookup  dial tcp: look up nowhere.invalid: "},
		{"nobody listens", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "https://127.0.0.1:1/" }, 1, "fail  connect  dial tcp 127.0.0.1:1: connect: connection refused; check that 127.0.0.1:1 can be reached from here"},
		{"no TLS", func(r *checkRig) {
			r.vars["BIGPANDA_URL"] = strings.Replace(r.vars["BIGPANDA_URL"], "http:", "https:", 1)
		}, 1, "fail  tls  tls: first record does not look like a TLS handshake; check the URL"},
		{"a certificate that nobody vouches for", func(r *checkRig) { r.certified(time.Hour); delete(r.vars, "BIGPANDA_CA_FILE") }, 1, "certificate signed by unknown authority; check the URL and this machine's clock, and if a private CA signs for"},
		{"a certificate that is over", func(r *checkRig) { r.certified(-time.Minute) }, 1, "certificate has expired or is not yet valid"},
		{"a certificate that ends soon", func(r *checkRig) { r.certified(50 * time.Hour) }, 1, ": that is in 2 days; have it renewed\n"},
		{"a certificate that is not looked at", func(r *checkRig) { r.certified(time.Hour); r.args = []string{"--insecure-skip-verify"} }, 1, "not verified: anybody in between could read the token; name a private CA's certificate with --ca-file"},
		{"a proxy that is not there", func(r *checkRig) { r.proxied("http://127.0.0.1:1") }, 1, "ok  proxy  127.0.0.1:1\nfail  connect  proxyconnect tcp"},
		{"a proxy that is no address", func(r *checkRig) { r.proxied("%") }, 1, "warn  proxy  HTTPS_PROXY is no address, and is not used; set it to an address such as http://HOST:PORT\n"},
		{"a proxy that wants a password", func(r *checkRig) { r.proxied(r.proxy(http.StatusProxyAuthRequired)) }, 1, "fail  proxy  the proxy answered 407 Proxy Authentication Required; put the proxy's user name"},
		{"a host that needs no proxy", func(r *checkRig) {
			r.proxied("http://127.0.0.1:1")
			r.vars["NO_PROXY"] = "nowhere.invalid"
		}, 1, "ok  proxy  none for nowhere.invalid\nfail  lookup"},

		// What BigPanda says.
		{"a wrong token", func(r *checkRig) { r.file("token", "another", 0o600) }, 1, "answered 401 Unauthorized; check the token: it is the organisation's API token"},
		{"a token that is a word", func(r *checkRig) { r.file("token", "any", 0o600) }, 1, "fail  token  the token is shorter than 8 characters: what is so short is found in words, so it is not hidden where it is repeated; put the organisation's whole API token in its place\n"},
		{"an API that looks at no token first", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 400}) }, 0, "note  token  not refused, but whether it is right cannot be told: what is no alert gets 400 Bad Request with another, too; prove it with a test alert: bigpanda-udf send"},
		{"an API that takes what is no alert", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 201}) }, 0, "note  token  not refused, but"},
		{"a forbidden token", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 403}) }, 1, "fail  token  "},
		{"an app key that nobody knows, or another region", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 404}) }, 1, "answered 404 Not Found; check that the app key exists and that the URL is the one of the organisation's region"},
		{"a token or app key that the Open Integration Manager does not know", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 404}); r.oim() }, 1, "answered 404 Not Found; check that the URL is the one of the organisation's region, https://integrations.bigpanda.io/oim/api/alerts or, in the EU, https://eu.integrations.bigpanda.io/oim/api/alerts, and that app key and token are"},
		{"the Open Integration Manager", func(r *checkRig) { r.oim() }, 0, "ok  token  accepted: what is no alert gets 400 Bad Request with it, and 401 with another\n"},
		{"not found, without an app key", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 404}); delete(r.vars, "BIGPANDA_APP_KEY") }, 0, "answered 404 Not Found, which may be for want of an app key; set an app key, and check again"},
		{"another path", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 405}) }, 1, "answered 405 Method Not Allowed; check the URL: the Alerts API is https://api.bigpanda.io/data/v2/alerts or"},
		{"a redirect", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 302}) }, 1, "fail  answer  "},
		{"a login page", func(r *checkRig) { r.faulty(sandbox.Faults{Body: "<html>"}) }, 1, "the answer is not one of BigPanda's API"},
		{"down", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 503}) }, 1, "answered 503 Service Unavailable; check again later: the function keeps its alerts until then"},
		{"too much at once", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 429}) }, 1, "answered 429 Too Many Requests; check again later"},
		{"no answer", func(r *checkRig) { r.faulty(sandbox.Faults{Hang: true}); r.args = []string{"--timeout=1s"} }, 1, "fail  answer  no complete answer of"},
		{"a dropped connection", func(r *checkRig) { r.faulty(sandbox.Faults{Drop: true}) }, 1, "fail  answer  "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newCheckRig(t)
			tt.damage(r)
			res, lines := r.run()
			if res.code != tt.code {
				t.Errorf("exit code %d, want %d", res.code, tt.code)
			}
			if !strings.Contains(lines, tt.want) {
				t.Errorf("no %q in\n%s%s", tt.want, lines, res.stderr)
			}
			if (strings.Contains(lines, "fail  ") || strings.Contains(lines, "warn  ")) != (tt.code == 1) {
				t.Errorf("exit code %d for\n%s", res.code, lines)
			}
			if res.stderr != "" {
				t.Errorf("stderr is %q", res.stderr)
			}
			summary := regexp.MustCompile(`\n\n\d+ checks: (\d+) failed, (\d+) warned\n((?:(?:fail|warn)  .+\n)*)$`).FindStringSubmatch(lines)
			if summary == nil || (summary[1]+summary[2] == "00") != (tt.code == 0) || (summary[3] == "") != (tt.code == 0) {
				t.Errorf("exit code %d, and the end is %q of\n%s", res.code, summary, lines)
			}
			if events := r.api.Events(); len(events) > 0 {
				t.Errorf("check makes the events %v", events)
			}
		})
	}
}

// A function that is switched off needs neither what alerts are sent with nor
// where they wait; what fails its Init fails here, too.
func TestCheckSwitchedOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		damage func(r *checkRig)
		code   int
		want   string
	}{
		{"no token, no app key, no address", func(r *checkRig) { r.vars = map[string]string{"BIGPANDA_URL": "https://nowhere.invalid/"} }, 0, ""},
		{"a token file that is not there", func(r *checkRig) { r.vars["BIGPANDA_TOKEN_FILE"] = r.dir + "/none" }, 0, ""},
		{"a token file that others may open", func(r *checkRig) { os.Chmod(r.dir+"/token", 0o644) }, 0, ""},
		{"a CA file that is not there", func(r *checkRig) { r.vars["BIGPANDA_CA_FILE"] = r.dir + "/none" }, 0, ""},
		{"the app key of the example", func(r *checkRig) { r.vars["BIGPANDA_APP_KEY"] = placeholderAppKey }, 0, ""},
		{"no folder for the outbox", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"], r.vars["XDG_STATE_HOME"] = "", "" }, 0, ""},
		{"a wrong token", func(r *checkRig) { r.file("token", "another", 0o600) }, 0, ""},
		{"no TLS", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "http://nowhere.invalid/" }, 0, ""},
		{"a bad setting", func(r *checkRig) { r.vars["BIGPANDA_TIMEOUT"] = "soon" }, 1, `fail  settings  BIGPANDA_TIMEOUT is "soon"`},
		{"a config file that is not there", func(r *checkRig) { r.vars["BIGPANDA_CONFIG"] = r.dir + "/none" }, 1, "fail  config file  "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newCheckRig(t)
			r.args = []string{"--enabled=false"}
			tt.damage(r)
			res, lines := r.run()
			if res.code != tt.code || !strings.Contains(lines, tt.want) || strings.Count(lines, "note  enabled  switched off: ") != 1 {
				t.Errorf("exit code %d, want %d and %q in\n%s", res.code, tt.code, tt.want, lines)
			}
			if asked := r.api.Requests(); len(asked) > 0 {
				t.Errorf("BigPanda was asked: %v", asked)
			}
		})
	}
}

// What has to be corrected stands at the end, what failed first, with the function that
// it is of; --quiet leaves out all else.
func TestCheckEndsWithWhatFailed(t *testing.T) {
	t.Parallel()
	const worst = "fail  token  BIGPANDA_TOKEN_FILE: read token file DIR/token: it is empty; put the organisation's API token into it\n" +
		"warn  token file  DIR/token holds the token, and others may open it (-rw-r--r--); chmod 600 DIR/token\n" +
		"warn  outbox folder  others may look into DIR/outbox (drwxr-xr-x, of "
	damaged := func(args ...string) (result, string) {
		r := newCheckRig(t)
		os.Chmod(r.file("token", "", 0o644), 0o644)
		os.Chmod(r.dir+"/outbox", 0o755)
		r.args = args
		return r.run()
	}
	res, lines := damaged()
	before, end, found := strings.Cut(lines, " checks: 1 failed, 2 warned\n")
	if res.code != 1 || res.stderr != "" || !found || !strings.HasPrefix(end, worst) || strings.Count(end, "\n") != 3 || !strings.Contains(before, "warn  token file") {
		t.Errorf("exit code %d, %q, and at the end\n%swant\n%s", res.code, res.stderr, end, worst)
	}
	res, lines = damaged("--quiet")
	if res.code != 1 || res.stderr != "" || lines != end {
		t.Errorf("with --quiet: exit code %d, %q and\n%swant\n%s", res.code, res.stderr, lines, end)
	}
	res, lines = damaged("--quiet", "--json")
	if res.code != 1 || res.stderr != "" || strings.Count(lines, "\n") != 3 || strings.Contains(lines, `"state":"ok"`) {
		t.Errorf("with --quiet and --json: exit code %d, %q and\n%s", res.code, res.stderr, lines)
	}
	r := newCheckRig(t)
	r.args = []string{"--quiet"}
	if res, _ := r.run(); res.code != 0 || res.stdout+res.stderr != "" {
		t.Errorf("of what is well, --quiet says %+v", res)
	}
}

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	r := newCheckRig(t)
	r.args = []string{"--json"}
	r.vars["BIGPANDA_OUTBOX"] = "memory"
	res, _ := r.run()
	states := make(map[string]int)
	for line := range strings.Lines(res.stdout) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		states[f.State]++
		if f.Check == "" || f.Text == "" || f.State == stateWarn && f.Hint == "" {
			t.Errorf("the line is %s", line)
		}
	}
	if res.code != 1 || states[stateFail] != 0 || states[stateWarn] != 1 || states[stateOK] < 20 {
		t.Errorf("exit code %d, states %v", res.code, states)
	}
}

func TestCheckQueue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		fill func(d *outbox.Disk)
		open bool // while check looks
		code int
		want string
	}{
		{"nothing waits", func(*outbox.Disk) {}, true, 0, fmt.Sprintf("ok  queue  t bigpanda3, 0 alerts queued, oldest -, 0 dead, held by process %d\n", os.Getpid())},
		{"something waits for long", func(d *outbox.Disk) { d.Append(alert("a"), nil) }, true, 1, "warn  queue  t bigpanda3, 1 alert queued, oldest 2 hours, 0 dead, held by process "},
		{"something is held", func(d *outbox.Disk) {
			d.Append(alert("a"), nil)
			d.Report(func() outbox.Delivery { return outbox.Delivery{Held: []outbox.Held{{Reason: "no " + testToken}}} })
		}, true, 1, "fail  queue  t bigpanda3, 1 alert queued, oldest 2 hours, 0 dead, held by process "},
		{"nobody delivers", func(d *outbox.Disk) { d.Append(alert("a"), nil) }, false, 1, "held by no process: no process delivers what is queued"},
		{"dead letters", func(d *outbox.Disk) {
			d.Append(alert("a"), nil)
			taken, err := d.Next(t.Context(), 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			d.Dead(taken[0], 400, "no")
		}, true, 1, "1 dead, held by process "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newCheckRig(t)
			d := aBox(t, r.vars["BIGPANDA_OUTBOX"], "t")
			tt.fill(d)
			if !tt.open {
				d.Close()
			}
			res, lines := r.run()
			if res.code != tt.code || !strings.Contains(lines, tt.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s", res.code, tt.code, tt.want, lines)
			}
		})
	}
}

// Root, who has forgotten sudo -u, is not told to take the outbox from kapacitord's user.
func TestCheckAsRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	for uid, want := range map[int]string{
		65534: "belongs to nobody, not to root; if the function runs as nobody, run this as it: sudo -u nobody bigpanda-udf check; ",
		54321: "belongs to 54321, not to root; if the function runs as user 54321, run this as it: setpriv --reuid=54321 --clear-groups bigpanda-udf check; ",
	} {
		r := newCheckRig(t)
		if err := os.Chown(r.vars["BIGPANDA_OUTBOX"], uid, -1); err != nil {
			t.Fatal(err)
		}
		want = "fail  outbox folder  DIR/outbox " + want + "else chown -R root DIR/outbox, or set --outbox"
		if res, lines := r.run(); res.code != 1 || !strings.Contains(lines, want) {
			t.Errorf("exit code %d, want 1 and %q in\n%s", res.code, want, lines)
		}
	}
}
