package blocks

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// A machine is what a page is read on: a host with Kapacitor's folders, this program,
// its configuration, and a live task whose outbox has an alert that is open, one that
// waits, and one that was refused. What is not of this project (sudo, systemctl,
// kapacitor and the like) is a stand-in, see tools_test.go.
type machine struct {
	t      *testing.T
	root   string // in the place of /
	work   string // where the commands run
	env    []string
	before *strings.Replacer // from what pages say to what is here
	after  *strings.Replacer // and back
}

// The points of the page about replay, and others in the same folder.
var workFiles = map[string]string{
	"points.lp": `cpu,host=web-1,alertID=cpu usage=91.5,level="CRITICAL",message="web-1 is busy" 1700000000000000000
cpu,host=web-2,alertID=cpu usage=81,level="WARNING",message="web-2 is busy" 1700000005000000000
cpu,host=web-1,alertID=cpu usage=95,level="CRITICAL",message="web-1 is busy" 1700000010000000000
cpu,host=web-1,alertID=cpu usage=12,level="OK",message="web-1 is well" 1700000020000000000
`,
	"states.lp":                    "disk,host=web-1,state=DOWN used=1 1700000000000000000\ndisk,host=web-1,state=UP used=0 1700000010000000000\n",
	"bigpanda-udf_1.2.3_image.tar": string(make([]byte, 1024)), // one that is empty
	"cpu.tick":                     "stream|from().measurement('cpu').groupBy('host')@bigpanda().primaryProperty('host')\n",
}

func newMachine(t *testing.T, page string) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	m.work = filepath.Join(m.root, "work")
	tools := filepath.Join(m.root, "usr", "local", "bin")
	outbox := filepath.Join(m.root, "var", "lib", "kapacitor", "bigpanda-udf")
	for _, dir := range []string{
		tools, filepath.Join(m.root, "etc", "kapacitor"), filepath.Join(m.root, "run", "bigpanda-udf"), filepath.Join(m.work, "e2e"),
		filepath.Join(m.root, "etc", "bigpanda-udf", "handlers"), filepath.Join(m.root, "tmp"), filepath.Dir(outbox),
	} {
		m.must(os.MkdirAll(dir, 0o755))
	}
	for name, text := range workFiles {
		m.file(name, text)
	}
	m.file("cpu-copy.tick", strings.ReplaceAll(workFiles["cpu.tick"], "@bigpanda", "@bigpandaQuiet"))
	own, err := os.ReadFile(filepath.Join(project, "udf_test.go"))
	m.must(err)
	m.file("udf_test.go", string(own))
	for _, tool := range toolNames() {
		m.must(os.Symlink(os.Args[0], filepath.Join(tools, tool)))
	}

	panda, env := test.NewBigPanda(t)
	url, _, _ := strings.Cut(strings.TrimPrefix(env[0], "BIGPANDA_URL="), "/data/")
	token := filepath.Join(m.root, "etc", "kapacitor", "bigpanda.token")
	m.must(os.WriteFile(token, []byte(test.Token+"\n"), 0o600))
	if page == "docs/check.md" {
		m.must(os.Chmod(token, 0o644))
	}
	m.env = append(os.Environ(), onMachine+"=1", "PATH="+tools+":"+os.Getenv("PATH"), "HOME="+m.work, "PROJECT="+project,
		"BIGPANDA_URL="+url+sandbox.Path, "BIGPANDA_TOKEN_FILE="+token, "BIGPANDA_APP_KEY=k", "BIGPANDA_OUTBOX="+outbox)
	m.must(os.WriteFile(filepath.Join(m.root, "etc", "bigpanda-udf", "handlers", "cpu.yaml"), []byte("topic: cpu\nid: bigpanda\nkind: bigpanda\n"), 0o644))
	if page == "docs/topic-handlers.md" {
		m.secrets()
	}
	host := strings.TrimPrefix(url, "http://")
	key, id := m.fill(panda, append(env[:3:3], "BIGPANDA_OUTBOX="+outbox))

	m.before = strings.NewReplacer(
		"/etc/", m.root+"/etc/", "/var/lib/", m.root+"/var/lib/", "/usr/local/bin", m.root+"/usr/local/bin", "/run/", m.root+"/run/", "/tmp/", m.root+"/tmp/",
		"0.0.0.0:9095", "127.0.0.1:0", "--http 127.0.0.1:9095", "--http 127.0.0.1:0",
		".ci/run", "test -x "+project+"/.ci/run",
		"127.0.0.1:8089", host, "BIGPANDA_TOKEN=…", "BIGPANDA_TOKEN="+test.Token, "NEW_TOKEN", test.Token,
		"resolve KEY …", "resolve "+key, "drop ID …", "drop "+id, "TASK …", "cpu",
		"go run . demo", "bigpanda-udf demo",
	)
	m.after = strings.NewReplacer(m.root, "", host, "127.0.0.1:8089")
	m.must(os.WriteFile(filepath.Join(m.root, "etc", "kapacitor", "kapacitor.conf"), []byte(m.rewrite(`[udf]
[udf.functions]
[udf.functions.bigpanda]
  prog = "/usr/local/bin/bigpanda-udf"
  args = []
  timeout = "10s"
  [udf.functions.bigpanda.env]
    BIGPANDA_TOKEN_FILE = "/etc/kapacitor/bigpanda.token"
    BIGPANDA_APP_KEY = "k"
    BIGPANDA_URL = "http://127.0.0.1:8089/data/v2/alerts"
    BIGPANDA_OUTBOX = "/var/lib/kapacitor/bigpanda-udf"
`)), 0o600))
	return m
}

