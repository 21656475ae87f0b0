package test

import (
	"testing"
	"time"

	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
)

// P5: what is published is delivered, once and in order for each alert.
func TestDeliver(t *testing.T) {
	t.Parallel()
	r := newRig(t, natstest.Start(t, natstest.Options{}).URL(), stream.Options{})
	d := r.deliver("d1", deliverOptions{})
	if err := d.Ready(); err == nil {
		t.Error("it is ready before NATS has answered")
	}
	for range 5 {
		r.publish(many("x", 300)...)
		r.publish(many("y", 30)...)
	}
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
	if err := d.Ready(); err != nil {
		t.Error(err)
	}
	r.await("the record knows", func() bool { c := r.record(); return c.Read == 1650 && len(c.AppKeys) == 0 })
	// The next one begins where this one has ended.
	d.stop()
	r.deliver("d2", deliverOptions{})
	r.publish("x/h1")
	r.delivered("")
	if n := r.inOrder(); n != 0 {
		t.Errorf("%d duplicates", n)
	}
}

var _ = time.Second
