package test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats-server/v2/server"
)

// configure has a server begin anew with other lines in its configuration, in the place
// of some that it was started with.
func configure(t *testing.T, s *natstest.Server, old, lines string) {
	t.Helper()
	s.Edit(old, lines)
	s.Restart()
}

// rights are the lines of a user who may publish some subjects alone.
func rights(publish ...string) string {
	return fmt.Sprintf(`
accounts { APP { jetstream: enabled, users: [
  {user: admin, password: admin}
  {user: kapacitor, password: kapacitor, permissions: { publish: ["%s"], subscribe: "_INBOX_kapacitor.>" }}
] } }
`, strings.Join(publish, `", "`))
}

// A right that is missing holds the alerts, and the hint names it. Once it is there,
// they go out.
func TestMissingRights(t *testing.T) {
	t.Parallel()
	none := rights("nothing")
	s := natstest.Start(t, natstest.Options{Config: none})
	o := stream.Options{User: "kapacitor", PasswordFile: file(t, "password", "kapacitor"), InboxPrefix: "_INBOX_kapacitor"}
	c := connect(t, s.URL(), o)
	p := c.NewPublisher()
	fails(t, p, bigpanda.Hold, bigpanda.ReasonForbidden, "allow it in the servers' configuration: publish BIGPANDA.a.", change("a", 0))
	wantFindings(t, c.Check(t.Context(), false), "fail nats rights: this user may not publish BIGPANDA.a.check, publish $JS.API.STREAM.INFO.BIGPANDA")

	// To publish is not enough while there is no stream.
	publishes := rights("BIGPANDA.a.*")
	configure(t, s, none, publishes)
	fails(t, p, bigpanda.Hold, bigpanda.ReasonForbidden, "allow it in the servers' configuration: publish $JS.API.STREAM.INFO.BIGPANDA", change("a", 0))
	asks := rights("BIGPANDA.a.*", "$JS.API.STREAM.INFO.BIGPANDA")
	configure(t, s, publishes, asks)
	fails(t, p, bigpanda.Hold, bigpanda.ReasonForbidden, "allow it in the servers' configuration: publish $JS.API.STREAM.CREATE.BIGPANDA", change("a", 0))

	// Somebody else makes it.
	a := connect(t, s.URL(), stream.Options{User: "admin", PasswordFile: file(t, "password", "admin")})
	send(t, a.NewPublisher(), 201, change("a", 0))
	send(t, p, 201, change("a", 1))
	noFailures(t, c.Check(t.Context(), false))

	// Answers that nobody may hear.
	o.InboxPrefix = ""
	deaf := connect(t, s.URL(), o)
	fails(t, deaf.NewPublisher(), bigpanda.Hold, bigpanda.ReasonForbidden, "allow it in the servers' configuration: subscribe _INBOX.>", change("a", 2))
	wantFindings(t, deaf.Check(t.Context(), false), "fail nats rights: |subscribe _INBOX.>, or name the inbox prefix that is allowed")
	configure(t, s, "_INBOX_kapacitor.>", "_INBOX.>")
	send(t, deaf.NewPublisher(), 204, change("a", 2)) // it was stored, and nobody had heard
}

// Rights that are granted while a process runs, and is not disconnected.
func TestRightsReloaded(t *testing.T) {
	t.Parallel()
	const all = `"BIGPANDA.a.*", "$JS.API.STREAM.INFO.BIGPANDA", "$JS.API.STREAM.CREATE.BIGPANDA"`
	store := t.TempDir()
	config := func(publish, subscribe string) string {
		return fmt.Sprintf(`
listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
accounts { APP { jetstream: enabled, users: [
  {user: kapacitor, password: kapacitor, permissions: { publish: [%s], subscribe: "%s" }}
] } }
`, store, publish, subscribe)
	}
	path := file(t, "nats-server.conf", config(all, "nothing"))
	options, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	options.NoSigs, options.NoLog = true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(natstest.Patient) {
		t.Fatal("the server does not start")
	}
	reload := func(publish, subscribe string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(config(publish, subscribe)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	p := connect(t, s.ClientURL(), stream.Options{User: "kapacitor", PasswordFile: file(t, "password", "kapacitor")}).NewPublisher()
	for range 2 {
		fails(t, p, bigpanda.Hold, bigpanda.ReasonForbidden, "allow it in the servers' configuration: subscribe _INBOX.>", change("a", 0))
	}
	reload(all, "_INBOX.>")
	if _, err := p.Send(t.Context(), "app", [][]byte{change("a", 0)}); err != nil {
		t.Fatal(err)
	}
	reload(`"nothing"`, "_INBOX.>")
	fails(t, p, bigpanda.Hold, bigpanda.ReasonForbidden, "allow it in the servers' configuration: publish BIGPANDA.a.", change("a", 1))
	reload(all, "_INBOX.>")
	send(t, p, 201, change("a", 1))
}
