package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go/jetstream"
)

// wantFindings wants one line of each: its beginning, and words that are in the rest.
func wantFindings(t *testing.T, found []stream.Finding, want ...string) {
	t.Helper()
	var lines []string
	for _, f := range found {
		lines = append(lines, fmt.Sprintf("%s %s: %s; %s", f.State, f.Check, f.Text, f.Hint))
	}
	for _, w := range want {
		begin, words, _ := strings.Cut(w, "|")
		there := false
		for _, line := range lines {
			there = there || strings.HasPrefix(line, begin) && strings.Contains(line, words)
		}
		if !there {
			t.Errorf("there is no line %q in\n%s", w, strings.Join(lines, "\n"))
		}
	}
}

// noFailures wants nothing that fails or warns.
func noFailures(t *testing.T, found []stream.Finding) {
	t.Helper()
	for _, f := range found {
		if f.State != "ok" && f.State != "note" {
			t.Errorf("%+v", f)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	c := connect(t, s.URL(), stream.Options{})
	found := c.Check(t.Context(), true)
	noFailures(t, found)
	wantFindings(t, found, "ok nats: nats://127.0.0.1:|version 2.", "ok nats tls: none|on this machine", "ok nats rights: all ",
		"note nats stream: there is no stream BIGPANDA yet", "note nats stream: |BIGPANDA_DEAD", "note nats stream: |KV_BIGPANDA_LEASE",
		"note nats sync: |sync_interval: always")
	_, js := admin(t, s.URL())
	if _, err := js.Stream(t.Context(), "BIGPANDA"); err == nil {
		t.Error("the check has made the stream")
	}

	send(t, c.NewPublisher(), 201, change("a", 0))
	found = c.Check(t.Context(), true)
	noFailures(t, found)
	wantFindings(t, found, "ok nats stream: stream BIGPANDA: 1 replicas, max_age 168h0m0s, duplicate_window 24h0m0s, max_bytes 4294967296", "ok nats clock: ")
	if got := stored(t, js, "BIGPANDA"); len(got) != 1 {
		t.Errorf("the check has changed the stream: it holds %v", got)
	}

	wantFindings(t, connect(t, s.URL(), stream.Options{MaxAge: 48 * time.Hour, Window: time.Hour, MaxBytes: 5e9, Replicas: 3}).Check(t.Context(), false),
		"warn nats stream: stream BIGPANDA has other settings|1 replicas, not 3; max_age 168h0m0s, not 48h0m0s; duplicate_window 24h0m0s, not 1h0m0s; max_bytes 4294967296, not 5000000000")

	if err := js.DeleteStream(t.Context(), "BIGPANDA"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "BIGPANDA", Subjects: []string{"BIGPANDA.>"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage, MaxMsgsPerSubject: 1,
	}); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, c.Check(t.Context(), false),
		"fail nats stream: stream BIGPANDA: retention is WorkQueue, not Limits; storage is Memory, not File; discard is DiscardOld, not DiscardNew; subjects are BIGPANDA.>, not BIGPANDA.a.*|max_msgs_per_subject is 1")

	s.Stop()
	began := time.Now()
	wantFindings(t, c.Check(t.Context(), true), "fail nats: there is no connection to |can be reached from here")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the check took %v", took)
	}
}

// Where an account has the service of the system's, the check tells who does not sync.
func TestCheckSync(t *testing.T) {
	t.Parallel()
	const accounts = `
accounts {
  SYS { users: [{user: sys, password: sys}], exports: [{service: "$SYS.REQ.SERVER.PING.JSZ", response: stream, accounts: [APP]}] }
  APP { jetstream: enabled, users: [{user: app, password: app}], imports: [{service: {account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ"}}] }
}
system_account: SYS
`
	s := natstest.Start(t, natstest.Options{Config: accounts})
	o := stream.Options{User: "app", PasswordFile: file(t, "password", "app")}
	wantFindings(t, connect(t, s.URL(), o).Check(t.Context(), false), "ok nats sync: server s0 syncs each write")
	s = natstest.Start(t, natstest.Options{Config: accounts, JetStream: `sync_interval: "2m"`})
	wantFindings(t, connect(t, s.URL(), o).Check(t.Context(), false), "fail nats sync: server s0 syncs every 2m0s|set sync_interval: always")
}
