package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The lease is one key of a bucket. Its owner writes it anew, with what is delivered, by
// compare-and-set on its revision:
//
//	renewal     0        1        2        3                      TTL
//	            ├────────┼────────┼────────┼──────────┬─────┬─────┤
//	            requests may start                 0.75   0.9
//	                                                │     requests are broken off
//	                                                none starts
//
// Another takes it when the revision has not moved for a TTL, the owner's or its own if
// that is longer, by its own clock. No clocks are compared. That a term has outlasted the
// TTL ends nothing: it only sends nothing until it has renewed. What ends it is a record
// with a higher epoch.
const (
	leaseKey = "sender"
	// renewals in a TTL: some may fail.
	renewals = 5
	// The parts of a TTL after a renewal in which requests may start, and go on.
	startWithin, answerWithin = 0.75, 0.9
	// standbyPoll is how often a deliverer that stands by looks.
	standbyPoll = 200 * time.Millisecond
	// notAllowed is when it is asked again whether a request may start.
	notAllowed = 20 * time.Millisecond
	// recordHeaders are the bytes beside the record in a message.
	recordHeaders = 200
	// releaseWithin is how long it may take to hand the lease over.
	releaseWithin = time.Second
)

var (
	errLost  = errors.New("another deliverer has the lease")
	errEnded = errors.New("the term has ended")
)

// A lease is one term of its owner.
type lease struct {
	store *leaseStore
	ttl   time.Duration

	base    leaseRecord        // as it was taken: owner, epoch, since
	known   func() leaseRecord // what is known of the stream
	commits chan chan error
	ended   chan struct{} // keep has returned
	lost    bool          // what is stored is another's, and not to be written over; of who writes

	mu      sync.Mutex // guards what follows
	renewed time.Time  // when the write began that renewed it last
	written leaseRecord
	valid   context.Context // requests go on while it does
	suspend context.CancelFunc
	expiry  *time.Timer
}

// keep renews the lease until ctx ends, and commits what others wait for. The error is
// that the lease is lost.
func (l *lease) keep(ctx context.Context) error {
	defer close(l.ended)
	defer l.stopSending()
	renew := time.NewTimer(0) // at once: to take it may have taken long
	defer renew.Stop()
	for {
		var waiting []chan error
		select {
		case <-renew.C:
		case w := <-l.commits:
			waiting = append(waiting, w)
		case <-ctx.Done():
			return nil
		}
		for more := true; more; {
			select {
			case w := <-l.commits:
				waiting = append(waiting, w)
			default:
				more = false
			}
		}
		renew.Reset(l.ttl / renewals)
		err := l.write(ctx, l.base.Owner)
		for _, w := range waiting {
			w <- err
		}
		if err != nil {
			return err
		}
	}
}

// commit returns when a record is stored that has all that was known when it was called.
func (l *lease) commit() error {
	done := make(chan error, 1)
	select {
	case l.commits <- done:
		return <-done
	case <-l.ended:
		return errEnded
	}
}

// write stores the record under an owner's name. It tries until it is done, ctx ends or
// the lease is lost.
func (l *lease) write(ctx context.Context, owner string) error {
	record := l.known()
	record.Owner, record.Epoch, record.Since, record.TTL = owner, l.base.Epoch, l.base.Since, l.base.TTL
	record = l.store.fit(record)
	wait := retry.NewBackoff(askInitial/4, askMax/2)
	for !l.lost {
		began := time.Now()
		err := l.store.set(ctx, record)
		if err == nil {
			l.renew(began, record)
			return nil
		}
		// It may be written all the same. What is there under this epoch is one's own.
		current, readErr := l.store.get(ctx)
		// Also of one that cannot be read, if a later version of this program wrote it: what
		// is no record at all is written over.
		read := readErr == nil || errors.Is(readErr, errRecord)
		l.lost = read && (current.Epoch > record.Epoch ||
			current.Epoch == record.Epoch && current.Owner != "" && current.Owner != l.base.Owner)
		if !l.lost && !retry.Sleep(ctx, wait.NextBackOff()) {
			return err
		}
	}
	return errLost
}

// release hands the lease over.
func (l *lease) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	return l.write(ctx, "")
}

// renew lets requests start again, and those that are under way go on.
func (l *lease) renew(began time.Time, record leaseRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed, l.written = began, record
	left := time.Until(began.Add(part(l.ttl, answerWithin)))
	if left <= 0 {
		return
	}
	if l.valid == nil || l.valid.Err() != nil || !l.expiry.Reset(left) {
		if l.suspend != nil {
			l.suspend()
		}
		valid, suspend := context.WithCancel(context.Background())
		l.valid, l.suspend = valid, suspend
		l.expiry = time.AfterFunc(left, suspend)
	}
}

