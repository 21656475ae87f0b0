package stream

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"bigpanda-udf/outbox"

	"github.com/nats-io/nats.go/jetstream"
)

// Status is what the stream holds, what of it waits, and who delivers. All times are
// the servers'.
type Status struct {
	Stream  StreamStatus   `json:"stream"`
	Lease   LeaseStatus    `json:"lease"`
	AppKeys []AppKeyStatus `json:"app_keys"` // by name
	Dead    int            `json:"dead"`     // letters that are kept
	// Delivery is how it goes for whoever delivers: empty when nobody does, or does
	// not answer.
	outbox.Delivery
}

// StreamStatus is the stream of alerts.
type StreamStatus struct {
	Name     string        `json:"name"`
	Created  time.Time     `json:"created"`
	Messages uint64        `json:"messages"` // delivered or not
	Bytes    uint64        `json:"bytes"`    // on each server that has it
	MaxBytes int64         `json:"max_bytes"`
	MaxAge   time.Duration `json:"max_age_ns"`
	FirstSeq uint64        `json:"first_seq"`
	LastSeq  uint64        `json:"last_seq"`
	Replicas int           `json:"replicas"`
	Leader   string        `json:"leader,omitempty"` // the server; none for one that is alone
}

// LeaseStatus is who delivers.
type LeaseStatus struct {
	Owner   string    `json:"owner,omitempty"` // none: nobody delivers
	Epoch   uint64    `json:"epoch"`           // one more with each owner
	Since   time.Time `json:"since,omitzero"`
	Renewed time.Time `json:"renewed,omitzero"` // last written
	Standby []string  `json:"standby"`          // that answer, by name
}

// AppKeyStatus is what the stream holds of an app key.
type AppKeyStatus struct {
	AppKey        string    `json:"app_key"`
	Stored        uint64    `json:"stored"`       // delivered or not
	DeliveredTo   uint64    `json:"delivered_to"` // the number up to which all is
	Lag           uint64    `json:"lag"`          // alerts that wait
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
}

// Status asks the servers and the deliverers. It needs the rights of a deliverer. The
// error is *bigpanda.Error, of the class Hold.
func (c *Conn) Status(ctx context.Context) (s Status, err error) {
	alerts, info, err := c.bySubject(ctx)
	if err != nil {
		return s, err
	}
	s.Stream = StreamStatus{
		Name: info.Config.Name, Created: info.Created, Messages: info.State.Msgs, Bytes: info.State.Bytes,
		MaxBytes: info.Config.MaxBytes, MaxAge: info.Config.MaxAge,
		FirstSeq: info.State.FirstSeq, LastSeq: info.State.LastSeq, Replicas: info.Config.Replicas,
	}
	if info.Cluster != nil {
		s.Stream.Leader = info.Cluster.Leader
	}
	record, err := c.lastLease(ctx, &s.Lease)
	if err != nil {
		return s, err
	}
	if !record.Created.Equal(info.Created) {
		record = leaseRecord{} // it is about another stream: nothing of this one is delivered
	}
	for subject, stored := range info.State.Subjects {
		of, err := c.appKey(ctx, alerts, subject, record)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // gone meanwhile
		}
		if err != nil {
			return s, err
		}
		of.Stored = stored
		s.AppKeys = append(s.AppKeys, of)
	}
	slices.SortFunc(s.AppKeys, func(a, b AppKeyStatus) int { return cmp.Compare(a.AppKey, b.AppKey) })
	dead, err := c.streamIfAny(ctx, c.o.deadStream())
	if err != nil {
		return s, err
	}
	if dead != nil {
		s.Dead = int(dead.CachedInfo().State.Msgs)
	}
	return s, c.whoDelivers(ctx, &s, info.TimeStamp)
}

// bySubject returns the stream, and what it holds, by subject too.
func (c *Conn) bySubject(ctx context.Context) (jetstream.Stream, *jetstream.StreamInfo, error) {
	alerts, err := c.stream(ctx)
	if err != nil {
		return nil, nil, err
	}
	info, err := ask(ctx, c, infoSubject(c.o.Stream), func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return alerts.Info(ctx, jetstream.WithSubjectFilter(c.o.alertSubjects()))
	})
	return alerts, info, err
}

// lastLease returns the lease's record, an empty one if there is none, and says whose it
// is.
func (c *Conn) lastLease(ctx context.Context, s *LeaseStatus) (r leaseRecord, err error) {
	name := c.o.leaseStream()
	bucket, err := c.streamIfAny(ctx, name)
	if bucket == nil {
		return r, err
	}
	m, err := ask(ctx, c, directSubject(name), func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return c.o.readLease(ctx, bucket)
	})
	if err != nil || len(m.Data) == 0 {
		return r, err
	}
	if r, err = decodeRecord(m.Data); err != nil {
		return r, c.failure("", err)
	}
	s.Owner, s.Epoch, s.Since, s.Renewed = shown(r.Owner), r.Epoch, r.Since, m.Time
	return r, nil
}

// appKey tells of the messages of a subject what is delivered.
func (c *Conn) appKey(ctx context.Context, alerts jetstream.Stream, subject string, r leaseRecord) (of AppKeyStatus, err error) {
	token := tokenOf(subject)
	of.DeliveredTo = r.deliveredTo(token)
	of.Lag = r.undelivered(token)
	if r.Read < alerts.CachedInfo().State.LastSeq {
		// How many are behind it, a consumer knows that begins there.
		consumer, err := c.newConsumer(ctx, jetstream.ConsumerConfig{
			FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.Read + 1,
			InactiveThreshold: time.Second,
		})
		if err != nil {
			return of, err
		}
		of.Lag += consumer.CachedInfo().NumPending
	}
	first := uint64(1)
	if of.Lag > 0 {
		first = of.DeliveredTo + 1
	}
	m, err := ask(ctx, c, directSubject(c.o.Stream), func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return alerts.GetMsg(ctx, first, jetstream.WithGetMsgSubject(subject))
	})
	if err != nil {
		return of, err
	}
	if of.Lag > 0 {
		of.OldestWaiting = m.Time
	}
	change, ok := decodeData(m.Data)
	of.AppKey = change.AppKey
	if !ok {
		of.AppKey = token // somebody else's
	}
	return of, nil
}

// whoDelivers asks the deliverers. One that has died has the lease for a while still.
func (c *Conn) whoDelivers(ctx context.Context, s *Status, now time.Time) error {
	all, owner, err := c.whoLeads(ctx)
	if err != nil {
		return err
	}
	if now.Sub(s.Lease.Renewed) > 2*c.o.LeaseTTL {
		s.Lease.Owner, s.Lease.Since = "", time.Time{}
	}
	if owner.Leads && owner.Epoch >= s.Lease.Epoch {
		s.Lease.Owner, s.Lease.Epoch, s.Lease.Since = owner.Owner, owner.Epoch, owner.Since
		s.Delivery = owner.Delivery
	}
	s.Lease.Standby = []string{}
	for _, one := range all {
		if !one.Leads {
			s.Lease.Standby = append(s.Lease.Standby, one.Owner)
		}
	}
	slices.Sort(s.Lease.Standby)
	return nil
}
