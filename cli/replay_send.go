package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"bigpanda-udf/config"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
)

// replayWindow is how many changes wait at most before the next points are
// read: two requests' worth.
const replayWindow = 1000

// deliver has what the replay finds sent, as the function does, but from an outbox in
// memory: the function's has another task's alerts in it, and its levels are not
// those of the file.
func (r *replayRun) deliver(s settings, log *slog.Logger) (err error) {
	s.Outbox, s.NATS.URLs = config.OutboxMemory, nil // it is BigPanda that is asked
	// No limit: replayWindow is one, and gives nothing up.
	r.delivery, err = (&deliveries{settings: s, log: log}).open(udf.Use{}, outbox.Options{MaxSize: math.MaxInt64}, log)
	return err
}

// settle is called after each point. Its error ends the replay.
func (r *replayRun) settle(ctx context.Context) error {
	if r.err == nil && r.delivery != nil && r.queue.Stats().Queued >= replayWindow {
		return r.drain(ctx)
	}
	return r.err
}

func (r *replayRun) drain(ctx context.Context) error {
	if r.failed != nil {
		return nil // said before
	}
	limit := r.of.settings.DrainTimeout
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if r.memory.Drain(within) == nil {
		return nil
	}
	r.failed = errors.New("interrupted")
	if ctx.Err() == nil {
		r.failed = fmt.Errorf("%d of %s are not delivered after %s (--drain-timeout): %s",
			r.queue.Stats().Queued, counted(r.changes, "alert", "alerts"), limit, r.why())
	}
	return r.failed
}

func (r *replayRun) why() string {
	report := r.sender.Report()
	for _, held := range report.Held {
		return held.Reason
	}
	return cmp.Or(report.LastError, "BigPanda takes no more in that time, give it more")
}

// close ends the sender. What is still queued is dropped.
func (r *replayRun) close() {
	r.stop()
	r.queue.Close()
	r.of.close()
}
