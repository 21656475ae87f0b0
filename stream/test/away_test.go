package test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
)

// What waits for a server goes out as soon as it is back: nobody hears of a short
// outage. Connect waits for none.
func TestServerAway(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	s.Stop()
	began := time.Now()
	p := connect(t, s.URL(), stream.Options{}).NewPublisher()
	if took := time.Since(began); took > time.Second {
		t.Errorf("Connect took %v without a server", took)
	}
	sent := make(chan error)
	sendAll := func() {
		_, err := p.Send(t.Context(), "app", changes(10, 3))
		sent <- err
	}
	for range 2 {
		go sendAll()
		s.Restart()
		if err := <-sent; err != nil {
			t.Error(err)
		}
		s.Kill()
	}
	s.Restart()

	s.Pause() // the connection stays, and no answer comes
	stopped, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := p.Send(stopped, "app", changes(10, 4))
	wantError(t, err, bigpanda.Retry, bigpanda.ReasonCanceled, "")
	s.Resume()
	if _, err := p.Send(t.Context(), "app", changes(10, 4)); err != nil {
		t.Error(err)
	}
	_, js := admin(t, s.URL())
	inOrder(t, stored(t, js, "BIGPANDA"), 10, 4)
}

// P5: an outage of more than ten seconds, as the sender of a host sees it: all that
// came meanwhile is held, with the cause, and arrives afterwards, in order.
func TestServerAwayForLong(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	queue := outbox.NewMemory(0)
	c := connect(t, s.URL(), stream.Options{})
	sender := sending(t, queue, c, io.Discard)
	const hosts, each = 100, 30
	add := func(from, to int) {
		for n := from; n < to; n++ {
			for h := range hosts {
				host := "host" + strconv.Itoa(h)
				queue.Append([]outbox.Change{{Alert: host, AppKey: "app", Payload: change(host, n)}}, nil)
			}
		}
	}
	add(0, 10)
	if err := queue.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	add(10, each)
	natstest.Await(t, "the alerts are held", func() error {
		for _, held := range sender.Report().Held {
			if held.AppKey == "" && held.Cause == string(bigpanda.ReasonNetwork) && strings.Contains(held.Reason, s.URL()) {
				return nil
			}
		}
		return fmt.Errorf("it is held: %v", sender.Report().Held)
	})
	s.Restart()
	began := time.Now()
	if err := queue.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("all arrived %v after the server was back", time.Since(began))
	_, js := admin(t, s.URL())
	inOrder(t, stored(t, js, "BIGPANDA"), hosts, each)
	if stats := queue.Stats(); stats.Dead > 0 || stats.GivenUp > 0 {
		t.Errorf("not all is in the stream: %+v", stats)
	}
}
