package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/sandbox"
)

// everySetting has a text for check to show.
func TestCheckShowsEverySetting(t *testing.T) {
	for _, row := range settingTable {
		if settingValues[row.name] == nil {
			t.Errorf("check does not show %s", row.name)
		}
	}
}

// checkRig is what check looks at: all of it well, before a test breaks
// something.
type checkRig struct {
	t    *testing.T
	dir  string
	api  *sandbox.Server
	vars map[string]string
	args []string
}

func newCheckRig(t *testing.T) *checkRig {
	r := &checkRig{t: t, dir: t.TempDir()}
	var url string
	r.api, url = newAPI(t, sandbox.Faults{})
	r.vars = map[string]string{
		"BIGPANDA_TOKEN_FILE": r.file("token", testToken+"\n", 0o600), "BIGPANDA_URL": url, "BIGPANDA_APP_KEY": "k",
		"BIGPANDA_OUTBOX": r.folder("outbox", 0o700), "BIGPANDA_OUTBOX_MAX_SIZE": "1MiB",
	}
	return r
}

func (r *checkRig) file(name, text string, mode os.FileMode) string {
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *checkRig) folder(name string, mode os.FileMode) string {
	path := filepath.Join(r.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// run runs check and returns the lines, without the rig's own folder.
func (r *checkRig) run() (result, string) {
	res := run(r.t, nil, r.vars, append([]string{"check"}, r.args...)...)
	return res, strings.ReplaceAll(regexp.MustCompile(` {2,}`).ReplaceAllString(res.stdout, "  "), r.dir, "DIR")
}

// faulty puts an API in place that has faults.
func (r *checkRig) faulty(f sandbox.Faults) { r.vars["BIGPANDA_URL"] = second(newAPI(r.t, f)) }

func second[A, B any](_ A, b B) B { return b }

// certified serves f over TLS, with a certificate that lasts for so long, and
// returns the address and the certificate's file.
func (r *checkRig) certified(lasts time.Duration) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r.api)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = quiet
	server.StartTLS()
	r.t.Cleanup(server.Close)
	r.vars["BIGPANDA_URL"] = server.URL + sandbox.Path
	r.vars["BIGPANDA_CA_FILE"] = r.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600)
}

// What is wrong has a line of its own, with the cause and the mend.
func TestCheck(t *testing.T) {
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
		{"all is well: the outbox", func(*checkRig) {}, 0, "ok  outbox  DIR/outbox, which "},
		{"an outbox that is still to be made", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] += "/a/b" }, 0, "ok  outbox  DIR/outbox/a/b is not there yet: "},
		{"certificates", func(r *checkRig) { r.certified(9999 * time.Hour) }, 0, "ok  tls  TLS 1.3, certificate of 127.0.0.1 by ours, until "},

		// Settings.
		{"a bad setting", func(r *checkRig) { r.vars["BIGPANDA_TIMEOUT"] = "soon" }, 1, `fail  settings  BIGPANDA_TIMEOUT is "soon": write a number with its unit`},
		{"a bad URL", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "ftp://x" }, 1, "fail  token  BIGPANDA_URL: use url: it does not begin with https://"},
		{"no app key", func(r *checkRig) { delete(r.vars, "BIGPANDA_APP_KEY") }, 0, "note  app-key  there is none: tasks that set none fail at Init; set --app-key (BIGPANDA_APP_KEY), or .appKey('…') in every task\n"},
		{"switched off", func(r *checkRig) { r.args = []string{"--enabled=false"} }, 0, "note  enabled  switched off: points pass, and nothing is sent; leave it out"},
		{"every alert twice", func(r *checkRig) {
			r.vars["BIGPANDA_CONFIG"] = r.file("k.conf", "[bigpanda]\nenabled = true\nglobal = true", 0o600)
		}, 1, "warn  settings  every alert is sent twice: [bigpanda] in DIR/k.conf"},
		{"the token in plain text", func(r *checkRig) { r.vars["BIGPANDA_URL"] = "http://nowhere.invalid/" }, 1, "warn  settings  url is http: the token crosses the network unencrypted, use https\n"},

		// Files.
		{"no token", func(r *checkRig) { delete(r.vars, "BIGPANDA_TOKEN_FILE") }, 1, "fail  token  no token: set BIGPANDA_TOKEN or BIGPANDA_TOKEN_FILE"},
		{"no token, but the way to BigPanda", func(r *checkRig) { delete(r.vars, "BIGPANDA_TOKEN_FILE") }, 1, "ok  answer  401 Unauthorized, without a token\n"},
		{"a token file that is a pipe", func(r *checkRig) {
			r.vars["BIGPANDA_TOKEN_FILE"] = r.dir + "/pipe"
			if err := syscall.Mkfifo(r.dir+"/pipe", 0o600); err != nil {
				r.t.Fatal(err)
			}
		}, 1, "fail  token file  DIR/pipe is no file; set --token-file (BIGPANDA_TOKEN_FILE) to a file that "},
		{"the app key of the example", func(r *checkRig) { r.vars["BIGPANDA_APP_KEY"] = "YOUR_APP_KEY" }, 1,
			"warn  app-key  YOUR_APP_KEY is only the example's; put the integration's app key in its place\n"},
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
		{"an outbox in memory", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] = "memory" }, 1, "warn  outbox  in memory: what is not delivered when the process is killed is lost; set --outbox"},
		{"no folder for the outbox", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"], r.vars["XDG_STATE_HOME"] = "", "" }, 1, "fail  outbox  no folder, as neither HOME nor XDG_STATE_HOME is set; set --outbox"},
		{"a file for an outbox", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] = r.dir + "/token" }, 1, "fail  outbox  DIR/token is no folder; set --outbox"},
		{"an outbox below a file", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX"] = r.dir + "/token/x" }, 1, "fail  outbox  it cannot be looked at: DIR/token/x: not a directory; set --outbox"},
		{"an outbox for all", func(r *checkRig) { os.Chmod(r.dir+"/outbox", 0o755) }, 1, "warn  outbox  others may look into DIR/outbox (drwxr-xr-x, of "},
		{"more queue than disk", func(r *checkRig) { r.vars["BIGPANDA_OUTBOX_MAX_SIZE"] = "4EiB" }, 1, "and the queue may grow to 4.0 EiB; make room, or set --outbox-max-size"},

		// The way to BigPanda.
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
		{"an API that looks at no token first", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 400}) }, 0, "note  token  not refused, but whether it is right cannot be told: what is no alert gets 400 Bad Request with another, too; prove it with a test alert: bigpanda-udf send"},
		{"an API that takes what is no alert", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 201}) }, 0, "note  token  not refused, but"},
		{"a forbidden token", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 403}) }, 1, "fail  token  "},
		{"an app key that nobody knows, or another region", func(r *checkRig) { r.faulty(sandbox.Faults{Status: 404}) }, 1, "answered 404 Not Found; check that the app key exists and that the URL is the one of the organisation's region"},
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
			if tt.code == 1 && !regexp.MustCompile(`^bigpanda-udf check: of \d+ checks \d+ failed and \d+ warned\n$`).MatchString(res.stderr) || tt.code == 0 && res.stderr != "" {
				t.Errorf("stderr is %q", res.stderr)
			}
			if events := r.api.Events(); len(events) > 0 {
				t.Errorf("check makes the events %v", events)
			}
		})
	}
}

