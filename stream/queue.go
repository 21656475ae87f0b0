package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/counters"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
)

const (
	// memoryBytes is how large what is in memory may be, more or less (P7): enough for
	// some 50,000 alerts of 600 bytes.
	memoryBytes = 32 << 20
	// leastBytes is what each app key may have of it, however much others have, while
	// that is not more than all of it.
	leastBytes = 256 << 10
	// changeBytes is what a change takes besides its payload and its alert.
	changeBytes = 400
	// farBehind is how many numbers are not read through to what was left.
	farBehind = 10_000
	// deadWithin is how long a dead letter is tried to be stored before the next one is.
	deadWithin = 5 * time.Second
)

// A queue is the udf.Queue of one term. What is put into its Memory has its number in
// the stream as ID; what does not fit is left in the stream, by app key, so that one
// that is held holds up no other.
//
// An ack is noted, committed with the lease, and only then carried out: a deliverer that
// has lost the lease acknowledges nothing.
type queue struct {
	*outbox.Memory
	commit func() error // with the lease
	// putDead stores a dead letter, of the message with a number in the stream that was
	// made at a time.
	putDead func(ctx context.Context, seq uint64, created time.Time, letter outbox.DeadLetter) error
	log     *slog.Logger
	room    chan struct{} // has one when there may be more room
	more    chan struct{} // has one when there may be more letters

	mu sync.Mutex // guards what follows
	progress
	letters []outbox.DeadLetter // to be stored: of messages in memory, and undelivered until then
	foreign retry.LogLimiter    // what is no alert
	counted counters.Queue
}