// secrets are the files of a daemon that is posted to over TLS.
func (m *machine) secrets() {
	m.t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	m.must(err)
	for name, text := range map[string][]byte{
		"daemon.token": []byte("a-token-of-the-daemon\n"),
		"cert.pem":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		"key.pem":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		m.must(os.WriteFile(filepath.Join(m.root, "etc", "kapacitor", name), text, 0o600))
	}
}

// fill starts a task whose outbox has one alert that is open, one that waits, and one
// that was refused; and returns the key of the first and the ID of the last.
func (m *machine) fill(panda *sandbox.Server, env []string) (key, id string) {
	m.t.Helper()
	test.SetFaults(m.t, panda, sandbox.Faults{Status: 400, Match: "web-refused"})
	f := test.Start(m.t, env)
	f.MustInit()
	f.Send(test.Point("web-1", "CRITICAL", 1700000000), test.Point("web-refused", "CRITICAL", 1700000000))
	test.WaitEvents(m.t, panda, 1)
	dead := m.line(`outbox dead --json`, env)
	test.SetFaults(m.t, panda, sandbox.Faults{Status: 503, Match: "web-waits"})
	f.Send(test.Point("web-waits", "CRITICAL", 1700000000))
	m.line(`outbox list --json`, env)
	var open struct{ Key string }
	var refused struct{ ID json.RawMessage }
	m.must(json.Unmarshal([]byte(m.line(`outbox active --json --limit 1`, env)), &open))
	m.must(json.Unmarshal([]byte(dead), &refused))
	return open.Key, strings.Trim(string(refused.ID), `"`)
}

// line waits for the first line that the program prints.
func (m *machine) line(args string, env []string) string {
	m.t.Helper()
	for end := time.Now().Add(test.Patient); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // between two looks
		out, err := test.Command(env, strings.Fields(args)...).Output()
		m.must(err)
		if line, _, found := strings.Cut(string(out), "\n"); found {
			return line
		}
	}
	m.t.Fatalf("%s prints nothing", args)
	return ""
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// file writes a file where the commands run, and returns its path.
func (m *machine) file(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.work, name)
	m.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// shellComment is one that stands behind a command.
var shellComment = regexp.MustCompile(`(?m)\s+# .*$`)

func (m *machine) rewrite(text string) string {
	return m.before.Replace(shellComment.ReplaceAllString(text, ""))
}

func (m *machine) shown(output string) string { return m.after.Replace(output) }

// has tells whether a program is installed.
func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}
