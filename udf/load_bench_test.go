package udf_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
)

// BenchmarkLoad is the time from Init to the end of the first point after a restart,
// with 1,000,000 alerts open in an outbox on disk, and what they take of memory.
func BenchmarkLoad(b *testing.B) {
	const alerts = 1_000_000
	dir := b.TempDir()
	open := func(udf.Use) (udf.Store, error) {
		return outbox.Open(dir, outbox.Options{
			Task: "task", Node: "node", URL: "http://127.0.0.1:9/", Fingerprint: func(key []byte) []byte { return key },
			Log: slog.New(slog.DiscardHandler),
		})
	}
	point := func(i int) pt {
		host := fmt.Sprintf("web%07d", i)
		return at(0, "cpu:host="+host, "CRITICAL").grouped("host="+host).tagged("host", host)
	}
	opened := start(b)
	opened.send(point(0))
	first := opened.store.commits[0].levels[0]
	type level struct {
		sum [sha256.Size]byte
		outbox.Level
	}
	levels := make([]level, alerts)
	for i := range levels {
		host := []byte(fmt.Sprintf("web%07d", i))
		l := &levels[i]
		l.Key = strings.ReplaceAll(first.Key, "web0000000", string(host))
		l.Time, l.Value = first.Time, bytes.ReplaceAll(first.Value, []byte("web0000000"), host)
		l.sum = sha256.Sum256([]byte(l.Key))
	}
	// In the order in which the outbox keeps them it is filled soon.
	slices.SortFunc(levels, func(a, b level) int { return bytes.Compare(a.sum[:], b.sum[:]) })
	store, err := open(udf.Use{})
	if err != nil {
		b.Fatal(err)
	}
	for some := range slices.Chunk(levels, 10_000) {
		var piece []outbox.Level
		for _, l := range some {
			piece = append(piece, l.Level)
		}
		store.Append(nil, piece)
	}
	store.(*outbox.Disk).Close()
	levels = nil
	before := heap()
	for b.Loop() {
		var store udf.Store
		r := newRig(b, func(c *udf.Config) {
			c.Open = func(u udf.Use) (_ udf.Store, err error) {
				store, err = open(u)
				return store, err
			}
		})
		began, cpu := time.Now(), cpuTime(b)
		r.init()
		r.point(point(1))
		r.h.Commit()
		b.ReportMetric(time.Since(began).Seconds(), "s-to-first-point")
		b.ReportMetric((cpuTime(b) - cpu).Seconds(), "CPU-s")
		b.StopTimer()
		r.point(point(alerts))
		r.h.Commit()
		b.ReportMetric(float64(heap()-before)/alerts, "B/alert")
		if n := r.logged("level=ERROR"); n > 0 {
			b.Error(r.log)
		}
		runtime.KeepAlive(r)
		store.(*outbox.Disk).Close()
		b.StartTimer()
	}
}
