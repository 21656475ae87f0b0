package stream

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// sendTimeout is how long a Send goes on before it says that alerts are held, as long
	// as a request to BigPanda may take. What waits in a Send goes out as soon as the
	// servers are back, and what is held when it is next tried.
	sendTimeout = bigpanda.DefaultTimeout
	// ackTimeout is for the answer to one message: a server that syncs takes some
	// milliseconds, and one that is gone is seen by its pings.
	ackTimeout = 3 * time.Second
	// maxPending is how many messages of a Send are under way at once.
	maxPending = 500
)

// A Publisher publishes alerts where a client of BigPanda would deliver them. Its
// methods may be called concurrently, but not with changes of one alert.
type Publisher struct{ c *Conn }

// NewPublisher returns a Publisher, which needs no token of BigPanda.
func (c *Conn) NewPublisher() *Publisher { return &Publisher{c} }

var _ retry.API = (*Publisher)(nil)

// Send publishes alerts, which are results of bigpanda.Payload.Encode, for one app key.
// No error means that the stream has them all: the status is 201, or 204 when it had
// all of them before. Else some may be stored, and are again published with the
// others, which changes nothing. The error is *bigpanda.Error: of the reason too_large for
// an alert that is (see Conn.tooLarge), before any is published; Retry when ctx has ended;
// else Hold.
func (p *Publisher) Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error) {
	if len(alerts) == 0 {
		return bigpanda.Answer{}, nil
	}
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	added, err := p.publish(sending, appKey, alerts)
	switch {
	case ctx.Err() != nil && err != nil:
		return bigpanda.Answer{}, canceled(ctx.Err())
	case err != nil:
		return bigpanda.Answer{}, err
	case added == 0:
		return bigpanda.Answer{Status: http.StatusNoContent}, nil
	}
	return bigpanda.Answer{Status: http.StatusCreated}, nil
}

// publish returns how many of the alerts were not in the stream before.
func (p *Publisher) publish(ctx context.Context, appKey string, alerts [][]byte) (added int, err error) {
	if err := p.c.reach(ctx); err != nil { // else it is not known how large a message may be
		return 0, err
	}
	waves, err := p.waves(appKey, alerts)
	for _, wave := range waves {
		n, err := p.wave(ctx, wave)
		if added += n; err != nil {
			return added, err
		}
	}
	return added, err
}

// waves makes the messages of alerts: the first change of each alert, then the second
// of those that have several, and so on. If two of one alert were under way, the later
// one could be stored without the earlier one, while the stream's leader changes.
func (p *Publisher) waves(appKey string, alerts [][]byte) (waves [][]*nats.Msg, err error) {
	changes := make(map[string]int, len(alerts)) // of each alert so far
	for _, alert := range alerts {
		m := p.c.o.encode(appKey, alert)
		limit := int(p.c.maxPayload())
		if most := limit - refusalRoom(limit); m.Size() > most {
			return nil, p.c.tooLarge("an alert of %d bytes is larger than may be, %d bytes", len(m.Data), most)
		}
		key := alertOf(appKey, alert).Identity().Key()
		if changes[key] == len(waves) {
			waves = append(waves, nil)
		}
		waves[changes[key]] = append(waves[changes[key]], m)
		changes[key]++
	}
	return waves, nil
}

// wave publishes messages of different alerts until all are stored, for as long as ctx
// allows, and returns how many were not before.
func (p *Publisher) wave(ctx context.Context, messages []*nats.Msg) (added int, err error) {
	wait := retry.NewBackoff(askInitial, askMax)
	for {
		var failed []*nats.Msg
		for piece := range slices.Chunk(messages, maxPending) {
			n, left, why := p.piece(ctx, piece)
			added += n
			failed = append(failed, left...)
			if err = why; err != nil && definite(err) {
				return added, p.c.failure(messages[0].Subject, err)
			}
		}
		if messages = failed; len(messages) == 0 {
			return added, nil
		}
		failure := p.c.failure(messages[0].Subject, err)
		if !retry.Sleep(ctx, wait.NextBackOff()) {
			return added, failure
		}
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			// It has no leader, or is not there.
			if _, err := p.c.stream(ctx); err != nil && ctx.Err() == nil {
				return added, err
			}
		}
		if err := p.c.reach(ctx); err != nil {
			return added, err
		}
	}
}

// piece publishes messages once. It returns how many were not stored before, and those
// that are not acknowledged, with the error of one of them: a definite one, if any is.
func (p *Publisher) piece(ctx context.Context, messages []*nats.Msg) (added int, failed []*nats.Msg, err error) {
	ctx, stop := p.c.denials.watch(ctx, messages[0].Subject)
	defer stop()
	acks := make([]jetstream.PubAckFuture, len(messages))
	fail := func(m *nats.Msg, why error) {
		failed = append(failed, m)
		if err == nil || definite(why) {
			err = why
		}
	}
	for i, m := range messages {
		ack, why := p.c.js().PublishMsgAsync(m)
		if why != nil {
			fail(m, why)
			continue
		}
		acks[i] = ack
	}
	for i, m := range messages {
		if acks[i] == nil {
			continue
		}
		select {
		case ack := <-acks[i].Ok():
			switch {
			case ack.Stream != p.c.o.Stream:
				fail(m, held(bigpanda.ReasonNotFound, "have the stream "+p.c.o.Stream+" alone store "+p.c.o.alertSubjects(),
					"another stream, %s, stores the alerts", ack.Stream))
			case !ack.Duplicate:
				added++
			}
		case why := <-acks[i].Err():
			fail(m, why)
		case <-ctx.Done():
			fail(m, context.Cause(ctx))
		}
	}
	return added, failed, err
}
