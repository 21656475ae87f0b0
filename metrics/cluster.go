package metrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"bigpanda-udf/stream"

	"github.com/prometheus/client_golang/prometheus"
)

// ClusterOptions of a Cluster.
type ClusterOptions struct {
	// Status asks what is in the stream, at each scrape. Required.
	Status func(context.Context) (stream.Status, error)
	// Deliverer is the one of this process; nil if it has none.
	Deliverer *stream.Deliverer
	// Redact takes what is secret out of a text. Required.
	Redact func(string) string
	// Log gets why the stream cannot be asked about. Required.
	Log *slog.Logger
}

// A Cluster asks at each scrape what is in the stream and who delivers it, and counts
// what this process has delivered of it. One scrape waits for the other.
type Cluster struct {
	options ClusterOptions

	mu      sync.Mutex // held for a scrape; guards failure
	failure string     // that was logged
}

// NewCluster returns a Cluster.
func NewCluster(o ClusterOptions) *Cluster { return &Cluster{options: o} }

// Describe is part of prometheus.Collector.
func (c *Cluster) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range clusterTable {
		descs <- m.desc
	}
	for _, m := range delivererTable {
		descs <- m.desc
	}
}

// Collect is part of prometheus.Collector.
func (c *Cluster) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.options
	ctx, cancel := context.WithTimeout(context.Background(), answersWithin)
	defer cancel()
	status, err := o.Status(ctx)
	if failed(&c.failure, err) {
		o.Log.Warn("the stream cannot be asked about for its metrics", "error", err)
	}
	s := clusterSample{Status: status, now: time.Now(), ok: err == nil, text: func(text string) string { return label(o.Redact, text) }}
	for _, m := range clusterTable {
		if s.ok || m.always {
			m.emit(out, &s, nil)
		}
	}
	if d := o.Deliverer; d != nil {
		s := sample{ok: d.Ready() == nil}
		s.Delivery = d.Report()
		d.Count(&s.Counters)
		for _, m := range delivererTable {
			m.emit(out, &s, nil)
		}
	}
}
