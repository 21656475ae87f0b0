package program

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// latencyRates are how many points come in a second; 0 is one that comes when the
// one before is back.
var latencyRates = []int{0, 200, 1_000, 10_000, 50_000}

// A latency is how long points took through a child.
type latency struct{ median, p99 time.Duration }

// BenchmarkLatency prints a table of how long a point takes through the process,
// each written by itself, as Kapacitor does.
func BenchmarkLatency(b *testing.B) {
	table := make(map[child][]latency)
	for _, c := range []child{catProgram, stockMirror, wireFunction} {
		for _, rate := range latencyRates {
			b.Run(strings.ReplaceAll(fmt.Sprintf("%s/rate=%d", c, rate), " ", "_"), func(b *testing.B) {
				for b.Loop() {
					l := c.latency(b, rate)
					b.ReportMetric(float64(l.median.Nanoseconds())/1000, "µs-median")
					b.ReportMetric(float64(l.p99.Nanoseconds())/1000, "µs-p99")
					table[c] = append(table[c], l)
				}
			})
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\nµs through, median / p99, at points/s\t")
	for _, rate := range latencyRates {
		if rate == 0 {
			fmt.Fprint(w, "one alone\t")
		} else {
			fmt.Fprintf(w, "%d\t", rate)
		}
	}
	fmt.Fprintln(w)
	for _, c := range []child{catProgram, stockMirror, wireFunction} {
		fmt.Fprintf(w, "%s\t", c)
		for _, l := range table[c] {
			fmt.Fprintf(w, "%d / %d\t", l.median.Microseconds(), l.p99.Microseconds())
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// latency sends points at a rate for two seconds.
func (c child) latency(b *testing.B, rate int) latency {
	b.Helper()
	points := 2 * rate
	if rate == 0 {
		points = 5_000
	}
	p, _ := startChild(b, c)
	defer p.end()
	frame := wireCase{series: 1, points: 1}.input()
	sent, took := make([]time.Time, points), make([]time.Duration, 0, points)
	back := make(chan struct{}, 1) // one is, where the next waits for that
	p.workers.Go(func() {
		begin := time.Now()
		for i := range points {
			if rate > 0 {
				for due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate)); time.Until(due) > 0; {
					if left := time.Until(due); left > 2*time.Millisecond {
						time.Sleep(left - time.Millisecond)
					} else {
						runtime.Gosched() // a sleep would be longer than that
					}
				}
			}
			sent[i] = time.Now()
			p.write(frame)
			if rate == 0 {
				<-back
			}
		}
	})
	buffer, got := make([]byte, 64<<10), 0
	for len(took) < points {
		n, err := p.Out.Read(buffer)
		if err != nil {
			b.Fatal(err)
		}
		now := time.Now()
		for got += n; len(took) < got/len(frame); {
			took = append(took, now.Sub(sent[len(took)]))
			if rate == 0 {
				back <- struct{}{}
			}
		}
	}
	slices.Sort(took)
	return latency{took[points/2], took[points*99/100]}
}
