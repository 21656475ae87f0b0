package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go"
)

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
