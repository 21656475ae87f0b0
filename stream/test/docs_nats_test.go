package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// setUp does what docs/nats.md says, word for word, from its beginning to its end, and
// returns the function of its kapacitor.conf.
func setUp(t *testing.T) (s *site, kapacitor function) {
	t.Helper()
	s = newSite(t)
	var conf, rights, unit string
	s.does["sudo systemctl restart nats-server"] = func() { s.startServers(conf, rights) }
	s.does["sudo systemctl enable --now bigpanda-udf-deliver.service"] = func() {
		for _, name := range []string{"deliver-1", "deliver-2"} {
			s.start(name, s.unitEnv(unit), "deliver")
		}
	}
	for _, block := range pageOf(t, "docs/nats.md").Blocks {
		switch block.Language {
		case "conf":
			if conf == "" {
				conf = block.Text
			} else {
				rights = block.Text
			}
		case "toml":
			if f := s.functionOf(block.Text); f.Env != nil {
				kapacitor = f
			} else {
				s.file("/etc/bigpanda-udf/deliver.toml", s.before.Replace(block.Text), 0o600)
			}
		case "ini":
			unit = block.Text
		default:
			s.follow(block)
		}
	}
	if conf != example(t, "nats-server.conf") || rights != example(t, "rights.conf") {
		t.Error("docs/nats.md has another nats-server.conf or rights.conf than examples/nats")
	}
	return s, kapacitor
}

// unitEnv is what bigpanda-udf-deliver.service has in its environment, with the lines of
// a file.
func (s *site) unitEnv(lines string) []string {
	env := []string{"BIGPANDA_TOKEN_FILE=" + s.path("/etc/bigpanda-udf/token"), "BIGPANDA_DELIVER_LISTEN=127.0.0.1:0"}
	for line := range strings.Lines(lines) {
		env = append(env, s.before.Replace(strings.TrimSpace(line)))
	}
	return env
}

// Two hosts tell the same, and BigPanda hears it once, with the configuration, the rights
// and the settings of docs/nats.md. What one host alone tells arrives, too.
func TestDocsSetUp(t *testing.T) {
	t.Parallel()
	s, kapacitor := setUp(t)
	a, b := s.host("a", kapacitor), s.host("b", kapacitor)
	for _, f := range []*test.Function{a, b} {
		f.Send(test.Point("web-1", "CRITICAL", 1700000000), test.Point("web-1", "OK", 1700000010))
		if code := f.End(); code != 0 {
			t.Errorf("the function ends with code %d", code)
		}
	}
	a = s.host("a", kapacitor)
	a.Send(test.Point("web-1", "WARNING", 1700000020))
	test.WaitFor(t, s.panda, func(st sandbox.Stats) bool { return st.Events >= 3 })
	// Behind it nothing is on its way: the last of the other host is delivered before.
	b = s.host("b", kapacitor)
	b.Send(test.Point("web-2", "WARNING", 1700000020))
	test.WaitEvents(t, s.panda, 4)
	if n := len(s.panda.Events()); n != 4 {
		t.Errorf("BigPanda has %d events, want 4: one for each change", n)
	}
	s.noViolation()
}

// noViolation fails the test if the servers have denied anything.
func (s *site) noViolation() {
	s.t.Helper()
	if found := regexp.MustCompile(`.*Violation.*`).FindString(s.serverLogs()); found != "" {
		s.t.Errorf("a right is missing: %s", found)
	}
}

func (s *site) serverLogs() (logs string) {
	s.t.Helper()
	for _, server := range s.servers {
		text, err := os.ReadFile(filepath.Join(server.Dir(), "nats-server.log"))
		s.must(err)
		logs += string(text)
	}
	return logs
}

