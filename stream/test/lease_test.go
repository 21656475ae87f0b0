package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
)

const testTTL = 2 * time.Second

// Two deliverers: one delivers, the other stands by, and takes over when the lease is
// handed over: when its owner is stopped, or on request.
func TestLeaseIsHandedOver(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		hand func(t *testing.T, r *rig, d *deliverer)
	}{
		{"its owner is stopped", func(_ *testing.T, _ *rig, d *deliverer) { d.stop() }},
		{"on request", func(t *testing.T, r *rig, _ *deliverer) {
			if err := r.conn.HandOver(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
			d1 := r.deliver("d1", deliverOptions{})
			r.leads("d1")
			d2 := r.deliver("d2", deliverOptions{})
			natstest.Await(t, "d2 stands by", d2.Ready)
			r.publish(many("x", 10)...)
			r.delivered("")

			handed := make(chan struct{})
			go func() {
				defer close(handed)
				tt.hand(t, r, d1)
			}()
			for over := false; !over; {
				select {
				case <-handed:
					over = true
				default:
				}
				r.publish("x/h0")
			}
			r.publish("x/h0")
			r.delivered("")
			firsts := r.firsts("")
			gap := longestGap(firsts)
			t.Logf("the longest gap is %v", gap)
			if gap > 2*time.Second { // with nobody to hand it over, it would be the TTL of 5 s
				t.Errorf("nobody delivers for %v", gap)
			}
			if n := r.inOrder(); n != 0 || firsts[len(firsts)-1].from != "d2" {
				t.Errorf("%d duplicates, the last is from %s", n, firsts[len(firsts)-1].from)
			}
		})
	}
}

// longestGap is the longest time between two deliveries, of changes that are published
// all the time.
func longestGap(events []event) (longest time.Duration) {
	for i := 1; i < len(events); i++ {
		longest = max(longest, events[i].at.Sub(events[i-1].at))
	}
	return longest
}

func TestLeaseHandOverNeedsAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	if err := r.conn.HandOver(t.Context()); err == nil || !strings.Contains(err.Error(), "start one") {
		t.Errorf("without a deliverer: %v", err)
	}
	r.deliver("d1", deliverOptions{})
	r.leads("d1")
	if err := r.conn.HandOver(t.Context()); err == nil || !strings.Contains(err.Error(), "start another") {
		t.Errorf("with one deliverer: %v", err)
	}
	if got := r.record().Owner; got != "d1" {
		t.Errorf("%q has the lease", got)
	}
}

// P5: a deliverer that is killed is replaced within the TTL and half a second.
func TestLeaseOwnerIsKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: testTTL})
	first := r.child("first", 0)
	r.leads("first")
	d2 := r.deliver("second", deliverOptions{})
	natstest.Await(t, "it stands by", d2.Ready)
	r.bigPanda.set(100*time.Millisecond, nil)
	for range 3 {
		r.publish(many("x", 700)...)
	}
	r.await("some are delivered", func() bool { return len(r.bigPanda.events()) > 500 })
	first.signal(syscall.SIGKILL)
	killed := time.Now()
	r.publish(many("x", 700)...)
	r.delivered("")
	i := slices.IndexFunc(r.bigPanda.events(), func(e event) bool { return e.from == "second" })
	gap := r.bigPanda.events()[i].at.Sub(killed)
	t.Logf("with a TTL of %v the second delivers %v after the kill, %d duplicates", testTTL, gap, r.inOrder())
	if gap > testTTL+2*time.Second { // a busy machine is slow
		t.Errorf("the second delivers only after %v", gap)
	}
	if n := r.inOrder(); n > 4*500 {
		t.Errorf("%d duplicates, more than were under way", n)
	}
}

