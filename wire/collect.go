package wire

import (
	"fmt"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A collector brings what a handler sends by itself and the host's answers into
// one order: each is on its way before the next is received. put and finish
// belong to one goroutine.
type collector struct {
	answers chan []byte
	failed  chan error    // capacity 1: a response cannot be encoded
	closed  chan struct{} // closed when the handler has closed its end
	noMore  chan struct{} // closed when nothing more is wanted
	stopped chan struct{} // closed when collect has ended
}

func newCollector(responses <-chan *agent.Response, out *writer) *collector {
	c := &collector{
		answers: make(chan []byte),
		failed:  make(chan error, 1),
		closed:  make(chan struct{}),
		noMore:  make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go c.collect(responses, out)
	return c
}

// put has frames written after what the handler has sent so far.
func (c *collector) put(frames []byte) { c.answers <- frames }

// finish waits until the handler has closed its end, or d is over, and reports
// which. Nothing may be put afterwards.
func (c *collector) finish(d time.Duration) (closed bool) {
	select {
	case <-c.closed:
		closed = true
	case <-time.After(d):
	}
	close(c.noMore)
	<-c.stopped
	return closed
}

func (c *collector) collect(responses <-chan *agent.Response, out *writer) {
	defer close(c.stopped)
	var b []byte
	for {
		select {
		case r, ok := <-responses:
			if !ok {
				responses = nil
				close(c.closed)
				continue
			}
			var err error
			if b, err = appendFrame(b, r); err != nil {
				select {
				case c.failed <- fmt.Errorf("encode what the handler sent: %w", err):
				default: // the first is the end already
				}
				continue
			}
			b = out.put(b)
		case frames := <-c.answers:
			out.put(frames)
		case <-c.noMore:
			return
		}
	}
}
