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
	"bigpanda-udf/retry"
	"bigpanda-udf/stream"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"

	"github.com/influxdata/kapacitor/udf/agent"
)

// predecessorLeaves is how long a process that has been told to end may take to
// let go of its outbox.
const predecessorLeaves = 2 * time.Second

// Times are how long the program waits for others. The zero value of each means
// its default.
type Times struct {
	Leave     time.Duration // predecessorLeaves
	Kapacitor time.Duration // kapacitorAnswers
	Outbox    outbox.Times
}

// summaryEvery is how often the log says that alerts wait.
const summaryEvery = time.Minute

// anOutbox is what handler, sender and process together need of one.
type anOutbox interface {
	udf.Store
	udf.Queue
	Stats() outbox.Stats
	Close() error
}

// newHandler makes the handler of one use of the function, which delivers from its Init
// on, from what open opens, until end is called. err, if there is one, fails its Init.
func (s settings) newHandler(open func(udf.Use) (*delivery, error), err error, log *slog.Logger) (h *udf.Handler, end func()) {
	edge := agent.EdgeType_STREAM
	if s.Edge == config.EdgeBatch {
		edge = agent.EdgeType_BATCH
	}
	var opened *delivery
	h = udf.New(udf.Config{
		Defaults: s.Defaults, Edge: edge, Enabled: s.Enabled, Err: err, Log: log,
		Open: func(u udf.Use) (udf.Store, error) {
			d, err := open(u)
			if err != nil {
				return nil, err
			}
			opened = d
			return d.queue, nil
		},
	})
	return h, func() {
		if opened != nil {
			opened.Close()
		}
	}
}

func (s settings) wireOptions(log *slog.Logger) wire.Options {
	return wire.Options{MaxFrame: int(s.MaxFrame), Log: log}
}

// deliveries opens the outboxes of a process, and sends what they hold through one
// API. Safe for concurrent use.
type deliveries struct {
	settings settings
	times    Times
	log      *slog.Logger
	hurrying context.Context // ends when there is no time left to deliver
	waits    string          // what the log says of changes that are left

	mu   sync.Mutex
	nats *stream.Conn // nil until it is needed
	to   destination
}

// A destination is where alerts go: BigPanda, or the stream on the way there. The zero
// value is none.
type destination struct {
	api         *retry.LimitedAPI
	url         string
	fingerprint func(key []byte) []byte
	close       func()
}

// connect makes the API, once that is possible.
func (a *deliveries) connect() (destination, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.to.api != nil {
		return a.to, nil
	}
	s := a.settings
	if s.usesNATS() {
		if a.nats == nil {
			var err error
			if a.nats, err = s.connectNATS(programName, a.log); err != nil {
				return destination{}, err
			}
		}
		// The rate is BigPanda's, which only the deliverer is to keep.
		api := retry.NewLimitedAPI(a.nats.NewPublisher(), s.Connections, 0)
		a.to = destination{api, s.natsURL(), s.natsFingerprint, a.nats.Close}
		return a.to, nil
	}
	client, err := s.newClient()
	if err != nil {
		return destination{}, err
	}
	warnOfShortToken(client, a.log)
	a.to = destination{retry.NewLimitedAPI(client, s.Connections, s.Rate), s.URL, client.Fingerprint, client.Close}
	return a.to, nil
}

// close is called when every delivery has ended.
func (a *deliveries) close() {
	if a.to.close != nil {
		a.to.close()
	}
}

// delivery is the outbox of one use of the function in one task, and the sender
// that empties it.
type delivery struct {
	of      *deliveries
	log     *slog.Logger
	queue   anOutbox
	memory  *outbox.Memory // the same, where nothing outlasts the process
	sender  *udf.Sender
	dead    int // letters of earlier deliveries
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// open opens the outbox of one use of the function in one task, and begins to
// deliver. Where another process has that outbox, it gets Times.Leave to leave it.
func (a *deliveries) open(u udf.Use, o outbox.Options, log *slog.Logger) (*delivery, error) {
	to, err := a.connect()
	if err != nil {
		return nil, a.settings.hidden.redactError(err)
	}
	d := &delivery{of: a, log: log}
	o.Task, o.Node, o.URL, o.Fingerprint = u.Task, u.Node, to.url, to.fingerprint
	if d.queue, err = a.openOutbox(o, log); err != nil {
		return nil, a.settings.hidden.redactError(err)
	}
	d.memory, _ = d.queue.(*outbox.Memory)
	d.dead = d.queue.Stats().Dead // before there is a sender
	d.sender = udf.NewSender(d.queue, to.api, udf.SenderOptions{
		BatchSize: a.settings.BatchSize,
		AppKey:    u.AppKey,
		HasLeft:   u.HasLeft,
		Log:       log,
	})
	if disk, ok := d.queue.(*outbox.Disk); ok {
		disk.Report(d.sender.Report)
		disk.Count(d.sender.Count)
	}
	// Not the context of the signals: requests that are under way when the
	// input has ended may end, too.
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.workers.Go(func() { d.sender.Run(ctx) })
	d.workers.Go(func() { watch(ctx, d.queue, d.sender, log) })
	return d, nil
}

func (a *deliveries) openOutbox(o outbox.Options, log *slog.Logger) (anOutbox, error) {
	s := a.settings
	switch s.Outbox {
	case config.OutboxMemory:
		return outbox.NewMemory(o.MaxSize), nil
	case "":
		return nil, usagef("no outbox folder, as neither HOME nor XDG_STATE_HOME is set: set --outbox (BIGPANDA_OUTBOX) to one")
	}
	o.MaxSize, o.Log = s.OutboxMaxSize, log
	o.Version = currentBuild().Version
	o.Wait, o.Times = cmp.Or(a.times.Leave, predecessorLeaves), a.times.Outbox
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

// Close ends delivery. What is on disk waits for the next one. What is in a memory
// outbox is delivered before, for as long as the settings say and hurrying has not
// ended, since nothing else would keep it; what was lost is said.
func (d *delivery) Close() {
	limit := d.of.settings.DrainTimeout
	var err error
	if d.memory != nil {
		ctx, cancel := context.WithTimeout(d.of.hurrying, limit)
		defer cancel()
		err = d.memory.Drain(ctx)
	}
	d.stop()
	left := d.queue.Stats()
	if d.memory != nil && left.Queued > 0 {
		d.log.Error(fmt.Sprintf("changes were not delivered and are lost: give --drain-timeout (now %s) more time", limit),
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
	if left.Queued > 0 {
		d.log.Info(d.of.waits, "queued", left.Queued)
	}
}

func (d *delivery) stop() {
	d.cancel()
	d.workers.Wait()
}
