package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/counters"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go/jetstream"
)

// P5: what is published is delivered, once and in order for each alert.
func TestDeliver(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	d := r.deliver("d1", deliverOptions{})
	if err := d.Ready(); err == nil {
		t.Error("it is ready before NATS has answered")
	}
	for range 5 {
		r.publish(many("x", 300)...)
		r.publish(many("y", 30)...)
	}
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
	if err := d.Ready(); err != nil {
		t.Error(err)
	}
	r.readTo(1650)
	// The next one begins where this one has ended.
	d.stop()
	d = r.deliver("d2", deliverOptions{})
	r.publish("x/h1")
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
	natstest.Await(t, "it is counted", func() error {
		var all counters.Counters
		d.Count(&all)
		if all.Delivered != 1 || d.Report().LastSuccess.IsZero() {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
}

// readTo waits until all up to a number is delivered, and the record has it.
func (r *rig) readTo(seq uint64) {
	r.t.Helper()
	natstest.Await(r.t, "the record has all", func() error {
		if c := r.record(); c.Read != seq || len(c.AppKeys) != 0 {
			return fmt.Errorf("it has %+v", c)
		}
		return nil
	})
}

// An app key that is held for long, with more behind it than is kept in memory, holds up
// nobody, makes no large record, and is delivered in order when it is mended, by another
// deliverer, too.
func TestDeliverHeldAppKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	r.bigPanda.set(time.Millisecond, heldAppKey("held"))
	d := r.deliver("d1", deliverOptions{})
	r.padding = 10_000 // 2,000 of them are more than may be in memory
	for range 20 {
		r.publish(many("held", 100)...)
		r.publish(many("y", 10)...)
	}
	r.padding = 0
	r.delivered("y/")
	var longest time.Duration
	for range 10 {
		began := time.Now()
		r.publish("y/h1")
		r.delivered("y/")
		longest = max(longest, time.Since(began))
	}
	t.Logf("others take %v at most, the record has %d bytes", longest, r.record().size)
	if report := d.Report(); len(report.Held) != 1 || report.Held[0].AppKey != "held" {
		t.Errorf("the report says %+v", report)
	}
	d.stop()
	r.deliver("d2", deliverOptions{})
	r.publish("y/h2")
	r.delivered("y/")
	if size := r.record().size; size > 6<<10 {
		t.Errorf("the record has %d bytes", size)
	}
	r.bigPanda.set(time.Millisecond, nil)
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
	r.readTo(20*110 + 11)
}

// Single alerts that BigPanda does not answer for hold up only themselves, and over a
// failover nothing is sent twice but what was under way.
func TestDeliverBadAlerts(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	bad := make(map[string]bool)
	for i := range 20 {
		bad[fmt.Sprintf("x/h%d", 10*i)] = true
	}
	r.bigPanda.set(time.Millisecond, func(_ string, events []event) int {
		if slices.ContainsFunc(events, func(e event) bool { return bad[e.alert] }) {
			return http.StatusInternalServerError
		}
		return 0
	})
	d := r.deliver("d1", deliverOptions{})
	r.publish(many("x", 300)...)
	r.await("the good ones are delivered", func() bool { return len(r.firsts("")) == 280 })
	d.stop()
	r.deliver("d2", deliverOptions{})
	r.publish(many("y", 10)...)
	r.delivered("y/")
	r.bigPanda.set(time.Millisecond, nil)
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
}

// P5: what BigPanda refuses is a dead letter before it counts as done: where it cannot
// be stored, it stays undelivered, and holds up only itself.
func TestDeliverDeadLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	dead := jetstream.StreamConfig{Name: "BIGPANDA_DEAD", Subjects: []string{"BIGPANDA.d.*"}, Discard: jetstream.DiscardNew, MaxMsgs: 1}
	if _, err := r.jetStream.CreateStream(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	r.bigPanda.set(time.Millisecond, func(_ string, events []event) int {
		if slices.ContainsFunc(events, func(e event) bool { return e.alert == "x/h1" || e.alert == "x/h2" }) {
			return http.StatusBadRequest
		}
		return 0
	})
	d := r.deliver("d1", deliverOptions{})
	r.publish(many("x", 10)...)
	r.await("the good ones are delivered", func() bool { return len(r.firsts("")) == 8 })
	natstest.Await(t, "it cannot be stored", func() error {
		if !strings.Contains(r.log.String(), "a dead letter cannot be kept") {
			return fmt.Errorf("nothing is said")
		}
		return nil
	})
	if got := r.record(); len(got.AppKeys) != 1 {
		t.Errorf("the record has %+v", got)
	}
	dead.MaxMsgs = 10
	if _, err := r.jetStream.UpdateStream(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	r.readTo(10)
	letters, _, err := r.conn.DeadLetters(t.Context(), 0, 10)
	if err != nil || len(letters) != 2 || letters[0].Status != http.StatusBadRequest {
		t.Errorf("got %+v, %v", letters, err)
	}
	var all counters.Counters
	d.Count(&all)
	if all.Dead != 2 {
		t.Errorf("%d are counted", all.Dead)
	}
}

// What is no alert is a dead letter, and holds up nothing.
func TestDeliverNoAlert(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	r.deliver("d1", deliverOptions{})
	r.publish("x/h1")
	for _, text := range []string{"", "\xff", "{}", `{"app_key":"x","status":"ok"}`} {
		if _, err := r.jetStream.Publish(t.Context(), "BIGPANDA.a.other", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	r.publish("x/h1")
	r.delivered("")
	r.readTo(6)
	letters, _, err := r.conn.DeadLetters(t.Context(), 0, 10)
	if err != nil || len(letters) != 4 {
		t.Errorf("got %+v, %v", letters, err)
	}
}

// A stream that is made anew is delivered from its beginning, at once.
func TestDeliverStreamMadeAnew(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("while the deliverer runs: %v", running), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
			d := r.deliver("d1", deliverOptions{})
			r.publish(many("x", 20)...)
			r.delivered("")
			r.readTo(20)
			if !running {
				d.stop()
			}
			if err := r.jetStream.DeleteStream(t.Context(), "BIGPANDA"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r.publish(many("x", 10)...)
			if !running {
				r.deliver("d2", deliverOptions{})
			}
			r.delivered("")
			t.Logf("it took %v", time.Since(began))
			r.readTo(10)
			r.wantLog("the stream was made anew")
			if n := r.inOrder(); n != 0 {
				t.Errorf("%d duplicates", n)
			}
		})
	}
}

// A stream that was restored as it was before: the numbers of what comes then were
// delivered before, as others.
func TestDeliverStreamRestored(t *testing.T) {
	t.Parallel()
	for _, more := range []int{5, 15} {
		t.Run(fmt.Sprintf("%d more", more), func(t *testing.T) {
			t.Parallel()
			server := natstest.Start(t, natstest.Options{})
			r := newRig(t, server.URL(), stream.Options{})
			d := r.deliver("d1", deliverOptions{})
			r.publish(many("x", 10)...)
			r.delivered("")
			r.readTo(10)
			backup := t.TempDir()
			folders, err := filepath.Glob(filepath.Join(server.StoreDir(), "*", "*", "streams", "BIGPANDA"))
			if err != nil || len(folders) != 1 {
				folders, err = filepath.Glob(filepath.Join(server.StoreDir(), "*", "streams", "BIGPANDA"))
			}
			if err != nil || len(folders) != 1 {
				t.Fatalf("the stream's files are in %v: %v", folders, err)
			}
			server.Stop()
			if err := os.CopyFS(filepath.Join(backup, "s"), os.DirFS(folders[0])); err != nil {
				t.Fatal(err)
			}
			server.Restart()
			r.publish(many("x", 10)...)
			r.delivered("")
			r.readTo(20)
			d.stop()
			server.Stop()
			if err := os.RemoveAll(folders[0]); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(folders[0], os.DirFS(filepath.Join(backup, "s"))); err != nil {
				t.Fatal(err)
			}
			server.Restart()
			r.publish(many("x", more)...)
			r.deliver("d2", deliverOptions{})
			r.delivered("")
			r.readTo(uint64(10 + more))
			r.wantLog("that was restored")
			r.inOrder()
		})
	}
}

// What the stream drops for its age before it is delivered is counted, and said.
func TestDeliverExpired(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{MaxAge: 4 * time.Second, Window: time.Second})
	d := r.deliver("d1", deliverOptions{})
	r.publish(many("x", 10)...)
	r.delivered("")
	r.readTo(10)
	d.stop()
	r.publish(many("x", 10)...)
	r.purged(0)
	for alert := range r.published {
		r.published[alert] = 1 // the second changes are gone
	}
	r.publish(many("z", 5)...)
	d = r.deliver("d2", deliverOptions{})
	r.delivered("")
	r.wantLog("alerts are lost")
	var all counters.Counters
	d.Count(&all)
	if all.Expired != 10 {
		t.Errorf("%d are counted, want 10", all.Expired)
	}
}

// What is delivered is removed when it is older than the window, and nothing else.
func TestDeliverPurge(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{Window: 3 * time.Second})
	r.bigPanda.set(time.Millisecond, heldAppKey("held"))
	r.deliver("d1", deliverOptions{})
	r.publish(many("held", 10)...)
	r.publish(many("x", 50)...)
	r.publish(many("held", 10)...)
	r.delivered("x/")
	published := time.Now()
	alerts, err := r.jetStream.Stream(t.Context(), "BIGPANDA")
	if err != nil {
		t.Fatal(err)
	}
	natstest.Await(t, "what is delivered is purged", func() error {
		info, err := alerts.Info(t.Context())
		switch {
		case err != nil:
			return err
		case info.State.Msgs < 70 && time.Since(published) < time.Second:
			t.Fatalf("%d are left of what is in the window", info.State.Msgs)
		case info.State.Msgs != 20:
			return fmt.Errorf("%d are left", info.State.Msgs)
		}
		return nil
	})
	r.bigPanda.set(time.Millisecond, nil)
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
	if strings.Contains(r.log.String(), "alerts are lost") {
		t.Error("what was purged is taken for lost")
	}
}
