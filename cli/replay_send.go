package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"

	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
	"bigpanda-udf/udf"
)

// replayWindow is how many changes wait at most before the next points are
// read: two requests' worth.
const replayWindow = 1000

// replayDelivery sends what a replay finds, through the function's own sender
// and an outbox in memory: the function's has another task's alerts in it, and
// its levels are not those of the file.
type replayDelivery struct {
	queue    *outbox.Memory
	sender   *udf.Sender
	settings settings
	stop     context.CancelFunc
	workers  sync.WaitGroup
	failed   error // of a drain: what is left will not be sent either
}

func (s settings) newReplayDelivery(hidden *secrets, log *slog.Logger) (*replayDelivery, error) {
	client, err := s.newClient(hidden)
	if err != nil {
		return nil, err
	}
	// No limit: replayWindow is one, and gives nothing up.
	d := &replayDelivery{queue: outbox.NewMemory(math.MaxInt64), settings: s}
	api := retry.NewLimitedAPI(client, s.Connections, s.Rate)
	d.sender = udf.NewSender(d.queue, api, udf.SenderOptions{BatchSize: s.BatchSize, Log: log})
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.workers.Go(func() {
		defer client.Close()
		d.sender.Run(ctx)
	})
	return d, nil
}

// drain waits for the delivery of what is queued.
func (d *replayDelivery) drain(ctx context.Context, changes int) error {
	if d.failed != nil {
		return nil // said before
	}
	within, cancel := context.WithTimeout(ctx, d.settings.DrainTimeout)
	defer cancel()
	if d.queue.Drain(within) == nil {
		return nil
	}
	d.failed = errors.New("interrupted")
	if ctx.Err() == nil {
		d.failed = fmt.Errorf("%d of %s are not delivered after %s (--drain-timeout): %s",
			d.queue.Stats().Queued, counted(changes, "alert", "alerts"), d.settings.DrainTimeout, d.why())
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

// close ends the sender. What is still queued is dropped.
func (d *replayDelivery) close() {
	d.stop()
	d.workers.Wait()
	d.queue.Close()
}
