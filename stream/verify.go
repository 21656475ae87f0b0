package stream

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// clocksApart is how much the clocks of two servers may differ.
	clocksApart = time.Minute
	// formerLeader is how long a server may go on as the stream's leader that is none any
	// more, and knows less than was read (nats-server, server/raft.go: 10 s).
	formerLeader = 12 * time.Second
)

var (
	// errOtherStream says that the stream was made anew, or restored.
	errOtherStream = errors.New("the stream is not the one that was read before")
	// errDoubt says that it may be so.
	errDoubt = errors.New("a server knows less of the stream than was read")
)

// verify compares the stream with what was read of it, up to a message that was stored at
// a time. It returns the number of that message: for a stream that is read for the first
// time, that before the first.
func (r *reader) verify(ctx context.Context, last uint64, at time.Time) (uint64, error) {
	// One that is gone is made anew here: functions often may not.
	alerts, err := r.conn.stream(ctx)
	if err != nil {
		return last, err
	}
	info := alerts.CachedInfo()
	if wrong := wrongSettings(info.Config, r.conn.o.alertConfig()); len(wrong) > 0 && !r.judged {
		r.conn.log.Error("the stream has settings with which alerts are held or lost: correct it, as check says",
			"stream", info.Config.Name, "settings", strings.Join(wrong, "; "))
	}
	r.judged = true
	known := r.queue.known()
	anew := leaseRecord{Created: info.Created, Read: max(1, info.State.FirstSeq) - 1}
	switch {
	case known.Created.IsZero():
		r.queue.restart(anew)
		return anew.Read, nil
	case !known.Created.Equal(info.Created):
		r.conn.log.Warn("the stream was made anew: all that it holds is delivered", "stream", r.conn.o.Stream, "created", info.Created)
		r.other = anew
		return last, errOtherStream
	case info.State.LastSeq < last, !sameMessage(ctx, alerts, last, at):
		if r.doubted.IsZero() {
			r.doubted = time.Now()
		}
		if time.Since(r.doubted) < formerLeader {
			return last, errDoubt
		}
		// What was stored later than what was read last, was not read, whatever its
		// number. The clocks of servers that led the stream may differ somewhat.
		first, err := r.conn.firstSince(ctx, at.Add(-clocksApart))
		if err != nil {
			return last, err
		}
		r.conn.log.Warn("the stream is not as it was read, as one that was restored: what it has of the last minute before, and since, is delivered",
			"stream", r.conn.o.Stream, "read", last, "read_at", at, "first", first)
		r.other = known.upTo(first - 1)
		return last, errOtherStream
	}
	r.doubted = time.Time{}
	return last, nil
}

// sameMessage reports whether a message is the one that was read, as far as can be told.
func sameMessage(ctx context.Context, alerts jetstream.Stream, seq uint64, at time.Time) bool {
	if seq == 0 || at.IsZero() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := alerts.GetMsg(ctx, seq)
	return err != nil || m.Time.Equal(at)
}

// firstSince returns the number of the first message that was stored at a time or later,
// of the next one if there is none. A consumer that begins there knows.
func (c *Conn) firstSince(ctx context.Context, at time.Time) (uint64, error) {
	consumer, err := c.newConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at, InactiveThreshold: time.Second,
	})
	if err != nil {
		return 0, err
	}
	return consumer.CachedInfo().Delivered.Stream + 1, nil
}

// newConsumer makes a consumer that has no acknowledgements, and lives in the memory of
// one server.
func (c *Conn) newConsumer(ctx context.Context, config jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	config.AckPolicy, config.Replicas, config.MemoryStorage = jetstream.AckNonePolicy, 1, true
	config.Name = nuid.Next()
	subject := "$JS.API.CONSUMER.CREATE." + c.o.Stream + "." + config.Name
	if config.FilterSubject != "" {
		subject += "." + config.FilterSubject
	}
	return ask(ctx, c, subject, func(ctx context.Context) (jetstream.Consumer, error) {
		return c.js().CreateConsumer(ctx, c.o.Stream, config)
	})
}