func newQueue(r leaseRecord, log *slog.Logger) *queue {
	return &queue{
		Memory: outbox.NewMemory(0), log: log, room: make(chan struct{}, 1), more: make(chan struct{}, 1),
		progress: newProgress(r),
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ack removes delivered changes. The error is that the lease is lost, or the term has
// ended: then they stay undelivered in the record.
func (q *queue) Ack(ids ...uint64) error {
	q.mu.Lock()
	q.done(ids)
	q.mu.Unlock()
	err := q.commit()
	notify(q.room)
	if err != nil {
		return err
	}
	return q.Memory.Ack(ids...)
}

// Dead has a change stored as a dead letter, and removed then. Until then it holds up its
// alert, and nothing else.
func (q *queue) Dead(c outbox.Change, status int, answer string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.letter(outbox.DeadLetter{Change: c, Status: status, Answer: answer})
	return nil
}

// letter adds one to those that are to be stored. mu is locked.
func (q *queue) letter(l outbox.DeadLetter) {
	l.Died = time.Now().Unix()
	q.letters = append(q.letters, l)
	notify(q.more)
}

// storeLetters stores dead letters, one after the other, until ctx ends. One that cannot
// be stored goes behind the others.
func (q *queue) storeLetters(ctx context.Context) {
	var lines retry.LogLimiter
	wait := retry.NewBackoff(askInitial, retry.FailureMax)
	for ctx.Err() == nil {
		letter, created, ok := q.nextLetter()
		if !ok {
			select {
			case <-q.more:
			case <-ctx.Done():
			}
			continue
		}
		trying, cancel := context.WithTimeout(ctx, deadWithin)
		err := q.putDead(trying, letter.ID, created, letter)
		cancel()
		if err == nil {
			err = q.Ack(letter.ID)
		}
		q.mu.Lock()
		q.letters = q.letters[1:]
		if err == nil {
			q.counted.Dead++
		} else {
			q.letters = append(q.letters, letter)
		}
		q.mu.Unlock()
		var failure *bigpanda.Error
		switch {
		case err == nil:
			wait.Reset()
			lines.Over()
			continue
		case errors.As(err, &failure) && lines.Met(failure.Reason):
			q.log.Error("a dead letter cannot be kept in its stream: its alert waits, and it is tried again", "number", letter.ID, "error", err)
		}
		retry.Sleep(ctx, wait.NextBackOff())
	}
}

func (q *queue) nextLetter() (l outbox.DeadLetter, created time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.letters) == 0 {
		return l, created, false
	}
	return q.letters[0], q.created, true
}

// admit takes the next message of the stream, in memory if there is room for it and
// nothing of its app key was left before it.
func (q *queue) admit(token string, c outbox.Change, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.passed(c.ID, at)
	b := q.backlog(token)
	if len(b.left) > 0 || !q.hasRoom(b) {
		b.leave(c.ID)
		return
	}
	q.load(b, c.ID, sizeOf(c))
	q.put(c)
}

// put takes what was loaded: an alert to be sent, or to be a dead letter if it is none.
// mu is locked.
func (q *queue) put(c outbox.Change) {
	if c.Alert != "" {
		q.Put(c)
		return
	}
	if q.foreign.Met(bigpanda.ReasonNotBigPanda) {
		q.log.Error("the stream holds what no publisher of this program makes: it becomes a dead letter", "number", c.ID)
	}
	q.letter(outbox.DeadLetter{Change: c, Answer: fmt.Sprintf("message %d of the stream: %v", c.ID, errMessage)})
}

// pass goes on behind a message that is done with.
func (q *queue) pass(seq uint64, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.passed(seq, at)
}

// passed is pass, with mu locked.
func (q *queue) passed(seq uint64, at time.Time) {
	q.expired(seq - q.read - 1)
	q.read, q.readAt = seq, at
}

// full reports whether the next message of an app key would be left for want of room
// alone.
func (q *queue) full(token string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.appKeys[token]
	return b != nil && len(b.left) == 0 && !q.hasRoom(b)
}

// readmit takes a message in memory that was left, and reports whether that is enough:
// there is no more room, nothing more was left, or it begins far behind.
func (q *queue) readmit(token string, c outbox.Change) (enough bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.backlog(token)
	undelivered, gone := q.reread(b, c.ID, sizeOf(c))
	if undelivered {
		q.put(c)
	}
	q.expired(gone)
	return len(b.left) == 0 || !q.hasRoom(b) || b.left[0].from > c.ID+farBehind
}

// left returns in which range of numbers that is which was left of an app key; two zeros
// when nothing was.
func (q *queue) left(token string) (from, to uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.appKeys[token]; b != nil && len(b.left) > 0 {
		return b.left[0].from, b.left[len(b.left)-1].to
	}
	return 0, 0
}

// vanish says that the stream has no more of what was left of an app key below a number.
func (q *queue) vanish(token string, below uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expired(q.skip(q.backlog(token), below))
}

// leftover returns an app key of which something was left and is wanted now, and where
// that begins. With half of what it may have in memory there is time to read on.
func (q *queue) leftover() (token string, from uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for token, b := range q.appKeys {
		if len(b.left) > 0 && b.bytes <= q.share()/2 {
			return token, b.left[0].from
		}
	}
	return "", 0
}

// expired counts messages that the stream no longer had when they were to be delivered.
// mu is locked.
func (q *queue) expired(n uint64) {
	if n > 0 {
		q.counted.Expired += int(n)
		q.log.Error("alerts are lost: the stream no longer had them when it was their turn; "+
			"find out why they waited so long, and keep alerts for longer", "alerts", n)
	}
}

// hasRoom reports whether an app key may have more in memory: as much as is still free,
// so that some is free whoever is held. mu is locked.
func (q *queue) hasRoom(b *backlog) bool { return b.bytes < q.share() }
func (q *queue) share() int {
	return max(min(leastBytes, memoryBytes/max(1, len(q.appKeys))), memoryBytes-q.bytes)
}

func sizeOf(c outbox.Change) int { return len(c.Payload) + len(c.Alert) + changeBytes }

// known is a record of what is known of the stream, without who delivers.
func (q *queue) known() (r leaseRecord) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fill(&r)
	return r
}

// restart forgets what is known of the stream, but for what is in a record. What is in
// memory is delivered, and not noted.
func (q *queue) restart(r leaseRecord) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.progress = newProgress(r)
}

// count adds what was counted so far.
func (q *queue) count(all *counters.Counters) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all.Queue.Add(q.counted)
}
