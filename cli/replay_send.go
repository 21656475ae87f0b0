package cli

import (
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

// replayDelivery sends what a replay finds, as the function does, but from an
// outbox in memory: the function's has another task's alerts in it, and its levels
// are not those of the file.
type replayDelivery struct {
	*delivery
	failed error // of a drain: what is left will not be sent either
}

func (s settings) newReplayDelivery(log *slog.Logger) (*replayDelivery, error) {
	s.Outbox = config.OutboxMemory
	// No limit: replayWindow is one, and gives nothing up.
	d, err := (&deliveries{settings: s, log: log}).open(udf.Use{}, outbox.Options{MaxSize: math.MaxInt64}, log)
	return &replayDelivery{delivery: d}, err
}

// drain waits for the delivery of what is queued.
func (d *replayDelivery) drain(ctx context.Context, changes int) error {
	if d.failed != nil {
		return nil // said before
	}
	limit := d.of.settings.DrainTimeout
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if d.queue.Drain(within) == nil {
		return nil
	}
	d.failed = errors.New("interrupted")
	if ctx.Err() == nil {
		d.failed = fmt.Errorf("%d of %s are not delivered after %s (--drain-timeout): %s",
			d.queue.Stats().Queued, counted(changes, "alert", "alerts"), limit, d.why())
	}
	return d.failed
}

// why is what keeps alerts from being delivered.
func (d *replayDelivery) why() string {
	report := d.sender.Report()
	for _, held := range report.Held {
		return held.Reason
	}
	if report.LastError != "" {
		return report.LastError
	}
	return "BigPanda takes no more in that time, give it more"
}

// refused is the error of what BigPanda does not want.
func (d *replayDelivery) refused() error {
	if dead := d.queue.Stats().Dead; dead > 0 {
		return fmt.Errorf("BigPanda refused %s for good: see above", counted(dead, "alert", "alerts"))
	}
	return nil
}

// delivered counts what BigPanda has.
func (d *replayDelivery) delivered(changes int) int {
	s := d.queue.Stats()
	return changes - s.Queued - s.Dead
}

// Close ends the sender. What is still queued is dropped.
func (d *replayDelivery) Close() {
	d.stop()
	d.queue.Close()
	d.of.close()
}
