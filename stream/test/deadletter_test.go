package test

import (
	"slices"
	"testing"

	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go/jetstream"
)

// makeDeadStream makes what a deliverer makes with its first dead letter.
func makeDeadStream(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "BIGPANDA_DEAD", Subjects: []string{"BIGPANDA.d.*"}, AllowDirect: true,
	}); err != nil {
		t.Fatal(err)
	}
}

// Dead letters are listed by pages, retried and dropped, whatever is among them.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	c := connect(t, s.URL(), stream.Options{})
	if letters, more, err := c.DeadLetters(t.Context(), 0, 10); len(letters) > 0 || more || err != nil {
		t.Fatalf("before there is a stream: %v, %v, %v", letters, more, err)
	}
	p := c.NewPublisher()
	send(t, p, 201, change("a", 0))
	if done, missing, err := c.DropDead(t.Context(), 7); done != 0 || !slices.Equal(missing, []uint64{7}) || err != nil {
		t.Fatalf("of none: %d, %v, %v", done, missing, err)
	}
	_, js := admin(t, s.URL())
	makeDeadStream(t, js)
	for _, text := range []string{"no alert", `{"app_key":"app","status":"ok","timestamp":5,"host":"h"}`} {
		if _, err := js.Publish(t.Context(), "BIGPANDA.d.x", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	page, more, err := c.DeadLetters(t.Context(), 0, 1)
	if err != nil || !more || len(page) != 1 || string(page[0].Payload) != `"no alert"` {
		t.Fatalf("the first page is %+v, %v, %v", page, more, err)
	}
	page, more, err = c.DeadLetters(t.Context(), page[0].Seq, 10)
	if err != nil || more || len(page) != 1 || page[0].AppKey != "app" || page[0].Level != "OK" ||
		string(page[0].Payload) != `{"status":"ok","timestamp":5,"host":"h"}` {
		t.Fatalf("the second page is %+v, %v, %v", page, more, err)
	}
	if done, _, err := c.RetryDead(t.Context(), 1); done != 0 || err == nil {
		t.Errorf("what is no alert was retried: %d, %v", done, err)
	}
	if done, missing, err := c.DropDead(t.Context(), 1, 9); done != 1 || !slices.Equal(missing, []uint64{9}) || err != nil {
		t.Errorf("dropped: %d, %v, %v", done, missing, err)
	}
	if done, missing, err := c.RetryDead(t.Context(), 2, 2); done != 1 || !slices.Equal(missing, []uint64{2}) || err != nil {
		t.Errorf("retried: %d, %v, %v", done, missing, err)
	}
	if letters, _, err := c.DeadLetters(t.Context(), 0, 10); len(letters) > 0 || err != nil {
		t.Errorf("there are still %v, %v", letters, err)
	}
	if got := stored(t, js, "BIGPANDA"); len(got) != 2 || got[1] != `{"app_key":"app","status":"ok","timestamp":5,"host":"h"}` {
		t.Errorf("the stream holds %v", got)
	}
}

// A dead letter that is retried has an id of its own: the window knows the alert's.
func TestDeadLetterRetriedHasNewID(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	c := connect(t, s.URL(), stream.Options{})
	send(t, c.NewPublisher(), 201, change("a", 0))
	_, js := admin(t, s.URL())
	body := stored(t, js, "BIGPANDA")[0]
	makeDeadStream(t, js)
	for n := uint64(1); n <= 2; n++ {
		ack, err := js.Publish(t.Context(), "BIGPANDA.d.x", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if done, _, err := c.RetryDead(t.Context(), ack.Sequence); done != 1 || err != nil {
			t.Fatalf("retried: %d, %v", done, err)
		}
		if got := stored(t, js, "BIGPANDA"); uint64(len(got)) != 1+n || got[n] != body {
			t.Fatalf("the stream holds %v", got)
		}
	}
}
