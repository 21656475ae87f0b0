package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/udf"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// connect connects as a host does, to a single server unless the options say more.
func connect(t *testing.T, urls string, o stream.Options) *stream.Conn {
	t.Helper()
	o.URLs = strings.Split(urls, ",")
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	o.Create = true
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := stream.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// admin is a client that may do everything.
func admin(t *testing.T, urls string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	options = append(options, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	nc, err := nats.Connect(urls, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// change is the nth change of an alert.
func change(host string, n int) []byte {
	status := "ok"
	if n%2 == 0 {
		status = "critical"
	}
	return bigpanda.Payload{AppKey: "app", Status: status, Timestamp: int64(1_700_000_000 + n), Properties: map[string]string{
		"host": host, "check": "cpu", "description": "change " + strconv.Itoa(n),
	}}.Encode()
}

// changes are the first n changes of each of some alerts, in the order of change.
func changes(hosts, n int) (all [][]byte) {
	for i := range n {
		for h := range hosts {
			all = append(all, change("host"+strconv.Itoa(h), i))
		}
	}
	return all
}

// send sends, and wants a status.
func send(t *testing.T, p *stream.Publisher, status int, alerts ...[]byte) {
	t.Helper()
	answer, err := p.Send(t.Context(), "app", alerts)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != status {
		t.Fatalf("the status is %d, not %d", answer.Status, status)
	}
}

// sending has a sender publish what is in a queue until the test ends, and log to w.
func sending(t *testing.T, queue udf.Queue, c *stream.Conn, w io.Writer) *udf.Sender {
	t.Helper()
	sender := udf.NewSender(queue, retry.NewLimitedAPI(c.NewPublisher(), 4, 0), udf.SenderOptions{Log: slog.New(slog.NewTextHandler(w, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { sender.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return sender
}

// fails sends, and wants an error of a class and a reason, with a hint that holds words.
func fails(t *testing.T, p *stream.Publisher, class bigpanda.Class, reason bigpanda.Reason, hint string, alerts ...[]byte) {
	t.Helper()
	_, err := p.Send(t.Context(), "app", alerts)
	wantError(t, err, class, reason, hint)
}

func wantError(t *testing.T, err error, class bigpanda.Class, reason bigpanda.Reason, hint string) {
	t.Helper()
	var e *bigpanda.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v", err)
	}
	if e.Class != class || e.Reason != reason || !strings.Contains(e.Error(), hint) {
		t.Fatalf("the error is %v, %s: %s; wanted %v, %s, and %q in it", e.Class, e.Reason, e, class, reason, hint)
	}
}

// stored returns the bodies in a stream, in their order.
func stored(t *testing.T, js jetstream.JetStream, name string) (bodies []string) {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		natstest.Await(t, "a message is read", func() error { // a replica may be behind
			m, err := s.GetMsg(t.Context(), seq)
			if err == nil {
				bodies = append(bodies, string(m.Data))
			}
			return err
		})
	}
	return bodies
}

// inOrder checks that a stream holds the first n changes of each of some alerts, each
// once, and in order for each alert.
func inOrder(t *testing.T, bodies []string, hosts, n int) {
	t.Helper()
	next := make(map[string]int)
	for _, body := range bodies {
		var a struct{ Host, Description string }
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("change ", next[a.Host]); a.Description != want {
			t.Errorf("of %s there is %s, not %s", a.Host, a.Description, want)
		}
		next[a.Host]++
	}
	for h := range hosts {
		if got := next["host"+strconv.Itoa(h)]; got != n {
			t.Errorf("host%d has %d changes, not %d", h, got, n)
		}
	}
}

// P10: what two hosts see alike is stored once, and the second is told so.
func TestOneMessagePerChange(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	a, b := connect(t, s.URL(), stream.Options{}).NewPublisher(), connect(t, s.URL(), stream.Options{}).NewPublisher()
	send(t, a, http.StatusCreated, changes(20, 3)...)
	send(t, b, http.StatusNoContent, changes(20, 3)...)
	send(t, b, http.StatusCreated, changes(20, 4)...)
	_, js := admin(t, s.URL())
	bodies := stored(t, js, "BIGPANDA")
	inOrder(t, bodies, 20, 4)
	if want := string(bigpanda.Body("app", [][]byte{change("host0", 0)})); bodies[0] != want {
		t.Errorf("a message is %s, not the body of a request, %s", bodies[0], want)
	}
}

// makesStream publishes what is the first. Servers that have just begun may not know one
// another well enough yet to make a stream.
func makesStream(t *testing.T, p *stream.Publisher, alerts ...[]byte) {
	t.Helper()
	natstest.Await(t, "the stream is made", func() error {
		_, err := p.Send(t.Context(), "app", alerts)
		return err
	})
}

// Two hosts that publish the same at the same time: one of them is told that the id is
// being processed (10158), which does not mean that it is stored.
func TestSameAtTheSameTime(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, 3, natstest.Options{})
	nc, js := admin(t, c.URLs())
	processed := make(chan *nats.Msg, 100_000)
	if _, err := nc.ChanSubscribe("_INBOX.>", processed); err != nil {
		t.Fatal(err)
	}
	a, b := connect(t, c.URLs(), stream.Options{Replicas: 3}).NewPublisher(), connect(t, c.URLs(), stream.Options{Replicas: 3}).NewPublisher()
	makesStream(t, a, change("host0", 0))
	met, rounds := 0, 0
	for ; met == 0 || rounds < 10; rounds++ {
		var alerts [][]byte
		for h := range 50 {
			alerts = append(alerts, change("host"+strconv.Itoa(h), rounds))
		}
		var hosts sync.WaitGroup
		for _, p := range []*stream.Publisher{a, b} {
			hosts.Go(func() {
				if _, err := p.Send(t.Context(), "app", alerts); err != nil {
					t.Error(err)
				}
			})
		}
		hosts.Wait()
		for len(processed) > 0 {
			if m := <-processed; strings.Contains(string(m.Data), "10158") {
				met++
			}
		}
		if rounds == 500 {
			t.Fatal("the servers never answer with error 10158")
		}
	}
	inOrder(t, stored(t, js, "BIGPANDA"), 50, rounds)
	t.Logf("%d of %d publishes were answered with error 10158", met, rounds*100)
}

// Whatever a leader change breaks off: no change of an alert is stored before an
// earlier one, and none is lost.
func TestLeaderChangeKeepsOrder(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, 3, natstest.Options{})
	p := connect(t, c.URLs(), stream.Options{Replicas: 3}).NewPublisher()
	_, js := admin(t, c.URLs())
	const hosts, each = 40, 60
	makesStream(t, p, changes(hosts, 1)...)
	var sending sync.WaitGroup
	sending.Go(func() {
		for first := 1; first < each; {
			var alerts [][]byte
			for n := first; n < min(first+10, each); n++ {
				for h := range hosts {
					alerts = append(alerts, change("host"+strconv.Itoa(h), n))
				}
			}
			_, err := p.Send(t.Context(), "app", alerts)
			switch {
			case err == nil:
				first += 10
			case t.Context().Err() != nil:
				return
			default:
				t.Log(err)
			}
		}
	})
	for range 2 {
		leader := c.StreamLeader(t, "BIGPANDA")
		leader.Kill()
		c.StreamLeader(t, "BIGPANDA")
		leader.Restart()
		c.Await()
	}
	sending.Wait()
	inOrder(t, stored(t, js, "BIGPANDA"), hosts, each)
}

// A full stream holds the alerts, and takes them when it was made larger.
func TestStreamFull(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	p := connect(t, s.URL(), stream.Options{MaxBytes: 20_000}).NewPublisher()
	send(t, p, http.StatusCreated, change("first", 0))
	fails(t, p, bigpanda.Hold, bigpanda.ReasonFull, "raise its limit", changes(50, 10)...)
	_, js := admin(t, s.URL())
	full, err := js.Stream(t.Context(), "BIGPANDA")
	if err != nil {
		t.Fatal(err)
	}
	config := full.CachedInfo().Config
	config.MaxBytes = 10_000_000
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	send(t, p, http.StatusCreated, changes(50, 10)...)
	inOrder(t, stored(t, js, "BIGPANDA")[1:], 50, 10)
}

// A stream that is deleted is made anew, and takes what it does not know any more.
func TestStreamMadeAnew(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	p := connect(t, s.URL(), stream.Options{}).NewPublisher()
	send(t, p, http.StatusCreated, change("a", 0))
	_, js := admin(t, s.URL())
	if err := js.DeleteStream(t.Context(), "BIGPANDA"); err != nil {
		t.Fatal(err)
	}
	send(t, p, http.StatusCreated, change("a", 0), change("b", 0))
	if got := stored(t, js, "BIGPANDA"); len(got) != 2 {
		t.Errorf("the stream holds %v", got)
	}
}

// What another stream takes is not where a deliverer reads.
func TestAnotherStreamTakesAlerts(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{})
	_, js := admin(t, s.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"BIGPANDA.>"}}); err != nil {
		t.Fatal(err)
	}
	p := connect(t, s.URL(), stream.Options{}).NewPublisher()
	fails(t, p, bigpanda.Hold, bigpanda.ReasonNotFound, "another stream, OTHER", change("a", 0))
}

// An alert that no message holds is refused before any other is published, so that it
// becomes a dead letter of its host.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options{Config: "max_payload: 20000"})
	p := connect(t, s.URL(), stream.Options{}).NewPublisher()
	fails(t, p, bigpanda.Refused, bigpanda.ReasonTooLarge, "max_payload", change("a", 0), sized("b", 20_000))
	fails(t, p, bigpanda.Refused, bigpanda.ReasonTooLarge, "max_payload", sized("b", 16_000))
	send(t, p, http.StatusCreated, sized("b", 15_000)) // the rest is for the answer beside a dead letter
	_, js := admin(t, s.URL())
	config := jetstream.StreamConfig{}
	if made, err := js.Stream(t.Context(), "BIGPANDA"); err != nil {
		t.Fatal(err)
	} else {
		config = made.CachedInfo().Config
	}
	config.MaxMsgSize = 1000
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	fails(t, p, bigpanda.Refused, bigpanda.ReasonTooLarge, "max_msg_size", sized("c", 2000))
	send(t, p, http.StatusCreated, change("a", 0))
	if got := stored(t, js, "BIGPANDA"); len(got) != 2 {
		t.Errorf("the stream holds %d messages, not 2", len(got))
	}
}
