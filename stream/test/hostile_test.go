package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go"
)

// P5: whoever finds that a later version of this program has taken the lease leaves it,
// also when it cannot read what that has written.
func TestLeaseOfALaterVersion(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: time.Second})
	d := r.deliver("d1", deliverOptions{})
	r.publish("x/a")
	r.delivered("")
	kv, err := r.jetStream.KeyValue(t.Context(), "BIGPANDA_LEASE")
	if err != nil {
		t.Fatal(err)
	}
	const later = `{"epoch":1000,"owner":"later","app_keys":["another form"]}`
	if _, err := kv.PutString(t.Context(), "sender", later); err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "the owner has left the lease", func() error {
		if !strings.Contains(r.log.String(), "this deliverer delivers no longer") {
			return fmt.Errorf("it is %v", d.Ready())
		}
		return nil
	})
	if entry, err := kv.Get(t.Context(), "sender"); err != nil || string(entry.Value()) != later {
		t.Errorf("the record of the later version is now %s (%v)", entry.Value(), err)
	}
}

// P7: a message of somebody else that is as large as the servers allow ends no deliverer,
// and holds up no alert.
func TestDeliverHugeMessage(t *testing.T) {
	t.Parallel()
	s := natstest.Place(t, "huge")
	s.Configure(fmt.Sprintf("server_name: huge\nlisten: %q\nhttp: %q\nmax_payload: 32MB\nmax_pending: 64MB\njetstream { store_dir: %q }\n",
		strings.TrimPrefix(s.URL(), "nats://"), strings.TrimPrefix(s.MonitorURL(), "http://"), s.StoreDir()))
	natstest.StartPlaced(t, s)
	r := newRig(t, s.URL(), stream.Options{})
	r.publish("x/a")
	m := nats.NewMsg("BIGPANDA.a.nobody")
	m.Data = []byte(`{"app_key":"k","status":"ok","x":` + strings.Repeat("[", 16<<20))
	if _, err := r.jetStream.PublishMsg(t.Context(), m); err != nil {
		t.Logf("the stream refuses it: %v", err)
	}
	r.publish("x/a", "x/b")
	r.deliver("d1", deliverOptions{})
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
}

// What is delivered stays for the window that the stream has, which may be longer than
// the deliverer's settings say: the ids of what is purged are accepted again.
func TestPurgeGoesByTheWindowOfTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{Window: time.Hour})
	r.publish("x/a", "x/b")
	published := time.Now()
	r.options.Window = 100 * time.Millisecond
	r.deliver("d1", deliverOptions{})
	r.delivered("")
	alerts, err := r.jetStream.Stream(t.Context(), "BIGPANDA")
	if err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "they are older than the settings' window", func() error {
		info, err := alerts.Info(t.Context())
		if err != nil {
			return err
		}
		if info.State.Msgs != 2 {
			t.Fatalf("%d alerts are left", info.State.Msgs)
		}
		if age := time.Since(published); age < time.Second {
			return fmt.Errorf("they are %v old", age)
		}
		return nil
	})
}
