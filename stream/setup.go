package stream

import (
	"context"
	"errors"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Dead letters are kept until there are so many, or they are so old, as on a disk.
const (
	maxDeadLetters   = 10_000
	maxDeadLetterAge = 30 * 24 * time.Hour
	maxDeadBytes     = 256 << 20
	// deadWindow drops the second of two equal dead letters, which a deliverer makes
	// that dies before it has noted the first.
	deadWindow = 10 * time.Minute
)

const (
	// askTimeout is for one request to JetStream's API: while there is no leader, they
	// are dropped.
	askTimeout = 1500 * time.Millisecond
	// The waits before a request, or a message, is repeated.
	askInitial, askMax = 250 * time.Millisecond, time.Second
	// replacedWithin is how soon a connection that is closed is replaced by another.
	replacedWithin = 10 * time.Millisecond
)

// config is what all streams have that are made.
func (o Options) config(name, description string, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: subjects, Description: description + " (bigpanda-udf)",
		// Limits and not WorkQueue: the ids of the window are kept with the messages,
		// and those of a queue would be forgotten with what is delivered.
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: o.Replicas,
		MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, AllowDirect: true,
	}
}

// alertConfig is how the stream of alerts is made.
func (o Options) alertConfig() jetstream.StreamConfig {
	c := o.config(o.Stream, "alerts for BigPanda, one in each message", o.alertSubjects())
	c.MaxAge, c.Duplicates, c.MaxBytes = o.MaxAge, o.Window, o.MaxBytes
	// New ones wait in the outboxes, and old ones are not dropped undelivered.
	c.Discard, c.DenyDelete = jetstream.DiscardNew, true
	return c
}

// deadConfig is how the stream of dead letters is made.
func (o Options) deadConfig() jetstream.StreamConfig {
	c := o.config(o.deadStream(), "alerts that BigPanda refused", o.deadSubjects())
	c.MaxAge, c.Duplicates, c.MaxBytes, c.MaxMsgs = maxDeadLetterAge, deadWindow, maxDeadBytes, maxDeadLetters
	c.Discard = jetstream.DiscardOld
	return c
}

// leaseConfig is how the stream of the lease's bucket is made, as nats.go's
// CreateKeyValue would: that needs a right more.
func (o Options) leaseConfig() jetstream.StreamConfig {
	c := o.config(o.leaseStream(), "who delivers, and up to where", "$KV."+o.leaseBucket()+".>")
	c.MaxMsgsPerSubject, c.Duplicates = 1, 2*time.Minute
	c.Discard, c.DenyDelete, c.AllowRollup = jetstream.DiscardNew, true, true
	return c
}

// stream looks the stream of alerts up, and makes it if it is missing and
// Options.Create allows it. Until ctx ends it asks again what nobody answers. The error
// is *bigpanda.Error, of the class Hold.
func (c *Conn) stream(ctx context.Context) (jetstream.Stream, error) {
	return c.lookUp(ctx, c.o.alertConfig())
}

// dead is stream for the stream of dead letters.
func (c *Conn) dead(ctx context.Context) (jetstream.Stream, error) {
	return c.lookUp(ctx, c.o.deadConfig())
}

// lease is stream for that of the lease's bucket.
func (c *Conn) lease(ctx context.Context) (jetstream.Stream, error) {
	return c.lookUp(ctx, c.o.leaseConfig())
}

func infoSubject(stream string) string { return "$JS.API.STREAM.INFO." + stream }

func (c *Conn) lookUp(ctx context.Context, config jetstream.StreamConfig) (jetstream.Stream, error) {
	wait := retry.NewBackoff(askInitial, askMax)
	for {
		found, err := ask(ctx, c, infoSubject(config.Name), func(ctx context.Context) (jetstream.Stream, error) {
			return c.js().Stream(ctx, config.Name)
		})
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return found, err
		}
		if !c.o.Create {
			return nil, held(bigpanda.ReasonNotFound, "make it, or let this program do so (--nats-create)", "there is no stream %s", config.Name)
		}
		// Only ever made, and never changed: several that change it at once undo what
		// the others do.
		made, err := ask(ctx, c, "$JS.API.STREAM.CREATE."+config.Name, func(ctx context.Context) (jetstream.Stream, error) {
			return c.js().CreateStream(ctx, config)
		})
		if err == nil {
			c.log.Info("a stream was made", "stream", config.Name, "replicas", config.Replicas)
		}
		// Another was faster, and has other settings.
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || !retry.Sleep(ctx, wait.NextBackOff()) {
			return made, err
		}
	}
}

// ask makes a request of JetStream's API, which is sent to subject, and repeats it
// until there is an answer or ctx has ended. The error is *bigpanda.Error, of the class
// Hold; of the API's own it wraps what the API said.
func ask[T any](ctx context.Context, c *Conn, subject string, request func(context.Context) (T, error)) (answer T, err error) {
	wait := retry.NewBackoff(askInitial, askMax)
	for {
		if err := c.reach(ctx); err != nil {
			return answer, err
		}
		asking, stop := c.denials.watch(ctx, subject)
		asking, cancel := context.WithTimeout(asking, askTimeout)
		inUse := c.nc()
		answer, err = request(asking)
		if cause := context.Cause(asking); err != nil && cause != nil {
			err = cause
		}
		cancel()
		stop()
		if err == nil {
			return answer, nil
		}
		failure := c.failure(subject, err)
		// What was looked up by an earlier connection has to be looked up anew.
		outdated := errors.Is(err, nats.ErrConnectionClosed) && !inUse.IsClosed()
		if outdated || definite(err) || !retry.Sleep(ctx, wait.NextBackOff()) {
			return answer, failure
		}
	}
}

// definite reports whether the same request would get the same answer again.
func definite(err error) bool {
	var (
		api    *jetstream.APIError
		denied *deniedError
		known  *bigpanda.Error
	)
	switch {
	case errors.As(err, &denied), errors.As(err, &known), errors.Is(err, nats.ErrMaxPayload):
		return true
	case errors.As(err, &api):
		switch api.ErrorCode {
		case codeNotAvailable, codeNotLeader, codeBeingProcessed,
			jetstream.JSErrCodeJetStreamNotEnabled: // which is said when nobody answers
			return false
		}
		return true
	}
	return false
}

// reach waits for a connection over which answers can come. The error, when ctx ends
// before, is *bigpanda.Error.
func (c *Conn) reach(ctx context.Context) error {
	if c.denials.deniedInbox() != nil {
		// The right may be there by now, and what was subscribed to is not, before
		// it is subscribed to anew.
		c.denials.reconnected()
		_ = c.nc().ForceReconnect()
	}
	nc := c.nc()
	for ; !nc.IsConnected(); nc = c.nc() {
		if c.isClosed() {
			return c.failure("", nats.ErrConnectionClosed)
		}
		changed, cancel := until(ctx, nc, nats.CONNECTED, nats.CLOSED)
		<-changed.Done()
		cancel()
		if !retry.Sleep(ctx, replacedWithin) {
			return c.unconnected()
		}
	}
	// How large a message an account may send is told with the first answer: for a larger
	// one the connection would be closed.
	if connection := nc.Stats().Reconnects; c.flushed.Load() != connection {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		if nc.FlushWithContext(ctx) == nil {
			c.flushed.Store(connection)
		}
	}
	return nil
}