func part(d time.Duration, share float64) time.Duration { return time.Duration(float64(d) * share) }

// stopSending breaks off the requests that are under way, and lets none start.
func (l *lease) stopSending() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
	if l.suspend != nil {
		l.suspend()
	}
}

// allowed returns how long to wait before it is asked again whether a request may start.
func (l *lease) allowed() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.valid == nil || l.valid.Err() != nil || elapsed(l.renewed) >= part(l.ttl, startWithin) {
		return notAllowed
	}
	return 0
}

// elapsed is how long ago t was. The monotonic clock stands still while the machine is
// suspended, and the wall clock may be set back: the later one counts.
func elapsed(t time.Time) time.Duration {
	return max(time.Since(t), time.Now().Round(0).Sub(t.Round(0)))
}

// record returns the record as it was stored last.
func (l *lease) record() leaseRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

// A fencedAPI sends while the lease is valid.
type fencedAPI struct {
	api   retry.API
	lease *lease
}

// Send makes a request whose deadline moves with each renewal of the lease.
func (f *fencedAPI) Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error) {
	f.lease.mu.Lock()
	valid := f.lease.valid
	f.lease.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(valid, cancel)()
	return f.api.Send(ctx, appKey, alerts)
}

// A leaseStore reads and writes the lease's key. One goroutine uses it.
type leaseStore struct {
	conn     *Conn
	bucket   jetstream.Stream
	revision uint64      // of what was read or written last; 0: there is nothing
	heard    func(error) // is told whether NATS answers
}

// get reads the record; an empty one when there is none.
func (s *leaseStore) get(ctx context.Context) (leaseRecord, error) {
	o := s.conn.o
	m, err := request(ctx, s, directSubject(o.leaseStream()), func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		m, err := o.readLease(ctx, s.bucket)
		if errors.Is(err, nats.ErrConnectionClosed) { // that by which the bucket was looked up
			bucket, err := s.conn.js().Stream(ctx, o.leaseStream())
			if err != nil {
				return nil, err
			}
			s.bucket = bucket
			return o.readLease(ctx, bucket)
		}
		return m, err
	})
	if err != nil {
		if s.conn.nc().IsConnected() { // the bucket may be gone: then it is made anew
			_ = s.answers(ctx)
		}
		return leaseRecord{}, err
	}
	s.revision = m.Sequence
	if len(m.Data) == 0 {
		return leaseRecord{}, nil
	}
	r, err := decodeRecord(m.Data)
	if err != nil {
		err = fmt.Errorf("read the key %s of the bucket %s: %w; delete it, and all that the stream holds is delivered again", leaseKey, o.leaseBucket(), err)
		s.heard(held(bigpanda.ReasonServer, "", "%w", err))
	}
	return r, err
}

// readLease reads the message that is the lease's key. It has no data if there is none, or
// it was deleted.
func (o Options) readLease(ctx context.Context, bucket jetstream.Stream) (*jetstream.RawStreamMsg, error) {
	m, err := bucket.GetLastMsgForSubject(ctx, o.leaseSubject())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return &jetstream.RawStreamMsg{}, nil
	}
	return m, err
}

// answers asks the bucket's leader, and makes the bucket if it is missing.
func (s *leaseStore) answers(ctx context.Context) error {
	_, err := request(ctx, s, infoSubject(s.conn.o.leaseStream()), s.conn.lease)
	return err
}

// fit returns the record, a short one if the servers would not take it for its size.
func (s *leaseStore) fit(r leaseRecord) leaseRecord {
	if int64(len(r.encode())+recordHeaders) > s.conn.maxPayload() {
		return r.short()
	}
	return r
}

// set writes the record if there is still what was read or written last.
func (s *leaseStore) set(ctx context.Context, r leaseRecord) error {
	m := nats.NewMsg(s.conn.o.leaseSubject())
	m.Data = r.encode()
	ack, err := request(ctx, s, m.Subject, func(ctx context.Context) (*jetstream.PubAck, error) {
		return s.conn.js().PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(s.revision), jetstream.WithRetryAttempts(0))
	})
	if err == nil {
		s.revision = ack.Sequence
	}
	return err
}

// request asks once, more or less: what has no answer within a part of the TTL is asked
// anew, with what is known by then.
func request[T any](ctx context.Context, s *leaseStore, subject string, do func(context.Context) (T, error)) (T, error) {
	asking, cancel := context.WithTimeout(ctx, min(askTimeout, s.conn.o.LeaseTTL/2))
	defer cancel()
	answer, err := ask(asking, s.conn, subject, do)
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		s.heard(nil) // it is another revision
	case err == nil || ctx.Err() == nil:
		s.heard(err)
	}
	return answer, err
}
