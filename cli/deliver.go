package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/config"
	"bigpanda-udf/metrics"
	"bigpanda-udf/stream"

	"golang.org/x/sync/errgroup"
)

type deliverFlags struct {
	settingFlags
	Listen string `default:"127.0.0.1:9787" placeholder:"ADDRESS" help:"Where to answer /ready and /metrics; port 0 takes a free one (${default})."`
}

func newDeliverFlags() any {
	return &deliverFlags{settingFlags: settingsWhere(ofDeliverer, map[string]string{
		"nats": "The servers that have the stream, such as nats://a:4222,nats://b:4222.",
		"rate": "Requests a second at most, of all deliverers together; 0 for no limit (${default}).",
	})}
}

// ofDeliverer are the settings of what takes alerts from the stream to BigPanda: it has
// no outbox and sees no points.
func ofDeliverer(row config.Setting) bool {
	switch row.Name {
	case "app-key", "auto-attributes", "drain-timeout":
		return false
	}
	return row.Scope >= config.OfDelivery || config.OfNATS(row.Name)
}

// Help is what kong prints above the flags.
func (deliverFlags) Help() string {
	return `Takes the alerts that functions with --nats have published, and delivers them to
BigPanda. It needs the token, and they do not.

Run it on two hosts or more: one of them delivers, and the others stand by until it
stops, or nothing was heard of it for --nats-lease-ttl. --rate and --connections are
those of whichever delivers, so give all of them the same.

http://ADDRESS/ready answers 200 when it delivers or stands by, and else 503 with the
reason; http://ADDRESS/metrics is for Prometheus. SIGTERM hands over to another one at
once. "bigpanda-udf cluster" shows who delivers, and what waits.`
}

// run delivers until a signal.
func (f *deliverFlags) run(ctx context.Context, p Process, c *command) error {
	// Also when whoever reads the log is gone.
	signal.Ignore(syscall.SIGPIPE)
	ctx, _, stop := stopSignals(ctx)
	defer stop()
	s, err := c.settings(p)
	if err != nil {
		return err
	}
	log := s.newLogger(p.Stderr)
	d, err := s.newDeliverer(log)
	if err != nil {
		return err
	}
	defer d.close()
	l, err := listen("listen", f.Listen)
	if err != nil {
		return err
	}
	s.logWarnings(log)
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return serveMetrics(ctx, l, log, d.Ready, d.collector) })
	all.Go(func() error {
		d.Run(ctx)
		return nil
	})
	return all.Wait()
}

// A deliverer delivers what is in the stream, while it has the lease.
type deliverer struct {
	*stream.Deliverer
	conn      *stream.Conn
	client    *bigpanda.Client
	collector *metrics.Cluster
}

// newDeliverer makes the deliverer that the settings describe. It does nothing yet.
func (s settings) newDeliverer(log *slog.Logger) (*deliverer, error) {
	if err := s.needNATS("alerts are delivered from its stream"); err != nil {
		return nil, err
	}
	client, err := s.newClient()
	if err != nil {
		return nil, err
	}
	conn, err := s.connectNATS(programName+" deliver", log)
	if err != nil {
		client.Close()
		return nil, err
	}
	warnOfShortToken(client, log)
	if warning := s.PlainHTTP(); warning != "" {
		log.Warn(s.hidden.redact(warning))
	}
	d := &deliverer{conn: conn, client: client}
	d.Deliverer = conn.NewDeliverer(stream.DelivererOptions{
		// Of two processes on hosts of one name, as containers may be, each is itself.
		Owner: fmt.Sprintf("%s/%d-%.4s", thisHost(), os.Getpid(), rand.Text()),
		API:   client, Connections: s.Connections, BatchSize: s.BatchSize, Rate: s.Rate,
	})
	d.collector = metrics.NewCluster(metrics.ClusterOptions{
		Status: conn.Status, Deliverer: d.Deliverer, Redact: s.hidden.redact, Log: log,
	})
	return d, nil
}

func (d *deliverer) close() {
	d.conn.Close()
	d.client.Close()
}
