package natstest_test

import (
	"context"
	"testing"
	"time"

	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// client connects to servers.
func client(t *testing.T, urls string) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish stores a message, however long it takes, and returns its sequence.
func publish(t *testing.T, js jetstream.JetStream, text string) (seq uint64) {
	t.Helper()
	natstest.Await(t, "a message is stored", func() error {
		ack, err := js.Publish(t.Context(), "TEST", []byte(text), jetstream.WithMsgID(text), jetstream.WithRetryAttempts(0))
		if err == nil {
			seq = ack.Sequence
		}
		return err
	})
	return seq
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	js := client(t, s.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TEST"}); err != nil {
		t.Fatal(err)
	}
	for i, again := range []func(){
		func() {},
		func() { s.Kill(); s.Restart() },
		func() { s.Stop(); s.Restart() },
		func() { s.Pause(); s.Resume() },
		s.Restart,
	} {
		again()
		if got, want := publish(t, js, string(rune('a'+i))), uint64(i+1); got != want {
			t.Fatalf("message %d has sequence %d", want, got)
		}
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, 3, natstest.Options{})
	js := client(t, c.URLs())
	natstest.Await(t, "the stream is made", func() error {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TEST", Replicas: 3})
		return err
	})
	publish(t, js, "a")
	leader := c.StreamLeader(t, "TEST")
	leader.Kill()
	publish(t, js, "b")
	if other := c.StreamLeader(t, "TEST"); other == leader {
		t.Errorf("%s leads and was killed", other.Name())
	}
	leader.Restart()
	c.Await()
	if seq := publish(t, js, "c"); seq != 3 {
		t.Errorf("the third message has sequence %d", seq)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	p := natstest.StartProxy(t, s)
	js := client(t, p.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TEST"}); err != nil {
		t.Fatal(err)
	}
	publish(t, js, "a")
	p.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := js.Publish(ctx, "TEST", []byte("b"), jetstream.WithMsgID("b")); err == nil {
		t.Error("a message went through a proxy that is cut")
	}
	p.Heal()
	if seq := publish(t, js, "b"); seq != 2 {
		t.Errorf("the second message has sequence %d", seq)
	}
}
