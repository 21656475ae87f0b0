package test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/udf"

	"github.com/nats-io/nats.go"
)

// sized is an alert of about n bytes.
func sized(host string, n int) []byte {
	return bigpanda.Payload{Status: "ok", Timestamp: 1, Properties: map[string]string{"host": host, "details": strings.Repeat("x", n)}}.Encode()
}

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
	sender := udf.NewSender(queue, retry.NewLimitedAPI(c.NewPublisher(), 2, 0), udf.SenderOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() { sender.Run(ctx) })
	defer sending.Wait()
	defer cancel()
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
	restartWith(t, s, small, "max_payload: 1MB")
	left(0)
}

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
	s, err := r.conn.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.Lease.Standby); n < 1 || n > 100 {
		t.Errorf("%d stand by", n)
	}
	for _, owner := range s.Lease.Standby {
		if owner == "large" || strings.Contains(owner, "\x1b") || len(owner) > 400 {
			t.Errorf("%.500q stands by", owner)
		}
	}
}

// restartWith starts a server anew with a line of its configuration replaced.
func restartWith(t *testing.T, s *natstest.Server, old, line string) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(s.Dir(), "nats-server.conf"))
	if err != nil || !strings.Contains(string(config), old) {
		t.Fatalf("the configuration is %s, %v", config, err)
	}
	s.Configure(strings.Replace(string(config), old, line, 1))
	s.Stop()
	s.Restart()
}