// connect connects as one of the users, and hands over what the servers deny.
func (s *site) connect(user string) (nc *nats.Conn, denied chan error) {
	s.t.Helper()
	seed, err := nats.NkeyOptionFromSeed(s.path("/keys/" + user + ".nk"))
	s.must(err)
	denied = make(chan error, 100)
	nc, err = nats.Connect(strings.ReplaceAll(s.cluster.URLs(), "nats:", "tls:"), seed, nats.RootCAs(s.path("/etc/nats/ca.pem")),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	s.must(err)
	s.t.Cleanup(nc.Close)
	return nc, denied
}

// What the rights leave out is denied: a function reads nothing, and nobody changes or
// deletes a stream, or reads the answers of another user.
func TestDocsRightsDeny(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startServers(example(t, "nats-server.conf"), example(t, "rights.conf"))
	for user, not := range map[string]struct{ publish, subscribe []string }{
		"functions": {
			[]string{
				"BIGPANDA.d.x", "$KV.BIGPANDA_LEASE.sender", "$JS.API.STREAM.CREATE.BIGPANDA", "$JS.API.DIRECT.GET.BIGPANDA", "$JS.API.STREAM.PURGE.BIGPANDA",
				"$JS.API.CONSUMER.CREATE.BIGPANDA.x", "BIGPANDA_LEASE.handover", "_INBOX_deliverers.x", "$SYS.REQ.SERVER.PING.JSZ",
			},
			[]string{"BIGPANDA.a.*", ">", "_INBOX.>", "_INBOX_deliverers.>", "BIGPANDA_LEASE.*"},
		},
		"deliverers": {
			[]string{
				"$JS.API.STREAM.UPDATE.BIGPANDA", "$JS.API.STREAM.DELETE.BIGPANDA", "$JS.API.STREAM.MSG.DELETE.BIGPANDA", "$JS.API.STREAM.CREATE.OTHER",
				"$JS.API.STREAM.SNAPSHOT.BIGPANDA", "_INBOX_functions.x",
			},
			[]string{"BIGPANDA.a.*", ">", "_INBOX.>", "_INBOX_functions.>"},
		},
	} {
		nc, denied := s.connect(user)
		for _, subject := range not.publish {
			s.must(nc.Publish(subject, nil))
		}
		for _, subject := range not.subscribe {
			_, err := nc.SubscribeSync(subject)
			s.must(err)
		}
		subjects := slices.Concat(not.publish, not.subscribe)
		var heard strings.Builder
		natstest.Await(t, user+" is denied all of it", func() error {
			for len(denied) > 0 {
				heard.WriteString((<-denied).Error() + "\n")
			}
			for _, subject := range subjects {
				if !strings.Contains(heard.String(), `"`+subject+`"`) {
					return os.ErrPermission
				}
			}
			return nil
		})
	}
}

// What docs/nats-operating.md says is done, word for word: a stream is looked into, its
// dead letters are dealt with, it gets more room, and a host moves to NATS and back, with
// each of its changes in order. All of it with the users' rights, of which each is needed.
func TestDocsOperating(t *testing.T) {
	t.Parallel()
	s, kapacitor := setUp(t)
	test.SetFaults(t, s.panda, sandbox.Faults{Status: 400, Match: "web-refused"})
	other := s.host("a", kapacitor)
	other.Send(test.Point("web-1", "CRITICAL", 1700000000), test.Point("web-2", "WARNING", 1700000000), test.Point("web-refused", "CRITICAL", 1700000000))

	// A host that has one alert open, and one that BigPanda does not have yet.
	direct := function{Env: map[string]string{
		"BIGPANDA_APP_KEY": "YOUR_APP_KEY", "BIGPANDA_TOKEN_FILE": "/etc/bigpanda-udf/token", "BIGPANDA_OUTBOX": kapacitor.Env["BIGPANDA_OUTBOX"],
	}}
	moving := s.host("", direct)
	next := []function{kapacitor, direct}
	s.does["sudo systemctl restart kapacitor"] = func() {
		if code := moving.End(); code != 0 {
			t.Errorf("the function ends with code %d", code)
		}
		moving, next = s.host("", next[0]), next[1:]
		test.SetFaults(t, s.panda, sandbox.Faults{})
	}
	s.does["export BIGPANDA_CONFIG="] = func() {
		s.exported = append(s.exported, "BIGPANDA_CONFIG="+s.path("/etc/bigpanda-udf/deliver.toml"))
	}
	s.does["nats --server tls://nats-1.example.com:4222 --tlsca /etc/bigpanda-udf/nats-ca.pem --nkey administrators.nk"] = s.giveRoom
	s.does["sudo systemctl disable --now bigpanda-udf-deliver.service"] = func() {
		s.stop("deliver-1")
		s.stop("deliver-2")
	}
	for _, block := range pageOf(t, "docs/nats-operating.md").Blocks {
		if strings.Contains(block.Text, "outbox status") { // before it moves
			moving.Send(test.Point("web-3", "CRITICAL", 1700000000))
			test.WaitFor(t, s.panda, func(st sandbox.Stats) bool { return len(test.Statuses(s.panda)["web-3"]) == 1 })
			test.SetFaults(t, s.panda, sandbox.Faults{Status: 503, Match: "web-4"})
			moving.Send(test.Point("web-4", "CRITICAL", 1700000000))
		}
		s.follow(block)
	}
	moving.Send(test.Point("web-3", "OK", 1700000010), test.Point("web-4", "OK", 1700000010))
	test.WaitFor(t, s.panda, func(st sandbox.Stats) bool { return len(test.Statuses(s.panda)["web-4"]) >= 2 })
	for _, host := range []string{"web-3", "web-4"} {
		if got := test.Statuses(s.panda)[host]; !slices.Equal(got, []string{"critical", "ok"}) {
			t.Errorf("%s was %q, want critical and ok", host, got)
		}
	}
	s.noViolation()
	s.eachRightIsUsed()
}

// giveRoom does what the page says that administrators do with the command nats.
func (s *site) giveRoom() {
	s.t.Helper()
	for _, server := range s.servers {
		path := filepath.Join(server.Dir(), "nats-server.conf")
		conf, err := os.ReadFile(path)
		s.must(err)
		const less, more = "max_file_store: 5GB", "max_file_store: 10GB"
		if !strings.Contains(string(conf), less) {
			s.t.Fatalf("nats-server.conf has no %s", less)
		}
		server.Configure(strings.Replace(string(conf), less, more, 1))
		server.Stop()
		server.Restart()
		s.cluster.Await()
	}
	nc, _ := s.connect("administrators")
	js, err := jetstream.New(nc)
	s.must(err)
	natstest.Await(s.t, "the stream gets more room", func() error {
		alerts, err := js.Stream(s.t.Context(), "BIGPANDA")
		if err != nil {
			return err
		}
		config := alerts.CachedInfo().Config
		config.MaxBytes = 8 << 30
		_, err = js.UpdateStream(s.t.Context(), config)
		return err
	})
}

// eachRightIsUsed fails the test for a right of the page that nobody has made use of.
func (s *site) eachRightIsUsed() {
	s.t.Helper()
	var used []string
	for _, found := range regexp.MustCompile(`<<- \[H?PUB (\S+)`).FindAllStringSubmatch(s.serverLogs(), -1) {
		used = append(used, found[1])
	}
	if len(used) == 0 {
		s.t.Fatal("the servers' logs do not say what was published")
	}
	for _, found := range regexp.MustCompile(`(?m)^    "(\S+)"$`).FindAllStringSubmatch(example(s.t, "rights.conf"), -1) {
		if !slices.ContainsFunc(used, func(subject string) bool { return server.SubjectMatchesFilter(subject, found[1]) }) {
			s.t.Errorf("nobody needs the right to publish %s", found[1])
		}
	}
}
