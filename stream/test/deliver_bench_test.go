package test

import (
	"fmt"
	"testing"
	"time"

	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
)

// What a deliverer takes out of a stream that is full of alerts: BigPanda answers after
// 50 ms, four requests at once with 500 alerts each.
func BenchmarkDeliver(b *testing.B) {
	for _, servers := range []int{1, 3} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			urls := ""
			if servers == 1 {
				urls = natstest.Start(b, natstest.Options{}).URL()
			} else {
				urls = natstest.StartCluster(b, servers, natstest.Options{}).URLs()
			}
			r := newRig(b, urls, stream.Options{})
			r.bigPanda.set(50*time.Millisecond, nil)
			const changes = 20_000
			for range changes / 2000 {
				r.publish(many("x", 2000)...)
			}
			for b.Loop() {
				d := r.deliver("d1", deliverOptions{})
				natstest.Await(b, "all is delivered", func() error {
					if n := len(r.bigPanda.events()); n < changes {
						return fmt.Errorf("%d are delivered", n)
					}
					return nil
				})
				d.stop()
			}
			requests := r.bigPanda.requests()
			took := requests[len(requests)-1].at.Add(50 * time.Millisecond).Sub(requests[0].at)
			b.ReportMetric(changes/took.Seconds(), "alerts/s")
			r.inOrder()
		})
	}
}
