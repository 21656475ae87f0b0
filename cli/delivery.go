package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"
)

// predecessorLeaves is how long a process that has been told to end may take to
// let go of its outbox.
const predecessorLeaves = 2 * time.Second

// Times are how long the function waits for others. The zero value of each means
// its default.
type Times struct {
	Leave  time.Duration // predecessorLeaves
	Outbox outbox.Times
}

// summaryEvery is how often the log says that alerts wait.
const summaryEvery = time.Minute

// anOutbox is what handler, sender and process together need of one.
type anOutbox interface {
	udf.Store
	udf.Queue
	Drain(ctx context.Context) error
	Stats() outbox.Stats
	Close() error
}

// newHandler makes the handler of one use of the function. err, if there is
// one, fails its Init.
func (s settings) newHandler(open func(udf.Use) (udf.Store, error), err error, log *slog.Logger) *udf.Handler {
	return udf.New(udf.Config{
		Defaults: s.Defaults,
		Edge:     s.edgeType(),
		Enabled:  s.Enabled,
		Err:      err,
		Open:     open,
		Log:      log,
	})
}

func (s settings) wireOptions(log *slog.Logger) wire.Options {
	return wire.Options{MaxFrame: int(s.MaxFrame), Log: log}
}

// delivery is the outbox of one use of the function in one task, and the sender
// that empties it.
type delivery struct {
	settings settings
	log      *slog.Logger
	queue    anOutbox
	dead     int // letters of earlier deliveries
	cancel   context.CancelFunc
	workers  sync.WaitGroup
}

// deliver opens the outbox of one use of the function in one task, and begins
// to deliver. Where another process has that outbox, it gets Times.Leave to leave it.
func (s settings) deliver(u udf.Use, o outbox.Options, api *limitedAPI, times Times, log *slog.Logger) (*delivery, error) {
	o.Task, o.Node = u.Task, u.Node
	queue, err := s.openOutbox(o, api, times, log)
	if err != nil {
		return nil, err
	}
	dead := queue.Stats().Dead // before there is a sender
	sender := udf.NewSender(queue, api.LimitedAPI, udf.SenderOptions{
		BatchSize: s.BatchSize,
		AppKey:    u.AppKey,
		HasLeft:   u.HasLeft,
		Log:       log,
	})
	// Not the context of the signals: requests that are under way when the
	// input has ended may end, too.
	ctx, cancel := context.WithCancel(context.Background())
	d := &delivery{settings: s, log: log, queue: queue, dead: dead, cancel: cancel}
	if disk, ok := queue.(*outbox.Disk); ok {
		disk.Report(sender.Report)
	}
	d.workers.Go(func() { sender.Run(ctx) })
	d.workers.Go(func() { watch(ctx, queue, sender, log) })
	return d, nil
}

// openOutbox opens the outbox of the use that the options name.
func (s settings) openOutbox(o outbox.Options, api *limitedAPI, times Times, log *slog.Logger) (anOutbox, error) {
	switch s.Outbox {
	case config.OutboxMemory:
		return outbox.NewMemory(0), nil
	case "":
		return nil, usagef("no folder for the outbox, as neither HOME nor XDG_STATE_HOME is set: set --outbox (BIGPANDA_OUTBOX) to one")
	}
	o.URL, o.Fingerprint, o.MaxSize, o.Log = s.URL, api.fingerprint, s.OutboxMaxSize, log
	o.Wait, o.Times = cmp.Or(times.Leave, predecessorLeaves), times.Outbox
	return outbox.Open(s.Outbox, o)
}

// watch logs a line from time to time while alerts wait or are held.
func watch(ctx context.Context, queue anOutbox, sender *udf.Sender, log *slog.Logger) {
	again := time.NewTicker(summaryEvery)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		stats, report := queue.Stats(), sender.Report()
		if stats.Queued == 0 && len(report.Held) == 0 {
			continue
		}
		line := []any{"queued", stats.Queued, "in_flight", stats.InFlight, "dead", stats.Dead, "given_up", stats.GivenUp}
		for _, held := range report.Held {
			line = append(line, "held_app_key", held.AppKey, "held_since", held.Since, "held_for", held.Reason)
		}
		if !report.LastSuccess.IsZero() {
			line = append(line, "last_success", report.LastSuccess)
		}
		if report.LastError != "" {
			line = append(line, "last_error", report.LastError)
		}
		log.Info("alerts wait for delivery", line...)
	}
}

// close ends delivery, and returns how many changes wait on disk for the next
// one. What is in a memory outbox is delivered before, for as long as the
// settings say and hurrying has not ended, since nothing else would keep it;
// what was lost is said.
func (d *delivery) close(hurrying context.Context) (waiting int) {
	inMemory := d.settings.Outbox == config.OutboxMemory
	var err error
	if inMemory {
		ctx, cancel := context.WithTimeout(hurrying, d.settings.DrainTimeout)
		defer cancel()
		err = d.queue.Drain(ctx)
	}
	d.cancel()
	d.workers.Wait()
	left := d.queue.Stats()
	if inMemory && left.Queued > 0 {
		d.log.Error(fmt.Sprintf("changes were not delivered and are lost: give --drain-timeout (now %s) more time", d.settings.DrainTimeout),
			"lost", left.Queued, "error", err)
		left.Queued = 0
	}
	refused := max(0, left.Dead-d.dead) // some may have been dropped or sent again
	if left.GivenUp > 0 || refused > 0 {
		d.log.Warn("some changes never reached BigPanda", "given_up", left.GivenUp, "refused", refused)
	}
	if err := d.queue.Close(); err != nil {
		d.log.Error("the outbox was not closed well", "error", err)
	}
	return left.Queued
}
