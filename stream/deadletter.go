package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A dead letter is a message as the alert's was, in a stream of its own, with one
// header more:
//
//	subject  BIGPANDA.d.<token of the app key>
//	header   Bigpanda-Refusal: {"status":400,"answer":"…","died":…}
//	data     {"app_key":"…","status":"…",…}
const headerRefusal = "Bigpanda-Refusal"

// How large the header is, in bytes. leastRefusal holds all of it but the answer.
const maxRefusal, leastRefusal = 4 << 10, 256

// refusalRoom is how much of what the servers take the header may have. A Publisher leaves
// as much in a message, so that each may become a dead letter.
func refusalRoom(limit int) int { return min(maxRefusal, max(leastRefusal, limit/4)) }

type refusal struct {
	Status int    `json:"status"`
	Answer string `json:"answer"`
	Died   int64  `json:"died"` // Unix seconds
}

// encode makes the header's value. An answer is cut that would make the header larger than
// room.
func (r refusal) encode(room int) (string, error) {
	answer := r.Answer
	for most := room / 2; ; most /= 2 {
		r.Answer = printable.Cut(answer, most)
		text, err := json.Marshal(r)
		if err != nil || most == 0 || len(text) < room-len(headerRefusal)-4 {
			return string(text), err
		}
	}
}

// putDead adds a dead letter, of the message with a number in a stream that was made at
// a time, unless it is there already. The error is *bigpanda.Error, of the class Hold.
func (c *Conn) putDead(ctx context.Context, seq uint64, created time.Time, letter outbox.DeadLetter) error {
	m := nats.NewMsg(c.o.deadSubject(letter.AppKey))
	m.Data = bigpanda.Body(letter.AppKey, [][]byte{letter.Payload})
	value, err := refusal{letter.Status, letter.Answer, cmp.Or(letter.Died, time.Now().Unix())}.encode(refusalRoom(int(c.maxPayload())))
	if err != nil {
		return c.failure(m.Subject, err)
	}
	m.Header.Set(headerRefusal, value)
	// Not of the data: what is retried may be refused again.
	m.Header.Set(headerID, hash([]byte(strconv.FormatUint(seq, 10)+" "+strconv.FormatInt(created.UnixNano(), 10))))
	_, err = c.publishOne(ctx, m, c.o.deadStream(), c.dead)
	return err
}

// publishOne publishes a message to a stream until it is stored or ctx has ended.
// lookUp finds or makes the stream.
func (c *Conn) publishOne(ctx context.Context, m *nats.Msg, stream string, lookUp func(context.Context) (jetstream.Stream, error)) (*jetstream.PubAck, error) {
	return ask(ctx, c, m.Subject, func(ctx context.Context) (*jetstream.PubAck, error) {
		ack, err := c.js().PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
		switch {
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			if _, missing := lookUp(ctx); missing != nil && ctx.Err() == nil {
				return nil, missing
			}
		case err == nil && ack.Stream != stream:
			return nil, held(bigpanda.ReasonNotFound, "have the stream "+stream+" alone store it", "another stream, %s, stores %s", ack.Stream, m.Subject)
		}
		return ack, err
	})
}

// A DeadLetter is an alert that BigPanda refused for good.
type DeadLetter struct {
	Seq     uint64          `json:"seq"` // its number, by which it is retried or dropped
	AppKey  string          `json:"app_key"`
	Alert   string          `json:"alert"` // as in outbox.Change
	Level   string          `json:"level"`
	Status  int             `json:"status"` // of the HTTP answer
	Answer  string          `json:"answer"` // its body, maybe cut
	Died    time.Time       `json:"died,omitzero"`
	Payload json.RawMessage `json:"payload"`
}

// deadPage is how many bytes of dead letters are held at once, and one letter more.
const deadPage = 8 << 20

// DeadLetters returns up to limit dead letters with numbers above after, ascending, fewer
// of large ones, and whether there are more. There are none while the stream is missing.
// The error is *bigpanda.Error.
func (c *Conn) DeadLetters(ctx context.Context, after uint64, limit int) (letters []DeadLetter, more bool, err error) {
	s, err := c.deadIfAny(ctx)
	if s == nil || after == math.MaxUint64 {
		return nil, false, err
	}
	size := 0
	for seq := after + 1; ; {
		m, err := c.nextDead(ctx, s, seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return letters, false, nil
		case err != nil:
			return nil, false, err
		case len(letters) == limit, size > deadPage:
			return letters, true, nil
		}
		size += len(m.Data)
		letters = append(letters, c.readDead(m))
		seq = m.Sequence + 1
	}
}