// While the TTL is changed, on one host after the other, the lease is its owner's for as
// long as that may send.
func TestLeaseOfALongerTTL(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: 10 * time.Second})
	r.deliver("d1", deliverOptions{})
	r.leads("d1")
	r.options.LeaseTTL = time.Second
	d2 := r.deliver("d2", deliverOptions{})
	natstest.Await(t, "d2 stands by", d2.Ready)
	revision := r.record().revision
	natstest.Await(t, "the lease is renewed", func() error {
		if got := r.record(); got.revision < revision+2 && got.Owner == "d1" {
			return fmt.Errorf("the revision is %d", got.revision)
		}
		return nil
	})
	if got := r.record(); got.Owner != "d1" {
		t.Errorf("%s has the lease", got.Owner)
	}
	d2.stop()
	if strings.Contains(r.log.String(), "level=WARN") {
		t.Error("that one is told to end is a warning")
	}
}

// A deliverer that was stopped in mid-work, and goes on after its lease has passed to
// another: what it had begun counts for nothing, and it begins nothing.
func TestLeaseOwnerIsPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: time.Second})
	first := r.child("first", 0)
	r.leads("first")
	r.child("second", 0)
	r.bigPanda.set(20*time.Millisecond, nil)
	first.signal(syscall.SIGSTOP)
	stopped := time.Now()
	for range 3 {
		r.publish(many("x", 300)...)
	}
	r.delivered("")
	first.signal(syscall.SIGCONT)
	r.publish(many("x", 300)...)
	r.delivered("")
	natstest.Await(t, "the first knows", func() error {
		if !strings.Contains(r.log.String(), "another deliverer has the lease") {
			return errors.New("it has not said so")
		}
		return nil
	})
	for _, q := range r.bigPanda.requests() {
		if q.from == "first" && q.at.After(stopped.Add(time.Second)) {
			t.Errorf("the first sends %v after it was stopped", q.at.Sub(stopped))
		}
	}
	r.inOrder()
}

// With NATS away, nothing starts after a part of the TTL, what is under way is broken off,
// and the owner goes on when it is back.
func TestLeaseIsNotRenewed(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Options{})
	r := newRig(t, server.URL(), stream.Options{LeaseTTL: testTTL})
	r.deliver("d1", deliverOptions{connections: 2, batchSize: 20})
	r.leads("d1")
	r.bigPanda.set(100*time.Millisecond, nil)
	r.publish(many("x", 1000)...)
	r.await("some are delivered", func() bool { return len(r.bigPanda.events()) > 20 })
	server.Pause()
	paused := time.Now()
	<-time.After(2 * testTTL) // longer than the lease
	for _, q := range r.bigPanda.requests() {
		if late := q.at.Sub(paused); late > testTTL {
			t.Errorf("a request starts %v after NATS was gone", late)
		}
	}
	server.Resume()
	r.delivered("")
	t.Logf("%d duplicates", r.inOrder())
}

// A deliverer that is stopped while NATS is away ends soon, also with an answer of
// BigPanda that it cannot note.
func TestLeaseStopWithoutNATS(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Options{})
	r := newRig(t, server.URL(), stream.Options{})
	d := r.deliver("d1", deliverOptions{})
	r.leads("d1")
	r.bigPanda.set(200*time.Millisecond, nil)
	r.publish(many("x", 10)...)
	r.await("a request is under way", func() bool { return len(r.bigPanda.requests()) > 0 })
	server.Pause()
	r.await("it is accepted", func() bool { return len(r.bigPanda.events()) > 0 })
	began := time.Now()
	d.stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it takes %v to end", took)
	}
	server.Resume()
	r.deliver("d2", deliverOptions{})
	r.delivered("")
	r.inOrder()
}

