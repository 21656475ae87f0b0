package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// sized is an alert of about n bytes.
func sized(host string, n int) []byte {
	return bigpanda.Payload{Status: "ok", Timestamp: 1, Properties: map[string]string{"host": host, "details": strings.Repeat("x", n)}}.Encode()
}

// P5: where the servers take small messages alone, an alert that fits is sent, and one
// that does not waits, and is no dead letter; it goes once the limit is raised. The check
// says so.
func TestSmallMaxPayload(t *testing.T) {
	t.Parallel()
	const small = "max_payload: 4096"
	s := natstest.Start(t, natstest.Options{Config: small})
	c := connect(t, s.URL(), stream.Options{})
	wantFindings(t, c.Check(t.Context(), false), "fail nats: a message may have 4096 bytes here|set max_payload to 1MB")
	fails(t, c.NewPublisher(), bigpanda.Retry, bigpanda.ReasonTooLarge, "set max_payload to 1MB", sized("b", 3500))

	queue := outbox.NewMemory(0)
	var log lockedText
	sending(t, queue, c, &log)
	queue.Append([]outbox.Change{
		{Alert: "a", AppKey: "app", Payload: sized("a", 10)}, {Alert: "b", AppKey: "app", Payload: sized("b", 100_000)},
		{Alert: "c", AppKey: "app", Payload: sized("c", 2900)}, {Alert: "d", AppKey: "app", Payload: sized("d", 10)},
	}, nil)
	left := func(n int) {
		t.Helper()
		natstest.Await(t, "all that fit are sent", func() error {
			if stats := queue.Stats(); stats.Queued != n || stats.Dead != 0 {
				return fmt.Errorf("%+v", stats)
			}
			return nil
		})
	}
	left(1)
	natstest.Await(t, "the cause is said", func() error {
		if text := log.String(); !strings.Contains(text, "sent alone fails") || !strings.Contains(text, "set max_payload to 1MB") {
			return fmt.Errorf("the log is %.2000s", text)
		}
		return nil
	})
	configure(t, s, small, "max_payload: 1MB")
	left(0)
}

