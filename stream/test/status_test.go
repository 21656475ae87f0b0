package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
)

// What the status says while nothing is delivered, while an app key is held, and of
// whoever has died.
func TestStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: time.Second})
	began := time.Now().Add(-time.Minute)
	status := func() stream.Status {
		t.Helper()
		s, err := r.conn.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// waits are the app keys, with what is stored, delivered up to and waits.
	waits := func(s stream.Status) (text string) {
		for _, of := range s.AppKeys {
			text += fmt.Sprintf("%s %d %d %d; ", of.AppKey, of.Stored, of.DeliveredTo, of.Lag)
			if (of.Lag > 0) != of.OldestWaiting.After(began) {
				t.Errorf("the oldest of %s that waits came at %v", of.AppKey, of.OldestWaiting)
			}
		}
		return text
	}
	r.publish("x/a", "y/a", "x/b", "y/b", "x/a") // numbers 1 to 5: x x x y y
	s := status()
	if got := waits(s); got != "x 3 0 3; y 2 0 2; " || s.Lease.Owner != "" || s.Dead != 0 || len(s.Held) > 0 {
		t.Errorf("before anybody delivers: %s%+v", got, s)
	}
	st := s.Stream
	if st.Name != "BIGPANDA" || st.Messages != 5 || st.FirstSeq != 1 || st.LastSeq != 5 || st.Replicas != 1 ||
		st.MaxAge != stream.DefaultMaxAge || st.MaxBytes != stream.DefaultMaxBytes || !st.Created.After(began) || st.Bytes == 0 {
		t.Errorf("the stream is %+v", st)
	}

	r.bigPanda.set(0, heldAppKey("y"))
	first := r.deliver("d1", deliverOptions{})
	r.leads("d1")
	second := r.deliver("d2", deliverOptions{})
	r.delivered("x")
	natstest.Await(t, "the status says so", func() error {
		s := status()
		text := waits(s)
		held := slices.ContainsFunc(s.Held, func(h outbox.Held) bool { return h.AppKey == "y" && h.Cause == string(bigpanda.ReasonNotFound) })
		if text != "x 3 5 0; y 2 3 2; " || !held || s.Lease.Owner != "d1" || !slices.Equal(s.Lease.Standby, []string{"d2"}) || s.LastSuccess.IsZero() {
			return fmt.Errorf("%s%+v", text, s)
		}
		return nil
	})
	first.stop()
	r.leads("d2")
	natstest.Await(t, "the other delivers", func() error {
		if s := status(); s.Lease.Owner != "d2" || len(s.Lease.Standby) > 0 || s.Lease.Epoch < 2 {
			return fmt.Errorf("%+v", s.Lease)
		}
		return nil
	})
	r.bigPanda.set(0, nil)
	r.delivered("")
	natstest.Await(t, "nothing waits", func() error {
		if text := waits(status()); text != "x 3 5 0; y 2 5 0; " {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	second.stop()
	if s := status(); s.Lease.Owner != "" {
		t.Errorf("%s still has the lease", s.Lease.Owner)
	}

	text, err := json.Marshal(status())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"stream":{"name":"BIGPANDA"`, `"first_seq":1`, `"lease":{"epoch":`, `"standby":[]`, `"app_keys":[{"app_key":"x","stored":3,"delivered_to":5,"lag":0}`, `"dead":0`} {
		if !strings.Contains(string(text), name) {
			t.Errorf("the JSON has no %s: %s", name, text)
		}
	}

	// A stream that was made anew: nothing of it is delivered.
	if err := r.jetStream.DeleteStream(t.Context(), "BIGPANDA"); err != nil {
		t.Fatal(err)
	}
	r.publish("x/a")
	if got := waits(status()); got != "x 1 0 1; " {
		t.Errorf("of the new stream: %s", got)
	}
}

// An alert that BigPanda refuses is a dead letter with the answer, once, and reaches
// BigPanda when it is retried after the fault was mended; it may be refused again.
func TestDeadLetterOfADeliverer(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	refuseBad := func(_ string, events []event) int {
		if slices.ContainsFunc(events, func(e event) bool { return strings.HasPrefix(e.alert, "x/bad") }) {
			return http.StatusBadRequest
		}
		return 0
	}
	r.bigPanda.set(0, refuseBad)
	r.deliver("d1", deliverOptions{})
	r.publish("x/a", "x/bad", "x/b")
	letters := func(want int) (all []stream.DeadLetter) {
		t.Helper()
		natstest.Await(t, "there are dead letters", func() (err error) {
			if all, _, err = r.conn.DeadLetters(t.Context(), 0, 10); err == nil && len(all) != want {
				err = fmt.Errorf("there are %d, not %d", len(all), want)
			}
			return err
		})
		return all
	}
	for range 2 {
		letter := letters(1)[0]
		if letter.AppKey != "x" || letter.Status != http.StatusBadRequest || letter.Answer != "no\n" || letter.Level != "CRITICAL" ||
			time.Since(letter.Died) > time.Minute || !strings.Contains(string(letter.Payload), `"host":"bad"`) || !strings.Contains(letter.Alert, "bad") {
			t.Errorf("the dead letter is %+v", letter)
		}
		if s, err := r.conn.Status(t.Context()); err != nil || s.Dead != 1 {
			t.Errorf("the status says %d, %v", s.Dead, err)
		}
		if done, _, err := r.conn.RetryDead(t.Context(), letter.Seq); done != 1 || err != nil {
			t.Fatalf("retried: %d, %v", done, err)
		}
	}
	letter := letters(1)[0]
	r.bigPanda.set(0, nil)
	if done, _, err := r.conn.RetryDead(t.Context(), letter.Seq); done != 1 || err != nil {
		t.Fatalf("retried: %d, %v", done, err)
	}
	r.delivered("")
	letters(0)
}

// rightsOfADeliverer are what it may publish, as the documentation has it.
func rightsOfADeliverer(t *testing.T) (all []string) {
	t.Helper()
	_, text, _ := strings.Cut(example(t, "rights.conf"), "DELIVERERS {")
	for _, found := range regexp.MustCompile(`(?m)^    "(\S+)"$`).FindAllStringSubmatch(text, -1) {
		all = append(all, found[1])
	}
	if len(all) < 10 {
		t.Fatalf("the documentation has the rights %q", all)
	}
	return all
}

// userMay is the configuration of a server with a user who may publish and subscribe to
// some subjects alone, and one who may do everything and needs no login.
func userMay(publish []string, subscribe ...string) string {
	return fmt.Sprintf(`
accounts { APP { jetstream: enabled, users: [{user: admin, password: admin}, {user: kapacitor, password: kapacitor, permissions: {
  publish: ["%s"], subscribe: ["%s"], allow_responses: true
}}] } }
no_auth_user: admin
`, strings.Join(publish, `", "`), strings.Join(subscribe, `", "`))
}

// The rights that the documentation lists are enough for a deliverer, and each of them
// is missed by the check when it is not there.
func TestRightsOfADeliverer(t *testing.T) {
	t.Parallel()
	o := stream.Options{User: "kapacitor", PasswordFile: file(t, "password", "kapacitor"), InboxPrefix: "_INBOX_deliverers", LeaseTTL: time.Second}
	s := natstest.Start(t, natstest.Options{Config: userMay(rightsOfADeliverer(t), "_INBOX_deliverers.>", "BIGPANDA_LEASE.*")})
	c := connect(t, s.URL(), o)
	noFailures(t, c.Check(t.Context(), true))

	bigPanda := newFakeBigPanda(t)
	bigPanda.set(0, func(_ string, events []event) int {
		if slices.ContainsFunc(events, func(e event) bool { return e.alert == "app/bad" }) {
			return http.StatusBadRequest
		}
		return 0
	})
	deliverBy(t, c, bigPanda, "d1")
	send(t, c.NewPublisher(), 201, change("good", 0), change("bad", 0), change("good", 1))
	natstest.Await(t, "the dead letter is there, and the rest delivered", func() error {
		s, err := c.Status(t.Context())
		if err == nil && (s.Dead != 1 || len(s.AppKeys) != 1 || s.AppKeys[0].Lag > 0 || s.Lease.Owner != "d1") {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	if done, _, err := c.DropDead(t.Context(), 1); done != 1 || err != nil {
		t.Errorf("dropped: %d, %v", done, err)
	}
	deliverBy(t, connect(t, s.URL(), o), bigPanda, "d2")
	natstest.Await(t, "it is handed over", func() error { return c.HandOver(t.Context()) })
	noFailures(t, c.Check(t.Context(), true))
	log, err := os.ReadFile(filepath.Join(s.Dir(), "nats-server.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "Violation") && !strings.Contains(line, "$SYS.REQ.SERVER.PING.JSZ") { // which the check tries
			t.Errorf("a right was missing: %s", line)
		}
	}

	lacking := natstest.Start(t, natstest.Options{Config: userMay([]string{"nothing"}, "_INBOX_deliverers.>")})
	found := connect(t, lacking.URL(), o).Check(t.Context(), true)
	for _, right := range append(rightsOfADeliverer(t), "BIGPANDA_LEASE.info, subscribe BIGPANDA_LEASE.info, subscribe BIGPANDA_LEASE.handover") {
		if strings.Contains(right, "STREAM.CREATE") || strings.Contains(right, "$SYS") {
			continue // it may not even find out that it has to make them; and what it can do without
		}
		prefix := strings.TrimRight(right, "*>")
		if !slices.ContainsFunc(found, func(f stream.Finding) bool { return f.State == "fail" && strings.Contains(f.Text, prefix) }) {
			t.Errorf("the check misses %s: %+v", right, found)
		}
	}
}

// deliverBy runs a deliverer over a connection until the test ends.
func deliverBy(t *testing.T, c *stream.Conn, bigPanda *fakeBigPanda, owner string) {
	t.Helper()
	d := c.NewDeliverer(stream.DelivererOptions{Owner: owner, API: bigPanda.client(t, owner)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}
