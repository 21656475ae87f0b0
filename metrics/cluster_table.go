package metrics

import (
	"slices"
	"time"

	"bigpanda-udf/counters"
	"bigpanda-udf/stream"

	"github.com/prometheus/client_golang/prometheus"
)

// A clusterSample is the stream at one scrape.
type clusterSample struct {
	stream.Status
	now  time.Time
	ok   bool                     // the servers have answered
	text func(text string) string // makes the value of a label
}

var (
	ofCluster   = family{prefix: "cluster_"}
	ofDeliverer = family{prefix: "deliverer_"}
)

func clusterGauge(name, help string, value func(s *clusterSample) float64) metric[*clusterSample] {
	return gaugeOf(ofCluster, name, help, value)
}

// byAppKey is a gauge with a value for each app key.
func byAppKey(name, help string, value func(s *clusterSample, of stream.AppKeyStatus) float64) metric[*clusterSample] {
	return values(ofCluster, prometheus.GaugeValue, name, help, []string{"app_key"}, func(s *clusterSample, add func(float64, ...string)) {
		for _, of := range s.AppKeys {
			add(value(s, of), s.text(of.AppKey))
		}
	})
}

var clusterTable = []metric[*clusterSample]{
	always(clusterGauge("scrape_success", "1 if the servers have answered in this scrape, 0 if not; then the others that begin with cluster are missing.",
		func(s *clusterSample) float64 { return oneIf(s.ok) })),
	clusterGauge("stored_alerts", "Alerts in the stream, delivered or not.", func(s *clusterSample) float64 { return float64(s.Stream.Messages) }),
	clusterGauge("stored_bytes", "Size of the stream on each of its servers.", func(s *clusterSample) float64 { return float64(s.Stream.Bytes) }),
	clusterGauge("max_bytes", "How large it may become; then nothing more is taken. 0 for no limit.",
		func(s *clusterSample) float64 { return float64(max(0, s.Stream.MaxBytes)) }),
	clusterGauge("last_sequence", "The number of the newest alert.", func(s *clusterSample) float64 { return float64(s.Stream.LastSeq) }),
	clusterGauge("created_timestamp_seconds", "When the stream was made; it changes when it was made anew.", func(s *clusterSample) float64 { return at(s.Stream.Created) }),
	clusterGauge("replicas", "On how many servers each alert is kept.", func(s *clusterSample) float64 { return float64(s.Stream.Replicas) }),

	values(ofCluster, prometheus.GaugeValue, "deliverer", "1, with the process that delivers; there is none while nobody does.", []string{"owner"},
		func(s *clusterSample, add func(float64, ...string)) {
			if s.Lease.Owner != "" {
				add(1, s.text(s.Lease.Owner))
			}
		}),
	clusterGauge("deliverer_since_timestamp_seconds", "Since when it does, 0 while nobody does.", func(s *clusterSample) float64 { return at(s.Lease.Since) }),
	clusterGauge("terms", "How often a process has begun to deliver.", func(s *clusterSample) float64 { return float64(s.Lease.Epoch) }),
	clusterGauge("standby_deliverers", "Processes that would take over.", func(s *clusterSample) float64 { return float64(len(s.Lease.Standby)) }),

	byAppKey("waiting_alerts", "Alerts of an app key in the stream that are not delivered.", func(_ *clusterSample, of stream.AppKeyStatus) float64 { return float64(of.Lag) }),
	byAppKey("delivered_sequence", "Up to which number the alerts of an app key are delivered.", func(_ *clusterSample, of stream.AppKeyStatus) float64 { return float64(of.DeliveredTo) }),
	byAppKey("oldest_waiting_age_seconds", "How long the oldest of them has been in the stream, 0 when none waits.",
		func(s *clusterSample, of stream.AppKeyStatus) float64 { return age(s.now, of.OldestWaiting) }),
	values(ofCluster, prometheus.GaugeValue, "held", "1 while alerts in the stream are held, for a reason; app_key is empty for all alerts.", []string{"app_key", "reason"},
		func(s *clusterSample, add func(float64, ...string)) {
			for _, h := range s.Held {
				add(1, s.text(h.AppKey), s.text(h.Cause))
			}
		}),
	clusterGauge("kept_dead_letters", "Alerts that BigPanda refused for good, and that are kept.", func(s *clusterSample) float64 { return float64(s.Dead) }),
}

// delivererTable are those of the deliverer in this process.
var delivererTable = slices.Concat([]metric[*sample]{
	gaugeOf(ofDeliverer, "ready", "1 while it delivers or stands by and reaches the servers.", func(s *sample) float64 { return oneIf(s.ok) }),
	count(ofDeliverer, "expired_alerts_total", "Alerts that became too old for the stream before they were delivered, and are lost.", func(c *counters.Counters) int { return c.Expired }),
}, deliveries(ofDeliverer))
