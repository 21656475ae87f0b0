package stream

import (
	"context"

	"bigpanda-udf/retry"

	"github.com/nats-io/nats.go/jetstream"
)

// purges in a window: what is delivered stays for that much longer than the window.
const purges = 24

// purge removes from the stream what is delivered and older than the window, by app key,
// until ctx ends: a stream that takes no more when it is full would fill up with it.
// Inside the window the servers tell by it what they have already.
func (d *Deliverer) purge(ctx context.Context, t *term) {
	for retry.Sleep(ctx, d.conn.o.Window/purges) {
		if err := d.purgeOnce(ctx, t); err != nil && ctx.Err() == nil {
			d.conn.log.Debug("what is delivered cannot be purged now", "error", err)
		}
	}
}

func (d *Deliverer) purgeOnce(ctx context.Context, t *term) error {
	alerts, info, err := d.conn.bySubject(ctx)
	if err != nil {
		return err
	}
	// The stream's own window, and the servers' clock: ids that are purged within the
	// window are accepted again.
	window := info.Config.Duplicates
	old := info.TimeStamp.Add(-window - window/purges)
	record := t.lease.record()
	if info.State.Msgs == 0 || !info.State.FirstTime.Before(old) || !info.Created.Equal(record.Created) {
		return nil
	}
	recent, err := d.conn.firstSince(ctx, old)
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		token := tokenOf(subject)
		if !isToken(token) {
			continue
		}
		_, err := ask(ctx, d.conn, "$JS.API.STREAM.PURGE."+d.conn.o.Stream, func(ctx context.Context) (struct{}, error) {
			below := min(recent, record.deliveredTo(token)+1)
			return struct{}{}, alerts.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(below))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
