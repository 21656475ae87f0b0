package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go"
)

// P4, P5: a server that is told, while it runs, to take smaller messages than before ends
// the connection that sends a larger one, and nats.go gives it up. Another takes its place:
// a function's alert that does not fit is a dead letter, and the rest is sent; a
// deliverer's dead letter that does not fit waits, and the rest is delivered.
func TestMaxPayloadLowered(t *testing.T) {
	t.Parallel()
	const before = "max_payload: 1MB"
	s := natstest.Start(t, natstest.Options{Config: before})
	r := newRig(t, s.URL(), stream.Options{LeaseTTL: time.Second})
	answer := func(status int) {
		r.bigPanda.set(time.Millisecond, func(appKey string, _ []event) int {
			if appKey == "large" {
				return status
			}
			return 0
		})
	}
	answer(http.StatusServiceUnavailable)
	d := r.deliver("d1", deliverOptions{})
	r.padding = 100_000
	r.publish("large/h")
	r.padding = 0
	r.publish("x/h")
	r.delivered("x/")

	s.Edit(before, "max_payload: 32768")
	s.Reload()
	answer(http.StatusBadRequest)
	natstest.Await(t, "the dead letter is refused", func() error {
		if log := r.log.String(); !strings.Contains(log, "a dead letter cannot be kept") || strings.Contains(log, "deliver: ") {
			return errors.New(log)
		}
		return nil
	})

	queue := outbox.NewMemory(0)
	sending(t, queue, r.conn, &r.log)
	queue.Append([]outbox.Change{
		{Alert: "a", AppKey: "app", Payload: sized("a", 10)}, {Alert: "b", AppKey: "app", Payload: sized("b", 100_000)},
		{Alert: "c", AppKey: "app", Payload: sized("c", 2900)},
	}, nil)
	natstest.Await(t, "all that fit are sent", func() error {
		if stats := queue.Stats(); stats.Queued != 0 || stats.Dead != 1 {
			return fmt.Errorf("%+v", stats)
		}
		return nil
	})
	r.publish("x/h")
	r.delivered("x/")
	d.stop()
}

// P5: while connections are ended for good and others are made, the deliverer's term goes
// on, nothing is sent twice, and it hears that it is to hand the lease over.
func TestConnectionEnded(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	r := newRig(t, s.URL(), stream.Options{LeaseTTL: testTTL})
	proxy := natstest.StartProxy(t, s)
	r.options.URLs = []string{proxy.URL()}
	r.conn = r.connect("a function")
	d1 := r.deliver("d1", deliverOptions{})
	r.leads("d1")
	d2 := r.deliver("d2", deliverOptions{})
	natstest.Await(t, "d2 stands by", d2.Ready)
	for range 3 {
		asked, answer := make(chan struct{}), make(chan struct{})
		r.bigPanda.set(0, func(string, []event) int {
			close(asked)
			<-answer
			return 0
		})
		r.publish("x/h")
		<-asked
		proxy.Fail()
		r.bigPanda.set(0, nil)
		close(answer)
		r.publish("x/h")
		r.delivered("")
	}
	if epoch := r.record().Epoch; epoch != 1 {
		t.Errorf("the lease was taken %d times", epoch)
	}
	natstest.Await(t, "the lease is handed over", func() error { return r.conn.HandOver(t.Context()) })
	r.leads("d2")
	d1.stop()
	r.publish("x/h")
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
	if log := r.log.String(); strings.Contains(log, "connection closed") {
		t.Error("the log says what is no cause")
	}
}

// What is delivered is purged also after a connection was ended in the middle of that.
func TestConnectionEndedInAPurge(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	r := newRig(t, s.URL(), stream.Options{Window: time.Second})
	proxy := natstest.StartProxy(t, s)
	proxy.Slow(20 * time.Millisecond) // the other app keys come later
	r.options.URLs = []string{proxy.URL()}
	nc, _ := admin(t, s.URL())
	var once sync.Once
	ended := make(chan struct{})
	if _, err := nc.Subscribe("$JS.API.STREAM.PURGE.>", func(*nats.Msg) {
		once.Do(func() {
			proxy.Fail()
			close(ended)
		})
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		r.publish(fmt.Sprintf("x%d/h", i))
	}
	r.deliver("d1", deliverOptions{})
	r.delivered("")
	r.purged(1) // of the same moment as the oldest that stays
	<-ended
}

// What BigPanda answers while there is no connection is in the dead letter, as at other times.
func TestDeadLetterWhileConnectionEnded(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	r := newRig(t, s.URL(), stream.Options{})
	proxy := natstest.StartProxy(t, s)
	r.options.URLs = []string{proxy.URL()}
	r.bigPanda.answer = strings.Repeat("no ", 500)
	asked, refused := make(chan struct{}), make(chan struct{})
	r.bigPanda.set(0, func(string, []event) int {
		close(asked)
		<-refused
		return http.StatusBadRequest
	})
	r.deliver("d1", deliverOptions{})
	r.publish("x/h")
	<-asked
	proxy.Fail()
	natstest.Await(t, "there is no connection", func() error {
		if log := r.log.String(); !strings.Contains(log, "NATS is not reached") {
			return errors.New(log)
		}
		return nil
	})
	close(refused)
	natstest.Await(t, "the alert is a dead letter", func() error {
		letters, _, err := r.conn.DeadLetters(t.Context(), 0, 1)
		switch {
		case err != nil:
			return err
		case len(letters) == 0:
			return errors.New("there is none")
		case len(letters[0].Answer) < len(r.bigPanda.answer):
			t.Errorf("the answer is %q", letters[0].Answer)
		}
		return nil
	})
}

// The files of a connection that a server ends may be away at that moment, as when they are
// renewed: it is made once they are there.
func TestConnectionEndedWithoutItsFiles(t *testing.T) {
	t.Parallel()
	ca, certFile, keyFile := certificates(t)
	const before = "max_payload: 1MB"
	s := natstest.Start(t, natstest.Options{Config: fmt.Sprintf("%s\ntls { cert_file: %q, key_file: %q }", before, certFile, keyFile)})
	c := connect(t, s.URL(), stream.Options{CAFile: ca, ServerName: "nats.example"})
	send(t, c.NewPublisher(), 201, change("a", 0))
	if err := os.Rename(ca, ca+".new"); err != nil {
		t.Fatal(err)
	}
	s.Edit(before, "max_payload: 32768")
	s.Reload()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := c.NewPublisher().Send(ctx, "app", [][]byte{sized("a", 100_000)}); err == nil {
		t.Fatal("there is no error")
	}
	if err := os.Rename(ca+".new", ca); err != nil {
		t.Fatal(err)
	}
	send(t, c.NewPublisher(), 201, change("a", 1))
}