func (r *checkRig) proxied(proxy string) {
	r.vars["BIGPANDA_URL"], r.vars["https_proxy"] = "https://nowhere.invalid/", proxy
}

// proxy is one that refuses with a status.
func (r *checkRig) proxy(status int) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	r.t.Cleanup(server.Close)
	return server.URL
}

func TestCheckJSON(t *testing.T) {
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
		if f.Check == "" || f.Found == "" || f.State == stateWarn && f.Mend == "" {
			t.Errorf("the line is %s", line)
		}
	}
	if res.code != 1 || states[stateFail] != 0 || states[stateWarn] != 1 || states[stateOK] < 20 {
		t.Errorf("exit code %d, states %v", res.code, states)
	}
}

func TestCheckQueue(t *testing.T) {
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
			d.Dead(taken[0].ID, 400, "no")
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

func TestCheckUsage(t *testing.T) {
	conf := write(t, "k.conf", "[udf.functions.bigpanda]\nprog = 'bigpanda-udf'\n")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no such user", []string{"--user=nobody-of-this-name"}, `--user is "nobody-of-this-name", and there is no such user here: write the one that kapacitord runs as`},
		{"a function of nothing", []string{"--function=x"}, "add --kapacitor-conf FILE, or leave it out"},
		{"a setting beside a kapacitor.conf", []string{"--url=x", "--kapacitor-conf", conf}, "--url means nothing with --kapacitor-conf: only what stands in that file counts"},
		{"a kapacitor.conf that is not there", []string{"--kapacitor-conf=nowhere"}, "--kapacitor-conf: open nowhere: no such file or directory"},
		{"a kapacitor.conf that is none", []string{"--kapacitor-conf", write(t, "x.conf", "\ntoken = "+testToken)}, "is nothing that kapacitord would read in line 2: mend it"},
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
	own, err := os.Executable()
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
		{"all is well: the program", nil, 0, "ok  prog  " + own + ", which "},
		{"all is well: the arguments", nil, 0, "ok  args  []\n"},
		{"all is well: the timeout", nil, 0, "ok  timeout  10s\n"},
		{"all is well: the environment", nil, 0, "ok  app-key  of-the-file (BIGPANDA_APP_KEY)\n"},
		{"all is well: the token", nil, 0, "ok  token  accepted: "},
		{"the default outbox is the user's", func(_ *checkRig, _, env section) { delete(env, "BIGPANDA_OUTBOX") }, 0, "/.local/state/bigpanda-udf (default)\n"},
		{"no timeout", func(_ *checkRig, f, _ section) { delete(f, "timeout") }, 1, `fail  timeout  there is none, without which kapacitord does not start; write timeout = "10s"`},
		{"a timeout that is a number", func(_ *checkRig, f, _ section) { f["timeout"] = "10" }, 1, "fail  timeout  10 is no duration, so kapacitord does not start"},
		{"a timeout that kapacitord does not take", func(_ *checkRig, f, _ section) { f["timeout"] = "'1ms'" }, 1, "fail  timeout  1ms is too short for kapacitord to start"},
		{"a short timeout", func(_ *checkRig, f, _ section) { f["timeout"] = "'1s'" }, 1, "warn  timeout  1s is short"},
		{"a long timeout", func(_ *checkRig, f, _ section) { f["timeout"] = "'1h'" }, 1, "warn  timeout  1h0m0s is long"},
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
		{"a relative file", func(_ *checkRig, _, env section) { env["BIGPANDA_OUTBOX"] = "'outbox'" }, 1, "warn  outbox  outbox counts from the folder that kapacitord runs in; write the full path"},
		{"a proxy of its own", func(_ *checkRig, _, env section) {
			env["HTTPS_PROXY"], env["BIGPANDA_URL"] = "'http://127.0.0.1:1'", "'https://nowhere.invalid'"
		}, 1, "ok  proxy  127.0.0.1:1\n"},
		{"every alert twice", func(r *checkRig, f, _ section) { f["args"] = "[]\n[bigpanda]\nenabled = true\nglobal = true" }, 1, "warn  [bigpanda]  every alert is sent twice: "},
		{"both a socket and a program", func(_ *checkRig, f, _ section) { f["socket"] = "'/x'" }, 1, "fail  socket  both a socket and a program are given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newCheckRig(t)
			function := section{"prog": "'" + own + "'", "args": "[]", "timeout": "'10s'"}
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
	dir, err := os.MkdirTemp("", "check") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
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

// The modes of files and folders say what a user may do, whoever asks.
func TestViewer(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	owner := viewer{name: "owner", uid: stat.Uid, gids: []uint32{stat.Gid + 1}}
	member := viewer{name: "member", uid: stat.Uid + 1, gids: []uint32{7777, stat.Gid}}
	other := viewer{name: "other", uid: stat.Uid + 1, gids: []uint32{stat.Gid + 1}}
	root := viewer{name: "root", uid: 0}
	if stat.Uid == 0 {
		owner = root // there is no other owner to be
	}
	for _, tt := range []struct {
		name      string
		who       viewer
		file, dir os.FileMode
		want      os.FileMode
		err       string
	}{
		{"the owner reads", owner, 0o400, 0o700, mayRead, ""},
		{"a member reads", member, 0o040, 0o750, mayRead, ""},
		{"a member of what only others may read", member, 0o004, 0o755, mayRead, "member may not read FILE (-------r--, of "},
		{"another reads", other, 0o004, 0o755, mayRead, ""},
		{"another may not", other, 0o640, 0o755, mayRead, "other may not read FILE (-rw-r-----, of "},
		{"another may not write", other, 0o644, 0o755, mayWrite, "other may not write in FILE"},
		{"another may not execute", other, 0o654, 0o755, mayExecute, "other may not execute FILE"},
		{"a folder that is shut", other, 0o777, 0o700, mayExecute, "other may not enter DIR (drwx------, of "},
		{"root reads", root, 0o000, 0o000, mayRead | mayWrite, ""},
		{"root executes what anybody may", root, 0o001, 0o000, mayExecute, ""},
		{"root executes nothing that nobody may", root, 0o666, 0o777, mayExecute, "root may not execute FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The folders above are not the test's to open.
			os.Chmod(file, tt.file)
			os.Chmod(dir, tt.dir)
			defer os.Chmod(dir, 0o700)
			err := tt.who.mayHere(dir, mayExecute)
			if err == nil {
				err = tt.who.mayHere(file, tt.want)
			}
			if os.Geteuid() != 0 && tt.dir&0o100 == 0 {
				t.Skip("only root can look there")
			}
			want := strings.NewReplacer("FILE", file, "DIR", dir).Replace(tt.err)
			if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
				t.Errorf("the error is %v, want %q", err, want)
			}
		})
	}
	shut := filepath.Join(dir, "shut")
	if err := os.Mkdir(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(shut, "prog")
	if err := os.WriteFile(inside, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := other.may(link, mayExecute); err == nil {
		t.Error("a link leads into a folder that is shut")
	}
}

// quiet is where servers complain of what the tests do to them.
var quiet = log.New(io.Discard, "", 0)
