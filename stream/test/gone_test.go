package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/counters"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go/jetstream"
)

// A stream that is gone is made anew by the deliverer, since functions may not, and until
// somebody has made it the log says what is missing, once.
func TestDeliverStreamGone(t *testing.T) {
	t.Parallel()
	for _, create := range []bool{true, false} {
		t.Run(fmt.Sprintf("the deliverer may make it: %v", create), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
			r.publish("x/a") // which makes it
			d := r.deliver("d1", deliverOptions{})
			r.delivered("")
			r.readTo(1)
			maker := r.conn
			r.options.Create = false
			r.conn = r.connect("a function")
			if !create {
				d.stop()
			}
			if err := r.jetStream.DeleteStream(t.Context(), "BIGPANDA"); err != nil {
				t.Fatal(err)
			}
			if !create {
				r.deliver("d2", deliverOptions{})
				natstest.Await(t, "it says so", func() error {
					if said := strings.Count(r.log.String(), "there is no stream BIGPANDA"); said < 1 {
						return fmt.Errorf("it does not")
					}
					return nil
				})
				r.leads("d2")
				revision := r.record().revision
				natstest.Await(t, "it renews its lease", func() error {
					if got := r.record().revision; got < revision+2 {
						return fmt.Errorf("the revision is %d", got)
					}
					return nil
				})
				if said := r.log.String(); strings.Count(said, "there is no stream BIGPANDA") != 1 || !strings.Contains(said, "the stream cannot be read") {
					t.Error("the log does not say once what is missing")
				}
				r.conn = maker
			}
			r.publish("x/a")
			r.delivered("")
			r.readTo(1)
			if n := r.inOrder(); n != 0 {
				t.Errorf("%d duplicates", n)
			}
		})
	}
}

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

// A right that is missing is named, once, and who can not deliver for it is not ready;
// once it is there all is delivered.
func TestDeliverWithoutARight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		missing, said string
		ready         bool // it has the lease
	}{
		{"$KV.BIGPANDA_LEASE.sender", "publish $KV.BIGPANDA_LEASE.sender", false},
		{"$JS.API.DIRECT.GET.KV_BIGPANDA_LEASE.>", "publish $JS.API.DIRECT.GET.KV_BIGPANDA_LEASE.", false},
		{"$JS.API.CONSUMER.MSG.NEXT.BIGPANDA.*", "publish $JS.API.CONSUMER.MSG.NEXT.BIGPANDA.", true},
	} {
		t.Run(tt.missing, func(t *testing.T) {
			t.Parallel()
			all := rightsOfADeliverer(t)
			lacking := slices.DeleteFunc(slices.Clone(all), func(right string) bool { return right == tt.missing })
			less, more := userMay(lacking, "_INBOX_deliverers.>", "BIGPANDA_LEASE.*"), userMay(all, "_INBOX_deliverers.>", "BIGPANDA_LEASE.*")
			s := natstest.Start(t, natstest.Options{Config: less})
			r := newRig(t, s.URL(), stream.Options{LeaseTTL: time.Second})
			r.publish("x/a", "x/b", "x/a")
			r.options.User, r.options.PasswordFile, r.options.InboxPrefix = "kapacitor", file(t, "password", "kapacitor"), "_INBOX_deliverers"
			d := r.deliver("d1", deliverOptions{})
			says := func(text string) int { return strings.Count(r.log.String(), "configuration: "+text) }
			natstest.Await(t, "it says so", func() error {
				if says(tt.said) == 0 {
					return fmt.Errorf("it is %v", d.Ready())
				}
				return nil
			})
			began := time.Now()
			natstest.Await(t, "it is tried again and again", func() error {
				if err := d.Ready(); (err == nil) != tt.ready {
					t.Fatalf("it is ready: %v", err)
				}
				if took := time.Since(began); took < 3*time.Second {
					return fmt.Errorf("it is, since %v", took)
				}
				return nil
			})
			if n := says(tt.said); n != 1 || strings.Contains(r.log.String(), "is reached again") {
				t.Errorf("it is said %d times", n)
			}
			configure(t, s, less, more)
			r.delivered("")
			natstest.Await(t, "it is ready", d.Ready)
			if n := r.inOrder(); n != 0 {
				t.Errorf("%d duplicates", n)
			}
		})
	}
}

// Whoever delivers a stream that somebody has made in another way says what is wrong with
// it, and check does.
func TestDeliverStreamOfOtherSettings(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	if _, err := r.jetStream.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "BIGPANDA", Subjects: []string{"BIGPANDA.a.*"}, Retention: jetstream.InterestPolicy, MaxMsgSize: 1000, AllowDirect: true,
	}); err != nil {
		t.Fatal(err)
	}
	r.deliver("d1", deliverOptions{})
	const wrong = "retention is Interest, not Limits; discard is DiscardOld, not DiscardNew"
	natstest.Await(t, "it says so", func() error {
		if log := r.log.String(); !strings.Contains(log, "the stream has settings with which alerts are held or lost") || !strings.Contains(log, wrong) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	wantFindings(t, r.conn.Check(t.Context(), false), "fail nats stream: stream BIGPANDA: "+wrong+"|max_msg_size is 1000, which alerts may be above")
}
