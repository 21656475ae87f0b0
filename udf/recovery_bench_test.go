package udf_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// BenchmarkRecovery is the end of a large outage: that many alerts go OK, all at
// one time, or at times of a minute in any order.
func BenchmarkRecovery(b *testing.B) {
	for _, alerts := range []int{75_000, 150_000, 300_000} {
		for _, times := range []struct {
			name string
			over float64 // seconds
		}{{"at one time", 0}, {"over 50 s", 50}} {
			b.Run(fmt.Sprintf("%d %s", alerts, times.name), func(b *testing.B) { benchmarkRecovery(b, alerts, times.over) })
		}
	}
}

func benchmarkRecovery(b *testing.B, alerts int, over float64) {
	random := rand.New(rand.NewPCG(1, 2))
	point := func(i int, level string, at float64) []byte {
		data, err := proto.Marshal(&agent.Point{
			Time: int64((epoch + at) * 1e9), Name: "cpu", Group: fmt.Sprint("host=", i), Dimensions: []string{"host"},
			Tags:         map[string]string{"host": fmt.Sprint(i), "alertID": fmt.Sprint("cpu:host=", i)},
			FieldsString: map[string]string{"level": level},
			FieldsInt:    map[string]int64{"duration": int64(at * 1e9)},
		})
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, func(c *udf.Config) {
			c.Open = func(udf.Use) (udf.Store, error) { return forgetful{}, nil }
		}).init()
		opened, resolved := make([][]byte, alerts), make([][]byte, alerts)
		for i := range alerts {
			opened[i] = point(i, "CRITICAL", 0)
			resolved[i] = point(i, "OK", 100+over*random.Float64())
		}
		pass := func(points [][]byte) {
			for i, data := range points {
				if r.h.Wants(data) {
					var p agent.Point
					if err := proto.Unmarshal(data, &p); err != nil {
						b.Fatal(err)
					}
					if err := r.h.Point(&p); err != nil {
						b.Fatal(err)
					}
				}
				if i%1000 == 999 {
					r.h.Commit()
				}
			}
		}
		pass(opened)
		b.StartTimer()
		began := cpuTime(b)
		pass(resolved)
		b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(alerts), "CPU-ns/alert")
	}
}

// cpuTime is what this process has taken of all cores.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
