package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// What needs servers of NATS is tested in stream/test.

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

// Each mistake with NATS gets one sentence, and what to do about it.
func TestMistakesWithNATS(t *testing.T) {
	t.Parallel()
	login := "nats://me:" + testPassword + "@127.0.0.1:1"
	missing := "/nonexistent/file"
	for _, tt := range []struct {
		args []string
		vars map[string]string
		want string // the whole sentence, or its beginning
	}{
		{args: []string{"deliver"}, want: "bigpanda-udf deliver: no NATS: alerts are delivered from its stream, so set --nats (BIGPANDA_NATS) to the URLs of its servers, such as nats://HOST:4222\n"},
		{args: []string{"serve", "--deliver"}, want: "bigpanda-udf serve: no NATS: alerts are delivered from its stream, so set --nats (BIGPANDA_NATS)"},
		{args: []string{"cluster"}, want: "bigpanda-udf cluster: no NATS: this is about its stream, so set --nats (BIGPANDA_NATS)"},
		{args: []string{"cluster", "hand-over"}, want: "bigpanda-udf cluster hand-over: no NATS"},
		{args: []string{"deliver", "--nats=nats://127.0.0.1:1"}, vars: map[string]string{"BIGPANDA_TOKEN": ""}, want: "bigpanda-udf deliver: no token, and this posts to BigPanda itself: set BIGPANDA_TOKEN"},
		{args: []string{"send", "--app-key=k"}, vars: map[string]string{"BIGPANDA_TOKEN": "", "BIGPANDA_NATS": "nats://127.0.0.1:1"}, want: "bigpanda-udf send: no token, and this posts to BigPanda itself: set BIGPANDA_TOKEN"},
		{args: []string{"send", "--nats=nats://127.0.0.1:1"}, want: "bigpanda-udf send: unknown flag --nats: this command does nothing by way of NATS, so leave it out\n"},
		{args: []string{"replay", "--nats-stream=X", "x"}, want: "bigpanda-udf replay: unknown flag --nats-stream: this command does nothing by way of NATS"},
		{args: []string{"demo", "--nats", "nats://127.0.0.1:1"}, want: "bigpanda-udf demo: unknown flag --nats: this command"},
		{args: []string{"outbox", "--nats=x"}, want: "bigpanda-udf outbox: unknown flag --nats: this command"},
		{args: []string{"deliver", "--nats-streem=X"}, want: "bigpanda-udf deliver: unknown flag --nats-streem: did you mean --nats-stream?"},
		{args: []string{"deliver", "--outbox=X"}, want: "bigpanda-udf deliver: unknown flag --outbox: "},
		{args: []string{"deliver", "--nats=127.0.0.1:4222"}, want: `bigpanda-udf deliver: --nats is "127.0.0.1:4222": write addresses with commas between them, such as nats://a:4222,nats://b:4222`},
		{args: []string{"deliver", "--nats=" + login}, want: "bigpanda-udf deliver: --nats: nats url: a URL has a user or password"},
		{args: []string{"cluster", "--nats=nats://127.0.0.1:1," + login}, want: "bigpanda-udf cluster: --nats: nats url: a URL has a user or password"},
		{args: []string{"deliver"}, vars: map[string]string{"BIGPANDA_NATS": "http://127.0.0.1:1"}, want: "bigpanda-udf deliver: BIGPANDA_NATS: nats url: a URL does not begin with nats:// or tls://"},
		{args: []string{"cluster", "--nats=nats://127.0.0.1:1", "--nats-creds-file", missing}, want: "bigpanda-udf cluster: --nats-creds-file: creds file " + missing + ": no such file or directory; name a file that this process may read\n"},
		{args: []string{"cluster", "--nats=nats://127.0.0.1:1", "--nats-ca-file", missing}, want: "bigpanda-udf cluster: --nats-ca-file: CA file " + missing},
		{args: []string{"cluster", "--nats=nats://127.0.0.1:1", "--nats-stream=a.b"}, want: "bigpanda-udf cluster: --nats-stream: stream name: it has"},
		{args: []string{"cluster", "--nats=nats://127.0.0.1:1", "--nats-max-age=1h"}, want: "bigpanda-udf cluster: --nats-max-age: use NATS: alerts are kept for 1h0m0s, which is shorter than the window of 24h0m0s"},
		{args: []string{"cluster", "--nats=nats://127.0.0.1:1", "--nats-user=me"}, want: "bigpanda-udf cluster: --nats-user: password file: a user needs a password file"},
		{args: []string{"cluster", "drop"}, want: "bigpanda-udf cluster drop: which ones? Give IDs, which list and dead show, or --all\n"},
		{args: []string{"cluster", "drop", "3", "--yes"}, want: "bigpanda-udf cluster drop: --yes means nothing without --all"},
		{args: []string{"cluster", "retry", "x"}, want: `bigpanda-udf cluster retry: `},
		{args: []string{"deliver", "--nats=nats://127.0.0.1:1", "--listen=nowhere"}, want: `bigpanda-udf deliver: --listen is "nowhere": write an address with its port`},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			vars := map[string]string{"BIGPANDA_TOKEN": testToken}
			maps.Copy(vars, tt.vars)
			r := run(t, nil, vars, tt.args...)
			if r.code != exitUsage || !strings.HasPrefix(r.stderr, tt.want) || r.stdout != "" {
				t.Errorf("exit code %d, and it says\n%s%s, want\n%s", r.code, r.stderr, r.stdout, tt.want)
			}
		})
	}
}

