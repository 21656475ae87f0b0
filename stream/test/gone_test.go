package test

import (
	"fmt"
	"testing"
	"time"

	"bigpanda-udf/counters"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
)

// What was left of a held app key in the stream, and has expired before its turn, is
// counted and waited for no longer: with the rights that the documentation lists.
func TestDeliverExpiredOfAHeldAppKey(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{Config: userMay(rightsOfADeliverer(t), "_INBOX_deliverers.>", "BIGPANDA_LEASE.*")})
	r := newRig(t, s.URL(), stream.Options{User: "kapacitor", PasswordFile: file(t, "password", "kapacitor"), InboxPrefix: "_INBOX_deliverers"})
	r.bigPanda.set(time.Millisecond, heldAppKey("held"))
	d := r.deliver("d1", deliverOptions{})
	r.padding = 60_000 // 700 of them are more than may be in memory
	r.publish(many("held", 700)...)
	natstest.Await(t, "all are read", func() error {
		if got := r.record().Read; got != 700 {
			return fmt.Errorf("%d are", got)
		}
		return nil
	})
	alerts, err := r.jetStream.Stream(t.Context(), "BIGPANDA")
	if err != nil {
		t.Fatal(err)
	}
	if err := alerts.Purge(t.Context()); err != nil { // as their age would have it
		t.Fatal(err)
	}
	r.bigPanda.set(time.Millisecond, nil)
	r.readTo(700)
	r.wantLog("alerts are lost")
	var all counters.Counters
	d.Count(&all)
	if delivered := len(r.firsts("")); all.Expired == 0 || all.Expired+delivered != 700 {
		t.Errorf("%d are delivered, and %d are counted as expired", delivered, all.Expired)
	}
}
