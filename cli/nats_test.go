package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net"
	"runtime/pprof"
	"strings"
	"testing"

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
	for _, tt := range []struct {
		args []string
		vars map[string]string
		want string // the whole sentence, or its beginning
	}{
		{args: []string{"send", "--app-key=k"}, vars: map[string]string{"BIGPANDA_TOKEN": "", "BIGPANDA_NATS": "nats://127.0.0.1:1"}, want: "bigpanda-udf send: no token, and this posts to BigPanda itself: set BIGPANDA_TOKEN"},
		{args: []string{"send", "--nats=nats://127.0.0.1:1"}, want: "bigpanda-udf send: unknown flag --nats: this command does nothing by way of NATS, so leave it out\n"},
		{args: []string{"replay", "--nats-stream=X", "x"}, want: "bigpanda-udf replay: unknown flag --nats-stream: this command does nothing by way of NATS"},
		{args: []string{"demo", "--nats", "nats://127.0.0.1:1"}, want: "bigpanda-udf demo: unknown flag --nats: this command"},
		{args: []string{"outbox", "--nats=x"}, want: "bigpanda-udf outbox: unknown flag --nats: this command"},
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