// A file that was taken for one of a secret is refused at once, however large it is.
func TestHugeSecretFiles(t *testing.T) {
	t.Parallel()
	file := write(t, "huge", strings.Repeat("a", 1_000_000))
	for _, args := range [][]string{
		{"--nats-token-file", file}, {"--nats-nkey-file", file}, {"--nats-creds-file", file}, {"--nats-password-file", file, "--nats-user=me"},
	} {
		args = append([]string{"cluster", "--nats=nats://127.0.0.1:1"}, args...)
		r := run(t, nil, nil, args...)
		if want := "file " + file + ": it is larger than 65536 bytes; name a file"; r.code != exitUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("exit code %d, and it says\n%s, want %s", r.code, r.stderr, want)
		}
	}
}

// P2: what is wrong with NATS is said at Init, and without a token.
func TestBadNATSFailsInit(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"BIGPANDA_APP_KEY": "k", "BIGPANDA_NATS": "nats://127.0.0.1:1", "BIGPANDA_NATS_TOKEN_FILE": "/nonexistent/file"}
	r := run(t, silence(t, frames(test.Info(), test.Init("task", "bigpanda2"))), vars)
	got := answers(t, r.stdout)
	const want = "BIGPANDA_NATS_TOKEN_FILE: token file /nonexistent/file: no such file or directory; name a file that this process may read"
	if len(got) != 2 || got[1].GetInit().GetError() != want || r.code != 0 {
		t.Errorf("exit code %d, and the answers are %v, want %q", r.code, got, want)
	}
}

// P1, P4: with no server in reach points are taken and kept, without a token; what is
// queued goes to BigPanda when NATS is given up, and what is open is told again.
func TestNATSOutOfReach(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{})
	folder := t.TempDir()
	toNATS := map[string]string{"BIGPANDA_APP_KEY": "k", "BIGPANDA_NATS": "nats://" + nobody(t), "BIGPANDA_OUTBOX": folder}
	r := run(t, frames(test.Info(), test.Init("cpu", "bigpanda2"), critical("a")), toNATS)
	if got := answers(t, r.stdout); r.code != 0 || len(got) != 3 || got[2].GetPoint() == nil {
		t.Fatalf("exit code %d, and the answers are %v\n%s", r.code, got, r.stderr)
	}
	if !strings.Contains(r.stderr, `msg="changes wait in the outbox for the next start" queued=1`) {
		t.Errorf("the log is\n%s", r.stderr)
	}
	r = run(t, nil, map[string]string{"BIGPANDA_OUTBOX": folder}, "outbox", "--json")
	var status struct {
		URL    string
		Queued int
	}
	if err := json.Unmarshal([]byte(r.stdout), &status); err != nil || status.URL != "nats:BIGPANDA" || status.Queued != 1 {
		t.Errorf("the outbox is %+v (%v)", status, err)
	}
	toBigPanda := map[string]string{"BIGPANDA_APP_KEY": "k", "BIGPANDA_URL": url, "BIGPANDA_TOKEN": testToken, "BIGPANDA_OUTBOX": folder}
	stdin, in := io.Pipe()
	ended := make(chan result, 1)
	go func() { ended <- run(t, stdin, toBigPanda) }()
	if _, err := in.Write(test.Frames(test.Info(), test.Init("cpu", "bigpanda2"))); err != nil {
		t.Fatal(err)
	}
	awaitEvents(t, api, 1)
	in.Close()
	if r := <-ended; r.code != 0 || !strings.Contains(r.stderr, "alerts go to another URL than before") {
		t.Errorf("exit code %d, and the log is\n%s", r.code, r.stderr)
	}
	wantTold(t, api, "k/a critical")
}

