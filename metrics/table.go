package metrics

import (
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/counters"
	"bigpanda-udf/outbox"

	"github.com/prometheus/client_golang/prometheus"
)

// A sample is an outbox at one scrape.
type sample struct {
	outbox.Metrics
	now  time.Time
	ok   bool                     // it was read
	text func(text string) string // makes the value of a label
}

// A family are metrics with the same labels, whose names begin alike.
type family struct {
	prefix string
	labels []string
}

var ofOutbox = family{"", []string{"task", "node", "folder"}}

func (f family) define(name, help string, further ...string) *prometheus.Desc {
	return prometheus.NewDesc("bigpanda_udf_"+f.prefix+name, help, slices.Concat(f.labels, further), nil)
}

// A metric is one name, and how its values are read of a sample.
type metric[S any] struct {
	desc   *prometheus.Desc
	always bool // also of what was not read
	emit   func(out chan<- prometheus.Metric, s S, labels []string)
}

// values makes a metric whose values each calls add with, and with those of the labels
// that it has besides. Where all labels are those of an earlier value, it is left out:
// what is shown of two app keys may be equal.
func values[S any](f family, kind prometheus.ValueType, name, help string, further []string, each func(s S, add func(value float64, labels ...string))) metric[S] {
	desc := f.define(name, help, further...)
	return metric[S]{desc: desc, emit: func(out chan<- prometheus.Metric, s S, labels []string) {
		seen := make(map[string]bool)
		each(s, func(value float64, further ...string) {
			if key := strings.Join(further, "\x00"); !seen[key] {
				seen[key] = true
				out <- prometheus.MustNewConstMetric(desc, kind, value, slices.Concat(labels, further)...)
			}
		})
	}}
}

func gaugeOf[S any](f family, name, help string, value func(s S) float64) metric[S] {
	return values(f, prometheus.GaugeValue, name, help, nil, func(s S, add func(float64, ...string)) { add(value(s)) })
}

func gauge(name, help string, value func(s *sample) float64) metric[*sample] {
	return gaugeOf(ofOutbox, name, help, value)
}

func counts(f family, name, help string, further []string, each func(c *counters.Counters, add func(n int, labels ...string))) metric[*sample] {
	return values(f, prometheus.CounterValue, name, help, further, func(s *sample, add func(float64, ...string)) {
		each(&s.Counters, func(n int, labels ...string) { add(float64(n), labels...) })
	})
}

func count(f family, name, help string, value func(c *counters.Counters) int) metric[*sample] {
	return counts(f, name, help, nil, func(c *counters.Counters, add func(int, ...string)) { add(value(c)) })
}

func histogram(f family, name, help string, value func(c *counters.Counters) counters.Histogram) metric[*sample] {
	desc := f.define(name, help)
	return metric[*sample]{desc: desc, emit: func(out chan<- prometheus.Metric, s *sample, labels []string) {
		h := value(&s.Counters)
		buckets, n := make(map[float64]uint64), 0
		for i, bound := range counters.Buckets {
			n += h.Counts[i]
			buckets[bound] = uint64(n)
		}
		n += h.Counts[len(counters.Buckets)]
		out <- prometheus.MustNewConstHistogram(desc, uint64(n), h.Sum, buckets, labels...)
	}}
}

func always[S any](m metric[S]) metric[S] {
	m.always = true
	return m
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// at is a time in Unix seconds, 0 for none.
func at(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// age is how many seconds ago a time was, 0 for none.
func age(now, t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t).Seconds())
}

var success = always(gauge("scrape_success", "1 if the outbox was read in this scrape, 0 if its process or its disk hangs, or the file may not be read; then the others are missing.",
	func(s *sample) float64 { return oneIf(s.ok) }))