// Rate holds over a failover: the new owner's first request keeps the distance, too.
func TestLeaseRateOverFailover(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: time.Second})
	const rate = 1
	r.deliver("d1", deliverOptions{rate: rate, batchSize: 1})
	r.leads("d1")
	r.deliver("d2", deliverOptions{rate: rate, batchSize: 1})
	r.publish(many("x", 8)...)
	for _, from := range []int{2, 5} {
		r.await("some are delivered", func() bool { return len(r.bigPanda.events()) >= from })
		natstest.Await(t, "the lease is handed over", func() error { return r.conn.HandOver(t.Context()) })
	}
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
	requests := r.bigPanda.requests()
	slices.SortFunc(requests, func(a, b event) int { return a.at.Compare(b.at) })
	owners := make(map[string]bool)
	for i, q := range requests {
		owners[q.from] = true
		// They are timed where they arrive, which a busy machine delays. Without the rule
		// the other's first request comes as soon as it has the lease.
		if i > 0 && q.at.Sub(requests[i-1].at) < time.Second/rate/2 {
			t.Errorf("request %d of %s comes %v after the one before, of %s", i, q.from, q.at.Sub(requests[i-1].at), requests[i-1].from)
		}
	}
	if len(owners) != 2 {
		t.Errorf("only %v have delivered", owners)
	}
}

// A lost answer to a compare-and-set: the record that is there is one's own.
func TestLeaseAnswerIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: testTTL})
	r.deliver("d1", deliverOptions{})
	r.leads("d1")
	epoch := r.record().Epoch
	kv, err := r.jetStream.KeyValue(t.Context(), "BIGPANDA_LEASE")
	if err != nil {
		t.Fatal(err)
	}
	// Each time the revision is another than its owner knows, as after such an answer.
	for range 10 {
		entry, err := kv.Get(t.Context(), "sender")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Update(t.Context(), "sender", entry.Value(), entry.Revision()); err != nil {
			continue // it has renewed in between
		}
		r.publish(many("x", 10)...)
		r.delivered("")
	}
	if got := r.record(); got.Owner != "d1" || got.Epoch != epoch {
		t.Errorf("got %+v, it was in epoch %d", got, epoch)
	}
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
}

// A lease that has gone is written anew by its owner, with all that is known.
func TestLeaseIsDeleted(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{false, true} {
		r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{LeaseTTL: testTTL})
		d := r.deliver("d1", deliverOptions{})
		r.leads("d1")
		r.publish(many("x", 10)...)
		r.delivered("")
		r.await("the record knows", func() bool { return r.record().Read == 10 })
		kv, err := r.jetStream.KeyValue(t.Context(), "BIGPANDA_LEASE")
		if err != nil {
			t.Fatal(err)
		}
		if whole {
			err = r.jetStream.DeleteStream(t.Context(), "KV_BIGPANDA_LEASE")
		} else {
			err = kv.Delete(t.Context(), "sender")
		}
		if err != nil {
			t.Fatal(err)
		}
		r.publish(many("x", 10)...)
		r.delivered("")
		r.await("the record is there again", func() bool { return r.record().Read == 20 })
		d.stop()
		r.deliver("d2", deliverOptions{})
		r.publish(many("x", 10)...)
		r.delivered("")
		if n := r.inOrder(); n != 0 {
			t.Errorf("%d duplicates", n)
		}
	}
}

// P5: the one that has the lease is the only one whose acks count, also while all the
// servers' leaders change and the deliverers come and go.
func TestLeaseCluster(t *testing.T) {
	t.Parallel()
	cluster := natstest.StartCluster(t, 3, natstest.Options{})
	r := newRig(t, cluster.URLs(), stream.Options{LeaseTTL: testTTL})
	r.deliver("d1", deliverOptions{})
	r.leads("d1")
	r.deliver("d2", deliverOptions{})
	r.bigPanda.set(20*time.Millisecond, nil)
	r.publish(many("x", 1000)...)
	leader := cluster.StreamLeader(t, "BIGPANDA")
	leader.Kill()
	for range 3 {
		r.publish(many("x", 1000)...)
	}
	r.delivered("")
	leader.Restart()
	if err := r.conn.HandOver(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	r.publish(many("x", 1000)...)
	r.delivered("")
	t.Logf("%d duplicates", r.inOrder())
}
