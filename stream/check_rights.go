package stream

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A right is what a user must be allowed to publish, or to subscribe to. What is sent to
// find out changes nothing: it is about what does not exist, or meant for another stream.
type right struct {
	subject   string
	data      string
	stored    bool // by a stream, unless it is meant for another
	subscribe bool
}

func (k *checkup) needed() []right {
	o := k.c.o
	all := []right{
		{subject: o.Stream + ".a.check", stored: true},
		{subject: infoSubject(o.Stream)},
	}
	if !k.deliverer {
		return all
	}
	return append(all,
		right{subject: o.Stream + ".d.check", stored: true},
		right{subject: o.leaseSubject(), stored: true},
		right{subject: infoSubject(o.deadStream())},
		right{subject: infoSubject(o.leaseStream())},
		right{subject: directSubject(o.Stream), data: `{"seq":1}`},
		right{subject: "$JS.API.STREAM.MSG.GET." + o.Stream, data: `{"seq":1}`},
		right{subject: directSubject(o.leaseStream()) + "." + o.leaseSubject()},
		right{subject: "$JS.API.CONSUMER.CREATE." + o.Stream + ".check", data: `{"stream_name":"` + o.Stream + `_NONE","config":{}}`},
		right{subject: "$JS.API.CONSUMER.DELETE." + o.Stream + ".check"},
		right{subject: "$JS.API.CONSUMER.MSG.NEXT." + o.Stream + ".check"},
		right{subject: "$JS.API.STREAM.PURGE." + o.Stream, data: `{"filter":"` + o.Stream + `.a.check"}`},
		// Of whoever looks at dead letters, and drops or retries them.
		right{subject: directSubject(o.deadStream()), data: `{"seq":1}`},
		right{subject: "$JS.API.STREAM.MSG.DELETE." + o.deadStream()},
		right{subject: o.infoSubject()},
		right{subject: o.infoSubject(), subscribe: true},
		right{subject: o.handOverSubject(), subscribe: true},
	)
}

// rights says which are missing, and reports false when no answer can come.
func (k *checkup) rights(ctx context.Context) (answers bool) {
	var missing []string
	needed := k.needed()
	for _, r := range needed {
		var denied *deniedError
		err := k.may(ctx, r)
		switch {
		case errors.As(err, &denied) && denied.inbox:
			k.failed("nats rights", denied.failure())
			return false
		case errors.As(err, &denied):
			missing = append(missing, denied.right())
		case ctx.Err() != nil:
			k.failed("nats rights", k.c.failure(r.subject, ctx.Err()))
			return false
		}
	}
	if len(missing) > 0 {
		k.add("fail", "nats rights", "allow it in the servers' configuration", "this user may not %s", strings.Join(missing, ", "))
	} else {
		k.add("ok", "nats rights", "", "all %d that are needed", len(needed))
	}
	return true
}

// may asks whether a right is there. Any answer means that it is, also that nobody
// listens there.
func (k *checkup) may(ctx context.Context, r right) error {
	ctx, stop := k.c.denials.watch(ctx, r.subject)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if r.subscribe {
		return k.maySubscribe(ctx, r.subject)
	}
	m := nats.NewMsg(r.subject)
	m.Data = []byte(r.data)
	if r.stored {
		m.Header.Set(jetstream.ExpectedStreamHeader, k.c.o.Stream+"_NONE")
	}
	if _, err := k.c.nc().RequestMsgWithContext(ctx, m); err != nil {
		return context.Cause(ctx) // nil: nobody listens there
	}
	return nil
}

// maySubscribe asks whether a subject may be subscribed to. Nothing is done with what
// comes meanwhile.
func (k *checkup) maySubscribe(ctx context.Context, subject string) error {
	sub, err := k.c.nc().Subscribe(subject, func(*nats.Msg) {})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	// What the server says of the subscription comes before its answer to this.
	if err := k.c.nc().FlushWithContext(ctx); err != nil {
		return context.Cause(ctx)
	}
	if err := k.c.nc().LastError(); err != nil && parseDenial(err) != nil && parseDenial(err).subject == subject {
		return parseDenial(err)
	}
	return nil
}