// deadIfAny returns the stream of dead letters, nil if no alert was refused yet. The error
// may be that there is no stream of alerts either, as when its name is wrong.
func (c *Conn) deadIfAny(ctx context.Context) (jetstream.Stream, error) {
	s, err := c.streamIfAny(ctx, c.o.deadStream())
	if s == nil && err == nil {
		_, err = c.stream(ctx)
	}
	return s, err
}

// streamIfAny returns a stream, nil if there is none.
func (c *Conn) streamIfAny(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := ask(ctx, c, infoSubject(name), func(ctx context.Context) (jetstream.Stream, error) {
		return c.js().Stream(ctx, name)
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return s, err
}

// nextDead returns the first dead letter with a number of at least seq.
func (c *Conn) nextDead(ctx context.Context, s jetstream.Stream, seq uint64) (*jetstream.RawStreamMsg, error) {
	return ask(ctx, c, directSubject(c.o.deadStream()), func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(c.o.deadSubjects()))
	})
}

func directSubject(stream string) string { return "$JS.API.DIRECT.GET." + stream }

// readDead shows a dead letter as far as it can be read: what else has been put into
// the stream must show, too, so that it can be dropped.
func (c *Conn) readDead(m *jetstream.RawStreamMsg) DeadLetter {
	var r refusal
	_ = json.Unmarshal([]byte(m.Header.Get(headerRefusal)), &r)
	letter := DeadLetter{Seq: m.Sequence, Status: r.Status, Answer: r.Answer, Died: m.Time}
	// Not later than it was stored: JSON has no year 10000, and one such letter would hide
	// all others.
	if died := time.Unix(r.Died, 0).UTC(); r.Died > 0 && died.Before(m.Time) {
		letter.Died = died
	}
	if change, ok := decodeData(m.Data); ok {
		letter.AppKey, letter.Alert, letter.Level, letter.Payload = change.AppKey, change.Alert, change.Level, change.Payload
	} else if json.Valid(m.Data) {
		letter.Payload = m.Data
	} else {
		letter.Payload, _ = json.Marshal(printable.Cut(string(m.Data), maxRefusal))
	}
	return letter
}

// RetryDead puts dead letters back among the alerts, and returns how many, and the
// numbers that have none. They are new there: the window knows their old ids.
func (c *Conn) RetryDead(ctx context.Context, seqs ...uint64) (done int, missing []uint64, err error) {
	return c.eachDead(ctx, seqs, func(m *jetstream.RawStreamMsg) error {
		change, ok := decodeData(m.Data)
		if !ok {
			return held(bigpanda.ReasonNotBigPanda, "drop it", "dead letter %d cannot be sent: %w", m.Sequence, errMessage)
		}
		again := c.o.encode(change.AppKey, change.Payload)
		// The same each time, if this ends before the dead letter is removed.
		again.Header.Set(headerID, hash(again.Data, []byte("dead letter "+strconv.FormatUint(m.Sequence, 10)+m.Time.String())))
		_, err := c.publishOne(ctx, again, c.o.Stream, c.stream)
		return err
	})
}

// DropDead removes dead letters, and returns how many, and the numbers that have none.
func (c *Conn) DropDead(ctx context.Context, seqs ...uint64) (done int, missing []uint64, err error) {
	return c.eachDead(ctx, seqs, func(*jetstream.RawStreamMsg) error { return nil })
}

// eachDead does something with dead letters, and removes them.
func (c *Conn) eachDead(ctx context.Context, seqs []uint64, do func(*jetstream.RawStreamMsg) error) (done int, missing []uint64, err error) {
	s, err := c.deadIfAny(ctx)
	if err != nil {
		return 0, nil, err
	}
	if s == nil {
		return 0, seqs, nil
	}
	remove := "$JS.API.STREAM.MSG.DELETE." + c.o.deadStream()
	for _, seq := range seqs {
		m, err := c.nextDead(ctx, s, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence != seq {
			missing = append(missing, seq)
			continue
		}
		if err == nil {
			err = do(m)
		}
		if err == nil {
			_, err = ask(ctx, c, remove, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, s.DeleteMsg(ctx, seq)
			})
		}
		if err != nil {
			return done, missing, err
		}
		done++
	}
	return done, missing, nil
}
