package stream

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
	"bigpanda-udf/retry"

	"github.com/cenkalti/backoff/v5"
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
	// handedOver is how many messages wait for the queue: besides what the servers have
	// sent ahead, whose bytes are bounded.
	handedOver = 8
	// A consumer that is gone shows after two heartbeats that did not come.
	pullExpiry, heartbeat = 10 * time.Second, time.Second
	// consumerIdle is how long the servers keep a consumer that nobody asks.
	consumerIdle = 30 * time.Second
	// roomWithin is how long the next message waits for room in memory before it is
	// left in the stream: while alerts are delivered there is room sooner.
	roomWithin = 100 * time.Millisecond
	// inARow is how many messages are read of the stream before what was left of an
	// app key has a turn, and the other way round.
	inARow = 1000
)

var (
	errMissed = errors.New("messages were lost on the way")
	errEnough = errors.New("enough was read")
)

// A reader fills a queue from the stream. A consumer of the servers sends it all, in
// order and without acknowledgements; what was left of an app key, another one sends,
// which is made for that.
type reader struct {
	conn  *Conn
	queue *queue

	messages chan message
	other    leaseRecord // where to begin with what is another stream
	doubted  time.Time   // since when it may be another one
	judged   bool        // its settings were looked at
	backoff  *backoff.ExponentialBackOff
	pause    time.Time // nothing is reread before
}

type message struct {
	seq     uint64
	at      time.Time // when it was stored
	subject string
	data    []byte
	pending uint64 // how many are behind it
}

func (m message) token() string { return tokenOf(m.subject) }

func newReader(conn *Conn, q *queue) *reader {
	return &reader{
		conn: conn, queue: q,
		messages: make(chan message, handedOver),
		backoff:  retry.NewBackoff(askInitial, retry.FailureMax),
	}
}

// run reads until ctx ends, or the stream turns out to be another one: then the queue
// knows from where to read that.
func (r *reader) run(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- r.follow(ctx) }()
	for {
		busy := r.reread(ctx)
		for n := 0; n < inARow && len(r.messages) > 0; n++ {
			r.take(ctx, <-r.messages)
		}
		if busy {
			continue
		}
		var due <-chan time.Time
		if wait := time.Until(r.pause); wait > 0 {
			due = time.After(wait)
		}
		select {
		case m := <-r.messages:
			r.take(ctx, m)
		case <-r.queue.room:
		case <-due:
		case err := <-failed:
			if errors.Is(err, errOtherStream) {
				r.queue.restart(r.other)
			}
			return err
		}
	}
}

// follow hands over all of the stream. It goes on with a new consumer whatever happens
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
				select {
				case r.messages <- m:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
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
	defer r.remove(ctx, consumer)
	if subject != "" && consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	allowed, stop := r.conn.denials.watch(ctx, "$JS.API.CONSUMER.MSG.NEXT."+r.conn.o.Stream+"."+consumer.CachedInfo().Name)
	defer stop()
	// Else the servers send nothing from a larger message on, for good.
	largest := int(r.conn.maxPayload()) + maxSubject
	pulled, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(aheadMessages, max(aheadBytes, largest)),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer pulled.Stop()
	// What was under way is lost with a connection.
	connected, cancel := until(allowed, r.conn.nc(), nats.RECONNECTING, nats.CLOSED)
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

// remove deletes a consumer. The servers would do it, somewhat later.
func (r *reader) remove(ctx context.Context, consumer jetstream.Consumer) {
	if !r.conn.nc().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout/3)
	defer cancel()
	_ = r.conn.js().DeleteConsumer(ctx, r.conn.o.Stream, consumer.CachedInfo().Name)
}

// until returns a context that ends when a connection has one of the statuses.
func until(ctx context.Context, nc *nats.Conn, statuses ...nats.Status) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	changed := nc.StatusChanged(statuses...)
	if slices.Contains(statuses, nc.Status()) {
		cancel(nats.ErrDisconnected)
	}
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

// take puts the next message of the stream in the queue. It waits a little for room: what
// is left is read twice.
func (r *reader) take(ctx context.Context, m message) {
	if !isToken(m.token()) {
		// Somebody else has put it at a subject that stands for those of others, and so
		// cannot be asked for.
		r.conn.log.Error("the stream holds something at a subject that no publisher of this program uses: it is left there",
			"subject", printable.Text(m.subject), "number", m.seq)
		r.queue.pass(m.seq, m.at)
		return
	}
	var late <-chan time.Time
	for waiting := true; waiting && r.queue.full(m.token()); {
		if late == nil {
			late = time.After(roomWithin)
		}
		select {
		case <-r.queue.room:
		case <-late:
			waiting = false
		case <-ctx.Done():
			return
		}
	}
	r.queue.admit(m.token(), r.change(m), m.at)
}

// change returns the change of a message, one of no alert if it is none.
func (r *reader) change(m message) outbox.Change {
	c, err := r.conn.decode(m.subject, m.data)
	if err != nil {
		// An object, as all payloads are, that fits in a message whatever is in it.
		begin := printable.Cut(string(m.data), min(maxRefusal, int(r.conn.maxPayload())/16))
		c.Payload, _ = json.Marshal(map[string]string{"data": begin})
	}
	c.ID = m.seq
	return c
}

// reread takes on what was left of an app key that has room for it, and reports whether
// there was one.
func (r *reader) reread(ctx context.Context) bool {
	if time.Now().Before(r.pause) {
		return false
	}
	token, from := r.queue.leftover()
	if token == "" {
		return false
	}
	subject := r.conn.o.Stream + ".a." + token
	n := 0
	err := r.consume(ctx, from, subject, func(m message) error {
		n++
		if r.queue.readmit(token, r.change(m)) || n == inARow {
			return errEnough
		}
		return nil
	})
	if err == nil {
		err = r.vanished(ctx, token, subject)
	}
	if err == nil || errors.Is(err, errEnough) {
		r.backoff.Reset()
	} else if ctx.Err() == nil {
		r.conn.log.Debug("what was left of an app key cannot be read now", "subject", subject, "error", err)
		r.pause = time.Now().Add(r.backoff.NextBackOff())
	}
	return true
}

// vanished finds out whether what was left of an app key is no longer there, when a
// consumer has sent all that it knows of. Only the stream's leader knows that.
func (r *reader) vanished(ctx context.Context, token, subject string) error {
	from, to := r.queue.left(token)
	if to == 0 {
		return nil
	}
	request, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": subject})
	if err != nil {
		return err
	}
	api := "$JS.API.STREAM.MSG.GET." + r.conn.o.Stream
	answer, err := ask(ctx, r.conn, api, func(ctx context.Context) (answer messageAnswer, err error) {
		m, err := r.conn.nc().RequestWithContext(ctx, api, request)
		if err == nil {
			err = json.Unmarshal(m.Data, &answer)
		}
		return answer, err
	})
	switch {
	case err != nil:
		return err
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		r.queue.vanish(token, to+1)
	case answer.Error != nil:
		return answer.Error
	case answer.Message.Seq > from:
		r.queue.vanish(token, answer.Message.Seq)
	default:
		return errors.New("a server has not got the newest messages yet")
	}
	return nil
}

// A messageAnswer is that of the API to a request for a message, as far as it is needed.
type messageAnswer struct {
	Error   *jetstream.APIError `json:"error"`
	Message struct {
		Seq uint64 `json:"seq"`
	} `json:"message"`
}
