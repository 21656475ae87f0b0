package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"bigpanda-udf/config"
	"bigpanda-udf/metrics"
	"bigpanda-udf/outbox"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/client_golang/prometheus"
)

type metricsFlags struct {
	settingFlags
	Listen string `default:"127.0.0.1:9786" placeholder:"ADDRESS" help:"Where to listen; port 0 takes a free one (${default})."`
}

// Help is what kong prints above the flags.
func (metricsFlags) Help() string {
	return `Serves http://ADDRESS/metrics to Prometheus: one port for a whole host, whatever
its tasks are served by. On a scrape it asks every process that works on an outbox in
the folder, and reads the outboxes of those that are gone. It has to run as the user
that kapacitord runs as, to whom they belong. A socket of systemd is taken over.

A function with --outbox memory has no outbox that others could ask about, so there
are no metrics of it. With --nats it also serves what "bigpanda-udf cluster" shows,
which one process for all hosts is enough for: deliver does so anyway.`
}

// run serves until a signal.
func (f *metricsFlags) run(ctx context.Context, p Process, c *command) error {
	ctx, _, stop := stopSignals(ctx)
	defer stop()
	s, err := c.settings(p)
	if err != nil {
		return err
	}
	log := newLogger(p.Stderr, slog.LevelInfo, config.FormatLogfmt, c.hidden)
	collector, err := s.newCollector(log)
	if err != nil {
		return err
	}
	collectors := []prometheus.Collector{collector}
	if s.usesNATS() {
		s.NATS.Create = false // looking makes nothing
		conn, err := s.connectNATS(programName+" metrics", log)
		if err != nil {
			return err
		}
		defer conn.Close()
		collectors = append(collectors, metrics.NewCluster(metrics.ClusterOptions{Status: conn.Status, Redact: s.hidden.redact, Log: log}))
	}
	handed, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("take over the socket of systemd: %w", err)
	}
	var l net.Listener
	if len(handed) > 0 && handed[0] != nil {
		l = handed[0]
	} else if l, err = listen("listen", f.Listen); err != nil {
		return err
	}
	return serveMetrics(ctx, l, log, nil, collectors...)
}

// newCollector makes the collector of the outboxes in the folder that the settings
// name.
func (s settings) newCollector(log *slog.Logger) (*metrics.Collector, error) {
	switch s.Outbox {
	case config.OutboxMemory:
		return nil, usagef("the outbox is in memory, so nobody can ask about it and there are no metrics: set --outbox (BIGPANDA_OUTBOX) to a folder")
	case "":
		return nil, usagef("no folder for the outbox: set --outbox (BIGPANDA_OUTBOX) to that of the function")
	}
	return metrics.New(metrics.Options{
		Folders: func() ([]string, error) { return outbox.Folders(s.Outbox) }, Redact: s.hidden.redact, Log: log,
	}), nil
}

// serveMetrics serves them until ctx is done; and with ready, whether it is so.
func serveMetrics(ctx context.Context, l net.Listener, log *slog.Logger, ready func() error, of ...prometheus.Collector) error {
	base := "http://" + l.Addr().String()
	log.Info("metrics are served", "url", base+metrics.Path)
	if ready != nil {
		log.Info("probes are answered", "url", base+metrics.ReadyPath)
	}
	server := metrics.NewServer(ready, of...)
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	if err := serveHTTP(ctx, l, server); err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
