package stream

import (
	"bytes"
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
	"github.com/tidwall/gjson"
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

type message struct {
	seq     uint64
	at      time.Time // when it was stored
	subject string
	data    []byte
	pending uint64 // how many are behind it
}

func (m message) token() string { return tokenOf(m.subject) }

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
	known := r.queue.known()
	last, at := known.Read, known.ReadAt
	for {
		var err error
		if last, err = r.verify(ctx, last, at); err == nil {
			err = r.consume(ctx, last+1, "", func(m message) error {
				wait.Reset()
				if lines.Over() {
					r.conn.log.Info("the stream is read again")
				}
				last, at = m.seq, m.at
				r.take(m)
				return nil
			})
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errOtherStream):
			return err
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
// subject, until each fails. Without a subject it waits for more at the end, with one it
// returns nil there.
func (r *reader) consume(ctx context.Context, from uint64, subject string, each func(message) error) error {
	consumer, err := r.conn.newConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, FilterSubject: subject,
		InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return err
	}
	if subject != "" && consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	allowed, stop := r.conn.denials.watch(ctx, "$JS.API.CONSUMER.MSG.NEXT."+r.conn.o.Stream+"."+consumer.CachedInfo().Name)
	defer stop()
	// Else the servers send nothing from a larger message on, for good.
	largest := int(r.conn.nc.MaxPayload()) + maxSubject
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
		data := got.Data()
		if len(data) > aheadBytes { // no alert is so large, and several are held at once
			data = bytes.Clone(data[:maxRefusal])
		}
		m := message{seq: at.Sequence.Stream, at: at.Timestamp, subject: got.Subject(), data: data, pending: at.NumPending}
		if err := each(m); err != nil {
			return err
		}
		if subject != "" && m.pending == 0 {
			return nil
		}
	}
}

// whileConnected returns a context that ends when the connection does.
func (c *Conn) whileConnected(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	changed := c.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		defer c.nc.RemoveStatusListener(changed)
		select {
		case <-changed:
			cancel(nats.ErrDisconnected)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// take puts the next message of the stream in the queue.
func (r *reader) take(m message) {
	if isToken(m.token()) {
		r.queue.admit(m.token(), r.change(m), m.at)
		return
	}
	// Somebody else has put it at a subject that stands for those of others, and so
	// cannot be asked for.
	r.conn.log.Error("the stream holds something at a subject that no publisher of this program uses: it is left there",
		"subject", printable.Text(m.subject), "number", m.seq)
	r.queue.pass(m.seq, m.at)
}

// change returns the change of a message, one of no alert if it is none.
func (r *reader) change(m message) outbox.Change {
	c, err := r.conn.decode(m.subject, m.data)
	if err != nil {
		// An object, as all payloads are, that fits in a message whatever is in it.
		begin := printable.Cut(string(m.data), min(maxRefusal, int(r.conn.nc.MaxPayload())/16))
		c.Payload, _ = json.Marshal(map[string]string{"data": begin})
	}
	c.ID = m.seq
	return c
}

// reread takes on what was left of app keys, as soon as they have room for it, until ctx
// ends.
func (r *reader) reread(ctx context.Context) {
	wait := retry.NewBackoff(askInitial, retry.FailureMax)
	for ctx.Err() == nil {
		token, from := r.queue.leftover()
		if token == "" {
			select {
			case <-r.queue.room:
			case <-ctx.Done():
			}
			continue
		}
		subject := r.conn.o.Stream + ".a." + token
		err := r.consume(ctx, from, subject, func(m message) error {
			if r.queue.readmit(token, r.change(m)) {
				return errEnough
			}
			return nil
		})
		if err == nil {
			err = r.vanished(ctx, token, subject)
		}
		if err == nil || errors.Is(err, errEnough) {
			wait.Reset()
			continue
		}
		r.conn.log.Debug("what was left of an app key cannot be read now", "subject", subject, "error", err)
		retry.Sleep(ctx, wait.NextBackOff())
	}
}

// vanished finds out whether what was left of an app key is no longer there, when a
// consumer has sent all that it knows of. Only the stream's leader knows that.
func (r *reader) vanished(ctx context.Context, token, subject string) error {
	from, to := r.queue.left(token)
	if to == 0 {
		return nil
	}
	request := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, from, subject)
	api := "$JS.API.STREAM.MSG.GET." + r.conn.o.Stream
	answer, err := ask(ctx, r.conn, api, func(ctx context.Context) (*nats.Msg, error) {
		return r.conn.nc.RequestWithContext(ctx, api, request)
	})
	if err != nil {
		return err
	}
	next := gjson.GetBytes(answer.Data, "message.seq").Uint()
	switch {
	case gjson.GetBytes(answer.Data, "error.err_code").Int() == int64(jetstream.JSErrCodeMessageNotFound):
		r.queue.vanish(token, to+1)
	case next > from:
		r.queue.vanish(token, next)
	default:
		return errors.New("a server has not got the newest messages yet")
	}
	return nil
}
