package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"
	"bigpanda-udf/retry"

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
	// How many answers are held, and how large each is, in bytes: others may answer, too.
	maxAnswers, maxAnswer = 100, 64 << 10
	// maxName is how much of a name, or an error, is shown that comes from another process.
	maxName = 300
)

// A DelivererInfo is what a deliverer tells of itself.
type DelivererInfo struct {
	Owner    string          `json:"owner"`
	Leads    bool            `json:"leads"` // it has the lease
	Epoch    uint64          `json:"epoch,omitempty"`
	Since    time.Time       `json:"since,omitzero"` // when it took it
	Delivery outbox.Delivery `json:"delivery"`
}

// answer is what a deliverer tells of itself, as others take it: of very many held app
// keys, some.
func (d *Deliverer) answer() []byte {
	info := DelivererInfo{Owner: d.options.Owner, Delivery: d.Report()}
	d.mu.Lock()
	if d.term != nil {
		base := d.term.lease.base
		info.Leads, info.Epoch, info.Since = true, base.Epoch, base.Since
	}
	d.mu.Unlock()
	for {
		data, err := json.Marshal(info)
		held := len(info.Delivery.Held)
		if err != nil || held == 0 || len(data) <= min(maxAnswer, int(d.conn.maxPayload())) {
			return data
		}
		info.Delivery.Held = info.Delivery.Held[:held/2]
	}
}

// listen answers over a connection until that is closed, or ctx ends.
func (d *Deliverer) listen(ctx context.Context, nc *nats.Conn) {
	closed, cancel := until(ctx, nc, nats.CLOSED)
	defer cancel()
	// No error but that it is closed.
	info, _ := nc.Subscribe(d.conn.o.infoSubject(), func(m *nats.Msg) {
		_ = m.Respond(d.answer()) // who asks has a deadline
	})
	handOver, _ := nc.Subscribe(d.conn.o.handOverSubject(), func(m *nats.Msg) {
		d.mu.Lock()
		t := d.term
		d.mu.Unlock()
		if t == nil || string(m.Data) != d.options.Owner {
			return
		}
		t.end(errHandOver)
		go func() {
			<-t.ended
			text := "" // it went well
			if t.failed != nil {
				text = t.failed.Error()
			}
			_ = m.Respond([]byte(text))
		}()
	})
	<-closed.Done()
	_ = info.Unsubscribe()
	_ = handOver.Unsubscribe()
	retry.Sleep(ctx, replacedWithin)
}

// deliverers asks all that run, and returns the answers that come soon, with what others
// have a say in made fit to be shown.
func (c *Conn) deliverers(ctx context.Context) (all []DelivererInfo, err error) {
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	answers, err := c.askAll(ctx, c.o.infoSubject(), nil)
	if err != nil {
		return nil, c.failure(c.o.infoSubject(), err)
	}
	for _, data := range answers {
		var one DelivererInfo
		if json.Unmarshal(data, &one) != nil || one.Owner == "" {
			continue
		}
		one.Owner, one.Delivery.LastError = shown(one.Owner), printable.Text(one.Delivery.LastError)
		for i, held := range one.Delivery.Held {
			one.Delivery.Held[i].AppKey, one.Delivery.Held[i].Reason = printable.Text(held.AppKey), printable.Text(held.Reason)
		}
		all = append(all, one)
	}
	return all, nil
}

// shown makes a text of another process fit to be shown.
func shown(text string) string { return printable.Text(printable.Cut(text, maxName)) }

// askAll asks all that listen to a subject, and returns what they answer until nothing
// has come for a while. What is larger than maxAnswer is left out.
func (c *Conn) askAll(ctx context.Context, subject string, data []byte) (answers [][]byte, err error) {
	inbox, err := c.nc().SubscribeSync(c.nc().NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = inbox.Unsubscribe() }()
	if err := inbox.SetPendingLimits(maxAnswers, maxAnswers*maxAnswer); err != nil {
		return nil, err
	}
	if err := c.nc().PublishRequest(subject, inbox.Subject, data); err != nil {
		return nil, err
	}
	for range maxAnswers {
		waiting, cancel := context.WithTimeout(ctx, answersWithin)
		m, err := inbox.NextMsgWithContext(waiting)
		cancel()
		switch {
		case errors.Is(err, nats.ErrSlowConsumer): // those that came first are there
		case err != nil:
			return answers, ctx.Err() // there are no more, or none at all
		case len(m.Data) <= maxAnswer:
			answers = append(answers, m.Data)
		}
	}
	return answers, ctx.Err()
}

// HandOver asks the deliverer that has the lease to give it to another, and waits until
// one has it. Requests that are under way get half a second for their answer. The error
// is one sentence: there is none, there is no other, or NATS does not answer.
func (c *Conn) HandOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	all, owner, err := c.whoLeads(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("hand over: %w", err)
	case !owner.Leads:
		return errors.New("hand over: no deliverer that answers has the lease; wait until one has it, or start one")
	case len(all) < 2:
		return fmt.Errorf("hand over: %s is the only deliverer that answers; start another first", owner.Owner)
	}
	m, err := c.nc().RequestWithContext(ctx, c.o.handOverSubject(), []byte(owner.Owner))
	if err != nil {
		return fmt.Errorf("hand over: %w", c.failure(c.o.handOverSubject(), err))
	}
	if len(m.Data) > 0 {
		return fmt.Errorf("hand over: %s could not: %s; it is taken over when it has not renewed it for %v", owner.Owner, shown(string(m.Data)), c.o.LeaseTTL)
	}
	for next := owner; next.Epoch <= owner.Epoch; {
		if _, next, err = c.whoLeads(ctx); err != nil {
			return fmt.Errorf("hand over: %s has given the lease back, and no other has taken it within %v; look at the others' logs", owner.Owner, handOverWithin)
		}
	}
	return nil
}

// whoLeads returns all deliverers that answer, and of those that say that they have the
// lease the one that took it last, an empty one if there is none.
func (c *Conn) whoLeads(ctx context.Context) (all []DelivererInfo, owner DelivererInfo, err error) {
	all, err = c.deliverers(ctx)
	for _, one := range all {
		if one.Leads && one.Epoch >= owner.Epoch {
			owner = one
		}
	}
	return all, owner, err
}
