package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
	"bigpanda-udf/retry"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// What the servers send ahead, at most. A message is at most as large as the
	// request to BigPanda that it is made for, 6 MB, and a few would do; what somebody
	// else has put into the stream is as large as the servers allow.
	aheadMessages, aheadBytes = 500, 8 << 20
	// maxSubject is more than the subjects of a message take (nats-server,
	// max_control_line).
	maxSubject = 64 << 10
	// A consumer that is gone shows after two heartbeats that did not come.
	pullExpiry, heartbeat = 10 * time.Second, time.Second
	// consumerIdle is how long the servers keep a consumer that nobody asks any more.
	consumerIdle = 5 * time.Second
)

var (
	errMissed = errors.New("messages were lost on the way")
	errEnough = errors.New("enough was read")
	errBehind = errors.New("a server has not got yet what the stream's leader has")
)

// A reader fills a queue from the stream. A consumer of the servers sends it all, in
// order and without acknowledgements; what was left of an app key, another one sends,
// which is made for that.
type reader struct {
	conn    *Conn
	queue   *queue
	other   leaseRecord // where to begin with what is another stream
	doubted time.Time   // since when it may be another one
	judged  bool        // its settings were looked at
}

// run reads until ctx ends, or the stream turns out to be another one: then the queue
// knows from where to read that.
func (r *reader) run(ctx context.Context) error {
	rereading, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { r.reread(rereading) })
	err := r.follow(ctx)
	stop()
	beside.Wait() // what it finds in the other stream says nothing of this one
	if errors.Is(err, errOtherStream) {
		r.queue.restart(r.other)
	}
	return err
}

// follow takes on all of the stream. It goes on with a new consumer whatever happens
// to one, until ctx ends or the stream is another one.
func (r *reader) follow(ctx context.Context) error {
	var lines retry.LogLimiter
	wait := retry.NewBackoff(askInitial, askMax)
	nc, known := r.conn.nc(), r.queue.known()
	last, at := known.Read, known.ReadAt
	for {
		var err error
		if last, err = r.verify(ctx, last, at); err == nil {
			err = r.consume(ctx, last+1, "", func(subject string, c outbox.Change, stored time.Time) error {
				wait.Reset()
				if lines.Over() {
					r.conn.log.Info("the stream is read again")
				}
				last, at = c.ID, stored
				r.queue.admit(subject, c, at)
				return nil
			})
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errOtherStream):
			return err
		case nc.IsClosed(): // those that ask this deliverer are not heard
			return nats.ErrConnectionClosed
		case !errors.Is(err, errMissed) && !errors.Is(err, errDoubt):
			if failure := r.conn.failure(r.conn.o.Stream, err); lines.Met(failure.Reason) {
				r.conn.log.Warn("the stream cannot be read: it is tried again", "reason", failure.Reason, "error", failure)
			}
		}
		if !retry.Sleep(ctx, wait.NextBackOff()) {
			return ctx.Err()
		}
	}
}

// consume hands over what a new consumer sends, from a number on, of all or of one
// subject, with its subject and when it was stored, until each fails. Without a subject it waits for more at the end, with one it
// returns nil there, or errBehind if that is where it begins.
func (r *reader) consume(ctx context.Context, from uint64, subject string, each func(string, outbox.Change, time.Time) error) error {
	consumer, err := r.conn.newConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, FilterSubject: subject,
		InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return err
	}
	if subject != "" && consumer.CachedInfo().NumPending == 0 {
		return errBehind
	}
	allowed, stop := r.conn.denials.watch(ctx, "$JS.API.CONSUMER.MSG.NEXT."+r.conn.o.Stream+"."+consumer.CachedInfo().Name)
	defer stop()
	// Else the servers send nothing from a larger message on, for good.
	largest := int(r.conn.nc().MaxPayload()) + maxSubject
	pulled, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(aheadMessages, max(aheadBytes, largest)),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer pulled.Stop()
	connected, cancel := r.conn.whileConnected(allowed) // what was under way is lost with a connection
	defer cancel()
	for n := uint64(1); ; n++ {
		got, err := pulled.Next(jetstream.NextContext(connected))
		if err != nil {
			return cmp.Or(context.Cause(connected), err)
		}
		at, err := got.Metadata()
		if err != nil {
			return err
		}
		if at.Sequence.Consumer != n {
			return errMissed
		}
		if err := each(got.Subject(), r.change(at.Sequence.Stream, got), at.Timestamp); err != nil {
			return err
		}
		if subject != "" && at.NumPending == 0 {
			return nil
		}
	}
}

// whileConnected returns a context that ends when the connection does.
func (c *Conn) whileConnected(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	nc := c.nc()
	changed := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		defer nc.RemoveStatusListener(changed)
		select {
		case <-changed:
			cancel(nats.ErrDisconnected)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// change returns the change of a message, one of no alert if it is none.
func (r *reader) change(seq uint64, m jetstream.Msg) outbox.Change {
	data := m.Data()
	if len(data) > aheadBytes { // no alert is so large
		data = data[:maxRefusal]
	}
	c, err := r.conn.decode(m.Subject(), data)
	if err != nil {
		// An object, as all payloads are, that fits in a message whatever is in it.
		begin := printable.Cut(string(data), min(maxRefusal, int(r.conn.nc().MaxPayload())/16))
		c.Payload, _ = json.Marshal(map[string]string{"data": begin})
	}
	c.ID = seq
	return c
}

// reread takes on what was left of app keys, as soon as they have room for it, until ctx
// ends.
func (r *reader) reread(ctx context.Context) {
	wait := retry.NewBackoff(askInitial, retry.FailureMax)
	for ctx.Err() == nil {
		token, from, to := r.queue.leftover()
		if token == "" {
			select {
			case <-r.queue.room:
			case <-ctx.Done():
			}
			continue
		}
		subject := r.conn.o.Stream + ".a." + token
		// What has expired is not waited for. The stream's leader alone knows that.
		next, err := r.conn.fromLeader(ctx, r.conn.o.Stream, fmt.Sprintf(`{"seq":%d,"next_by_subj":%q}`, from, subject))
		first := cmp.Or(next.Seq, to+1)
		if err == nil {
			r.queue.vanish(token, first)
		}
		if err == nil && first <= to {
			err = r.consume(ctx, first, subject, func(_ string, c outbox.Change, _ time.Time) error {
				if r.queue.readmit(token, c) {
					return errEnough
				}
				return nil
			})
		}
		if err == nil || errors.Is(err, errEnough) {
			wait.Reset()
			continue
		}
		r.conn.log.Debug("what was left of an app key cannot be read now", "subject", subject, "error", err)
		retry.Sleep(ctx, wait.NextBackOff())
	}
}