var table = slices.Concat([]metric[*sample]{
	success,
	always(gauge("up", "1 while a process works on the outbox and answers.", func(s *sample) float64 { return oneIf(s.Process != 0) })),
	values(ofOutbox, prometheus.GaugeValue, "start_time_seconds", "When the process began to work on the outbox.", nil,
		func(s *sample, add func(float64, ...string)) {
			if s.Process != 0 {
				add(at(s.Opened))
			}
		}),
	values(ofOutbox, prometheus.GaugeValue, "build_info", "1, with the version of the process.", []string{"version"},
		func(s *sample, add func(float64, ...string)) {
			if s.Process != 0 {
				add(1, s.text(s.Version))
			}
		}),

	gauge("queued_alerts", "Alerts that wait for delivery or are on their way.", func(s *sample) float64 { return float64(s.Queued) }),
	gauge("queued_bytes", "Size of the queued alerts.", func(s *sample) float64 { return float64(s.Bytes) }),
	gauge("oldest_queued_age_seconds", "How long the oldest queued alert has waited, 0 when none does.",
		func(s *sample) float64 { return age(s.now, s.Oldest) }),
	gauge("in_flight_alerts", "Alerts on their way to BigPanda.", func(s *sample) float64 { return float64(s.InFlight) }),
	gauge("kept_dead_letters", "Alerts that BigPanda refused for good, and that are kept.", func(s *sample) float64 { return float64(s.Dead) }),
	values(ofOutbox, prometheus.GaugeValue, "held", "1 while alerts are held, for a reason; app_key is empty for all alerts.", []string{"app_key", "reason"},
		func(s *sample, add func(float64, ...string)) {
			for _, h := range s.Held {
				add(1, s.text(h.AppKey), s.text(h.Cause))
			}
		}),
	values(ofOutbox, prometheus.GaugeValue, "active_alerts", "Series that are not OK, by the level that BigPanda was told last; several may make one alert.", []string{"level"},
		func(s *sample, add func(float64, ...string)) {
			if s.Process == 0 {
				return
			}
			for i, level := range counters.Levels[1:] {
				add(float64(s.Counters.Active[i+1]), level)
			}
		}),
	gauge("disk_refuses", "1 while the disk refuses to be written, and changes are kept in memory.", func(s *sample) float64 { return oneIf(s.DiskRefuses) }),
	gauge("unwritten_changes", "Changes that are in memory alone, since the disk refuses them.", func(s *sample) float64 { return float64(s.KeptInMemory) }),
	gauge("damaged_files", "Databases that could not be read and were moved aside.", func(s *sample) float64 { return float64(len(s.Damaged)) }),
	gauge("outbox_size_bytes", "Size of the outbox's file.", func(s *sample) float64 { return float64(s.FileSize) }),
	gauge("outbox_free_bytes", "Bytes that may still be written where the outbox is.", func(s *sample) float64 { return float64(s.Free) }),

	count(ofOutbox, "points_total", "Points that came.", func(c *counters.Counters) int { return c.Points }),
	count(ofOutbox, "points_without_level_total", "Points that make no alert, as nothing says what their level is.", func(c *counters.Counters) int { return c.NoLevel }),
	count(ofOutbox, "points_unknown_level_total", "Points that make no alert, as their level is a word that is none.", func(c *counters.Counters) int { return c.UnknownLevel }),
	counts(ofOutbox, "changes_total", "Alerts that were made, each of a change of level, by the level that it is to.", []string{"level"},
		func(c *counters.Counters, add func(int, ...string)) {
			for i, level := range counters.Levels {
				add(c.Changes[i], level)
			}
		}),
	count(ofOutbox, "changes_too_old_total", "Changes that were not sent, as they are older than maxAge.", func(c *counters.Counters) int { return c.TooOld }),
	count(ofOutbox, "template_failures_total", "Templates that failed on a point.", func(c *counters.Counters) int { return c.Templates }),
	count(ofOutbox, "panics_total", "Panics that were survived: please report them.", func(c *counters.Counters) int { return c.Panics }),
	count(ofOutbox, "given_up_total", "Intermediate changes that were dropped at the size limit.", func(c *counters.Counters) int { return c.GivenUp }),
	histogram(ofOutbox, "point_to_durable_seconds", "From when the function had a point to when the change that it made was on disk.", func(c *counters.Counters) counters.Histogram { return c.ToDurable }),
	histogram(ofOutbox, "durable_to_delivered_seconds", "From when a change was on disk to when BigPanda had accepted it.", func(c *counters.Counters) counters.Histogram { return c.ToDelivered }),
}, deliveries(ofOutbox))

// deliveries are the metrics of whoever sends to BigPanda, an outbox or a deliverer.
func deliveries(f family) []metric[*sample] {
	return []metric[*sample]{
		gaugeOf(f, "last_success_timestamp_seconds", "When BigPanda last accepted an alert, 0 for not since the process began.", func(s *sample) float64 { return at(s.LastSuccess) }),
		gaugeOf(f, "last_error_timestamp_seconds", "When BigPanda last did not accept one, 0 for not since the process began.", func(s *sample) float64 { return at(s.LastErrorTime) }),
		count(f, "alerts_delivered_total", "Alerts that BigPanda accepted.", func(c *counters.Counters) int { return c.Delivered }),
		count(f, "alerts_duplicate_total", "Alerts of those that were delivered that BigPanda had already (204).", func(c *counters.Counters) int { return c.Duplicates }),
		count(f, "alerts_retried_total", "Alerts in requests that failed, each of which is sent again.", func(c *counters.Counters) int { return c.Retries }),
		counts(f, "requests_total", "Requests to BigPanda, by what came of them: accepted, or the reason why not.", []string{"outcome"},
			func(c *counters.Counters, add func(int, ...string)) {
				add(c.Requests[counters.Accepted], counters.Accepted)
				for _, reason := range bigpanda.Reasons {
					add(c.Requests[string(reason)], string(reason))
				}
			}),
		count(f, "dead_letters_total", "Alerts that BigPanda refused for good.", func(c *counters.Counters) int { return c.Dead }),
		histogram(f, "request_duration_seconds", "How long requests to BigPanda took, whatever came of them.", func(c *counters.Counters) counters.Histogram { return c.Answered }),
	}
}