// What check finds where no server answers.
func TestCheckNATSOutOfReach(t *testing.T) {
	t.Parallel()
	password := write(t, "password", testPassword+"\n")
	if err := os.Chmod(password, 0o644); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{
		"BIGPANDA_APP_KEY": "k", "BIGPANDA_NATS": "nats://" + nobody(t), "BIGPANDA_OUTBOX": filepath.Join(t.TempDir(), "o"),
		"BIGPANDA_NATS_USER": "me", "BIGPANDA_NATS_PASSWORD_FILE": password,
	}
	r := run(t, nil, vars, "check")
	for _, want := range []string{
		"ok    nats                  nats://127.0.0.1:",
		"ok    nats-user             me (BIGPANDA_NATS_USER)\n",
		"warn  nats password file    " + password + " holds what logs in to NATS, and others may open it (-rw-r--r--); chmod 600 " + password + "\n",
		"fail  nats ",
		"note  token                 there is none, and none is needed: alerts go to NATS; give it to bigpanda-udf deliver alone\n",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in\n%s", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "fail  token") || strings.Contains(r.stdout, "  connect ") || r.code != exitFailed {
		t.Errorf("exit code %d, and BigPanda is asked for:\n%s", r.code, r.stdout)
	}
}

// get asks a server over HTTP; the status is 0 while nobody listens.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return r.StatusCode, string(text)
}

// Who goes without NATS has nothing of it: neither a connection nor a goroutine. Other
// tests do not run meanwhile.
func TestWithoutNATSThereIsNone(t *testing.T) {
	api, url := newAPI(t, sandbox.Faults{})
	vars := serveVars(t, url)
	s := startServer(t, vars)
	s.use("cpu", "bigpanda2").pass(level("a", "CRITICAL", 1000))
	wantTold(t, api, "k/a critical")
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stacks.String(), "nats.go.") || strings.Contains(stacks.String(), "bigpanda-udf/stream") {
		t.Errorf("there are goroutines of NATS:\n%s", &stacks)
	}
}

// A deliverer that reaches no server lives, says that it is not ready, and ends when it
// is told to.
func TestDeliverNATSOutOfReach(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"BIGPANDA_TOKEN": testToken, "BIGPANDA_NATS": "nats://" + nobody(t)}
	address := nobody(t)
	d := startProgram(t, testTimes, vars, "deliver", "--listen", address)
	eventually(t, "the probe says why it is not ready", func() bool {
		status, body := get(t, "http://"+address+"/ready")
		return status == 503 && strings.Contains(body, "not ready: ")
	})
	status, body := get(t, "http://"+address+"/metrics")
	for _, want := range []string{"bigpanda_udf_cluster_scrape_success 0\n", "bigpanda_udf_deliverer_ready 0\n", `bigpanda_udf_deliverer_requests_total{outcome="accepted"} 0`} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, and %q is not in\n%s", status, want, body)
		}
	}
	began := time.Now()
	if code := d.end(); code != exitOK || time.Since(began) > 10*time.Second {
		t.Errorf("it ends with %d after %s:\n%s", code, time.Since(began), d.log)
	}
}
