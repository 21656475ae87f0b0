package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bigpanda-udf/outbox"

	"github.com/nats-io/nats.go"
)

// Deliverers answer to two subjects, which are not stored: who they are, and that the one
// that has the lease is to hand it over.
func (o Options) infoSubject() string     { return o.leaseBucket() + ".info" }
func (o Options) handOverSubject() string { return o.leaseBucket() + ".handover" }

const (
	// answersWithin is how long the answers of several may be apart.
	answersWithin = 300 * time.Millisecond
	// handOverWithin is how long it may take until another delivers.
	handOverWithin = 5 * time.Second
	// maxDeliverers is how many answers are waited for.
	maxDeliverers = 100
)

// A DelivererInfo is what a deliverer tells of itself.
type DelivererInfo struct {
	Owner    string          `json:"owner"`
	Leads    bool            `json:"leads"` // it has the lease
	Epoch    uint64          `json:"epoch,omitempty"`
	Since    time.Time       `json:"since,omitzero"` // when it took it
	Delivery outbox.Delivery `json:"delivery"`
}

func (d *Deliverer) info() DelivererInfo {
	info := DelivererInfo{Owner: d.options.Owner, Delivery: d.Report()}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.term != nil {
		base := d.term.lease.base
		info.Leads, info.Epoch, info.Since = true, base.Epoch, base.Since
	}
	return info
}

// listen answers until stop is called.
func (d *Deliverer) listen() (stop func(), err error) {
	answer := func(m *nats.Msg, text any) {
		if data, err := json.Marshal(text); err == nil {
			_ = m.Respond(data) // who asks has a deadline
		}
	}
	info, err := d.conn.nc.Subscribe(d.conn.o.infoSubject(), func(m *nats.Msg) { answer(m, d.info()) })
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", d.conn.failure(d.conn.o.infoSubject(), err))
	}
	handOver, err := d.conn.nc.Subscribe(d.conn.o.handOverSubject(), func(m *nats.Msg) {
		d.mu.Lock()
		t := d.term
		d.mu.Unlock()
		if t == nil || string(m.Data) != d.options.Owner {
			return
		}
		t.end(errHandOver)
		go func() {
			<-t.ended
			text := ""
			if t.failed != nil {
				text = t.failed.Error()
			}
			answer(m, text)
		}()
	})
	if err != nil {
		_ = info.Unsubscribe()
		return nil, fmt.Errorf("deliver: %w", d.conn.failure(d.conn.o.handOverSubject(), err))
	}
	return func() {
		_ = info.Unsubscribe()
		_ = handOver.Unsubscribe()
	}, nil
}

// deliverers asks all that run, and returns the answers that come soon.
func (c *Conn) deliverers(ctx context.Context) ([]DelivererInfo, error) {
	return c.deliverersUntil(ctx, func([]DelivererInfo) bool { return false })
}

// deliverersUntil is deliverers until there are enough answers.
func (c *Conn) deliverersUntil(ctx context.Context, enough func([]DelivererInfo) bool) (all []DelivererInfo, err error) {
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	answers, err := c.nc.SubscribeSync(c.nc.NewInbox())
	if err != nil {
		return nil, c.failure(c.o.infoSubject(), err)
	}
	defer answers.Unsubscribe()
	if err := c.nc.PublishRequest(c.o.infoSubject(), answers.Subject, nil); err != nil {
		return nil, c.failure(c.o.infoSubject(), err)
	}
	for len(all) < maxDeliverers && !enough(all) {
		waiting, cancel := context.WithTimeout(ctx, answersWithin)
		m, err := answers.NextMsgWithContext(waiting)
		cancel()
		if err != nil {
			break // there are no more, or none at all
		}
		var one DelivererInfo
		if json.Unmarshal(m.Data, &one) == nil && one.Owner != "" {
			all = append(all, one)
		}
	}
	return all, ctx.Err()
}

// HandOver asks the deliverer that has the lease to give it to another, and waits until
// one has it. Requests that are under way get half a second for their answer. The error
// is one sentence: there is none, there is no other, or NATS does not answer.
func (c *Conn) HandOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	var owner DelivererInfo
	leads := func(all []DelivererInfo, after uint64) (found bool) {
		for _, one := range all {
			if one.Leads && one.Epoch > after {
				owner, found = one, true
			}
		}
		return found
	}
	all, err := c.deliverersUntil(ctx, func(all []DelivererInfo) bool { return leads(all, 0) && len(all) > 1 })
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	switch {
	case owner.Owner == "":
		return errors.New("hand over: no deliverer that answers has the lease; wait until one has it, or start one")
	case len(all) < 2:
		return fmt.Errorf("hand over: %s is the only deliverer that answers; start another first", owner.Owner)
	}
	m, err := c.nc.RequestWithContext(ctx, c.o.handOverSubject(), []byte(owner.Owner))
	if err != nil {
		return fmt.Errorf("hand over: %w", c.failure(c.o.handOverSubject(), err))
	}
	var failed string
	if err := json.Unmarshal(m.Data, &failed); err != nil || failed != "" {
		return fmt.Errorf("hand over: %s could not: %s; it is taken over when it has not renewed it for %v", owner.Owner, failed, c.o.LeaseTTL)
	}
	before := owner
	for owner.Epoch == before.Epoch {
		if _, err := c.deliverersUntil(ctx, func(all []DelivererInfo) bool { return leads(all, before.Epoch) }); err != nil {
			return fmt.Errorf("hand over: %s has given the lease back, and no other has taken it within %v; look at the others' logs", before.Owner, handOverWithin)
		}
	}
	return nil
}
