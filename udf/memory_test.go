package udf_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/test"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// BenchmarkActiveAlerts is what a handler keeps in memory of 1,000,000 active
// alerts (P7), and how long it looks through them for .resolveAfter().
func BenchmarkActiveAlerts(b *testing.B) {
	b.Run("as it is", func(b *testing.B) { benchmarkActiveAlerts(b) })
	b.Run("with resolveAfter", func(b *testing.B) { benchmarkActiveAlerts(b, opt("resolveAfter", 10*minute)) })
}

func benchmarkActiveAlerts(b *testing.B, options ...*agent.Option) {
	const alerts = 1_000_000
	for b.Loop() {
		r := newRig(b, func(c *udf.Config) {
			c.Open = func(udf.Use) (udf.Store, error) { return forgetful{}, nil }
		}).init(options...)
		keys := 0
		before := heap()
		for i := range alerts {
			p := at(0, fmt.Sprintf("cpu:host=web%07d", i), "CRITICAL").grouped(fmt.Sprintf("host=web%07d", i))
			p.tags["host"] = fmt.Sprintf("web%07d", i)
			m := p.message()
			if err := r.h.Point(m); err != nil {
				b.Fatal(err)
			}
			if i%1000 == 0 {
				r.h.Commit()
			}
			// The series, and what BigPanda takes for one alert.
			keys += len(m.Group) + 1 + len(m.Tags["alertID"]) + len("p3:key10:web000000021:cpu:host=web0000000")
		}
		r.h.Commit()
		after := heap()
		b.ReportMetric(float64(after-before)/alerts, "B/alert")
		b.ReportMetric(float64(keys)/alerts, "B/key")
		if len(options) > 0 {
			began := time.Now()
			r.alive(10*minute, minute)
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/check")
		}
		runtime.KeepAlive(r)
	}
}

// BenchmarkChanges is the decision about a point, from its bytes.
func BenchmarkChanges(b *testing.B) {
	for _, tt := range []struct {
		name   string
		level  string
		before string
		option *agent.Option
	}{
		{"an OK of a series that is OK", "OK", "", nil},
		{"an OK while others are not", "OK", "other", nil},
		{"a CRITICAL that was told", "CRITICAL", "id", nil},
		{"a CRITICAL that was told, with resolveAfter", "CRITICAL", "id", opt("resolveAfter", minute)},
		{"a CRITICAL that was told, with a template for the id", "CRITICAL", "id", opt("id", "{{ index .Tags \"alertID\" }}")},
	} {
		b.Run(tt.name, func(b *testing.B) {
			r := newRig(b)
			if tt.option != nil {
				r.init(tt.option)
			} else {
				r.init()
			}
			if tt.before != "" {
				r.send(at(0, tt.before, "CRITICAL"))
			}
			frame, err := proto.Marshal(at(0, "id", tt.level).message())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if r.h.Wants(frame) {
					b.Fatal("it is decoded")
				}
			}
			if changes := r.send(); len(changes) > 0 {
				b.Fatal("it changes something")
			}
		})
	}
}

// Points that change nothing cost no memory, however many there are (P7).
func TestChangesAllocatesNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		point pt
		open  bool // the series is CRITICAL
	}{
		{name: "OK", point: at(0, "id", "OK")},
		{name: "CRITICAL again", point: at(0, "id", "CRITICAL"), open: true},
		{name: "no level", point: at(0, "id", "")},
		{name: "no such level", point: at(0, "id", "SEVERE")},
		{name: "in small letters", point: at(0, "id", "ok"), open: false},
	} {
		for _, template := range []string{"", "{{ .Name }}/{{ index .Tags \"alertID\" }}"} {
			t.Run(tt.name+template, func(t *testing.T) {
				r := start(t, opt("id", template))
				r.send(at(0, "another", "CRITICAL"))
				if tt.open {
					r.send(tt.point)
				}
				frame, err := proto.Marshal(tt.point.message())
				if err != nil {
					t.Fatal(err)
				}
				if n := testing.AllocsPerRun(100, func() {
					if r.h.Wants(frame) {
						t.Error("it is decoded")
					}
				}); n != 0 {
					t.Errorf("%v allocations a point", n)
				}
				if changes := r.send(); len(changes) > 0 {
					t.Error("it changes something")
				}
			})
		}
	}
}

// Words that are no level take no room from those that are one.
func TestUnknownWordsCostKnownOnesNothing(t *testing.T) {
	r := start(t)
	for i := range 200 {
		r.send(at(0, "id", fmt.Sprint("word", i)))
	}
	frame, err := proto.Marshal(at(0, "id", "ok").message())
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { r.h.Wants(frame) }); n != 0 {
		t.Errorf("%v allocations a point", n)
	}
}

// However large a point was, and however many were: what they leave is small
// (P7).
func TestLargePointsLeaveNothing(t *testing.T) {
	test.NoRace(t)
	long := strings.Repeat("x", 60<<10)
	wide := at(0, "id", "OK")
	for i := range 200_000 {
		wide.tags[fmt.Sprint(i)] = ""
	}
	for _, tt := range []struct {
		name     string
		template string
		points   func(yield func(pt) bool)
	}{
		{"texts that a template for the id sees", "{{ .Name }}", func(yield func(pt) bool) {
			for i := range 400 {
				yield(at(0, "id", "OK").grouped("g").tagged("x", fmt.Sprint(i, long)))
			}
		}},
		{"ids", "{{ index .Tags \"alertID\" }}", func(yield func(pt) bool) {
			for i := range 400 {
				yield(at(0, fmt.Sprint(i, long), "OK"))
			}
		}},
		{"words for levels", "", func(yield func(pt) bool) {
			for i := range 20 {
				yield(at(0, "id", fmt.Sprint(i, strings.Repeat("x", 1<<20))))
			}
		}},
		{"tags", "", func(yield func(pt) bool) { yield(wide) }},
		{"a group, in the default id", "", func(yield func(pt) bool) {
			yield(at(0, "", "OK").grouped(strings.Repeat("x", 16<<20)))
		}},
		{"a group, in a template for the id", "{{ .Group }}", func(yield func(pt) bool) {
			yield(at(0, "", "OK").grouped(strings.Repeat("x", 16<<20)))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, opt("id", tt.template))
			last := at(0, "another", "CRITICAL")
			r.send(last)
			before := heap()
			for p := range tt.points {
				r.send(p)
			}
			r.send(last)
			if grown := int64(heap()) - int64(before); grown > 12<<20 || tt.name == "tags" && grown > 4<<20 {
				t.Errorf("%d KiB stay", grown>>10)
			}
			runtime.KeepAlive(r)
		})
	}
	runtime.KeepAlive(wide)
}

// forgetful is a store that keeps nothing.
type forgetful struct{}

func (forgetful) Levels(func(outbox.Level) bool) (bool, error) { return true, nil }
func (forgetful) Append([]outbox.Change, []outbox.Level)       {}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