// P5: the deliverer keeps its lease where the servers take small messages alone, however
// many app keys are held, and those that ask get an answer.
func TestDeliverSmallMaxPayload(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{Config: "max_payload: 4096"}).URL(), stream.Options{LeaseTTL: time.Second})
	r.bigPanda.set(time.Millisecond, func(appKey string, _ []event) int {
		if strings.HasPrefix(appKey, "held") {
			return http.StatusNotFound
		}
		return 0
	})
	d := r.deliver("d1", deliverOptions{})
	const held = 200
	for i := range held {
		r.publish(fmt.Sprintf("held%d/h", i))
	}
	r.publish(many("x", 20)...)
	r.delivered("x/")
	natstest.Await(t, "all are held", func() error {
		if n := len(d.Report().Held); n != held {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	s, err := r.conn.Status(t.Context())
	if err != nil || s.Lease.Owner != "d1" || s.Lease.Epoch != 1 || len(s.Held) == 0 {
		t.Errorf("the status is %+v, %v", s, err)
	}
	r.deliver("d2", deliverOptions{})
	r.leads("d1")
	d.stop()
	r.leads("d2")
	r.publish(many("x", 20)...)
	r.bigPanda.set(time.Millisecond, nil)
	r.delivered("")
	r.inOrder()
	if strings.Contains(r.log.String(), "alerts are lost") {
		t.Error("what was delivered is taken for lost")
	}
}

// The limit of an account is told to its users, too.
func TestSmallMaxPayloadOfAccount(t *testing.T) {
	t.Parallel()
	config, creds := operatorMode(t, 4096)
	s := natstest.Start(t, natstest.Options{Config: config})
	o := stream.Options{CredsFile: file(t, "user.creds", creds)}
	fails(t, connect(t, s.URL(), o).NewPublisher(), bigpanda.Retry, bigpanda.ReasonTooLarge, "for the account", sized("b", 4500))
	c := connect(t, s.URL(), o)
	wantFindings(t, c.Check(t.Context(), false), "fail nats: a message may have 4096 bytes here|for the account")
	send(t, c.NewPublisher(), http.StatusCreated, sized("a", 2500))
}

// P7: what others answer in the place of deliverers is bounded, and fit to be shown.
func TestAnswersOfOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	r.deliver("d1", deliverOptions{})
	r.leads("d1")
	nc, err := nats.Connect(r.urls)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	answer := func(owner, text string) []byte {
		data, err := json.Marshal(stream.DelivererInfo{Owner: owner, Delivery: outbox.Delivery{LastError: text}})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if _, err := nc.Subscribe("BIGPANDA_LEASE.info", func(m *nats.Msg) {
		_ = m.Respond(answer("large", strings.Repeat("x", 900_000)))
		for i := range 1000 {
			_ = m.Respond(answer(fmt.Sprintf("%d \x1b[2J%s", i, strings.Repeat("y", 2000)), ""))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var s stream.Status
	natstest.Await(t, "answers come in time", func() (err error) {
		if s, err = r.conn.Status(t.Context()); err == nil && len(s.Lease.Standby) == 0 {
			err = errors.New("nobody stands by")
		}
		return err
	})
	if n := len(s.Lease.Standby); n > 100 {
		t.Errorf("%d stand by", n)
	}
	for _, owner := range s.Lease.Standby {
		if owner == "large" || strings.Contains(owner, "\x1b") || len(owner) > 400 {
			t.Errorf("%.500q stands by", owner)
		}
	}
}

// P5, P7: while no dead letter can be stored, what is no alert and what BigPanda refuses
// holds up nobody else, and becomes one when it can be, also by another deliverer.
func TestDeadLettersWait(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	dead := jetstream.StreamConfig{Name: "BIGPANDA_DEAD", Subjects: []string{"BIGPANDA.d.*"}, AllowDirect: true, NoAck: true}
	if _, err := r.jetStream.CreateStream(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	const each = 100
	for i := range each {
		r.publish(fmt.Sprintf("x/h%d", i))
		if _, err := r.jetStream.Publish(t.Context(), "BIGPANDA.a.other", fmt.Appendf(nil, "no alert %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	r.publish("bad/a", "bad/b")
	r.publish(many("y", each)...)
	r.bigPanda.set(time.Millisecond, func(appKey string, _ []event) int {
		if appKey == "bad" {
			return http.StatusBadRequest
		}
		return 0
	})
	began := time.Now()
	d := r.deliver("d1", deliverOptions{})
	r.delivered("x/")
	r.delivered("y/")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the others took %v", took)
	}
	d.stop()
	r.deliver("d2", deliverOptions{})
	r.leads("d2")
	dead.NoAck = false
	if _, err := r.jetStream.UpdateStream(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "nothing is undelivered", func() error {
		if got := r.record(); len(got.AppKeys) > 0 {
			return fmt.Errorf("it has %+v", got)
		}
		return nil
	})
	letters, more, err := r.conn.DeadLetters(t.Context(), 0, 1000)
	if err != nil || more || len(letters) != each+2 {
		t.Errorf("there are %d, %v, %v", len(letters), more, err)
	}
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
}

// P5: a subject that stands for those of others takes none of them along when what is
// delivered is purged.
func TestPurgeWildcard(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{Window: time.Second})
	r.bigPanda.set(time.Millisecond, heldAppKey("held"))
	r.publish(many("held", 10)...)
	for _, subject := range []string{"BIGPANDA.a.*", "BIGPANDA.a.>"} {
		if _, err := r.jetStream.Publish(t.Context(), subject, []byte("x")); err != nil {
			t.Logf("%s is refused: %v", subject, err)
		}
	}
	d := r.deliver("d1", deliverOptions{})
	r.publish(many("x", 10)...)
	r.delivered("x/")
	r.purged(12)
	d.stop()
	r.deliver("d2", deliverOptions{}) // which has none of them in memory
	r.bigPanda.set(time.Millisecond, nil)
	r.delivered("")
}
