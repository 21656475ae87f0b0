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
	placed  chan struct{} // the frames last put have their place
	failed  chan error    // capacity 1: a response cannot be encoded
	closed  chan struct{} // closed when the handler has closed its end
	noMore  chan struct{} // closed when nothing more is wanted
	stopped chan struct{} // closed when collect has ended
}

func newCollector(responses <-chan *agent.Response, out *writer) *collector {
	c := &collector{
		answers: make(chan []byte),
		placed:  make(chan struct{}),
		failed:  make(chan error, 1),
		closed:  make(chan struct{}),
		noMore:  make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go c.collect(responses, out)
	return c
}

// put has frames written after what the handler has sent so far, and before what
// it sends next.
func (c *collector) put(frames []byte) {
	c.answers <- frames
	<-c.placed
}

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

// failure returns why a response could not be encoded and nobody has heard of it
// yet, nil if none. It is to be asked after finish.
func (c *collector) failure() error {
	select {
	case err := <-c.failed:
		return err
	default:
		return nil
	}
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
			b = c.pass(b, r, out)
		case frames := <-c.answers:
			// What the channel holds was sent before.
			for range len(responses) {
				b = c.pass(b, <-responses, out)
			}
			out.put(frames)
			c.placed <- struct{}{}
		case <-c.noMore:
			return
		}
	}
}

// pass hands one response to out, encoded into b, and returns an empty buffer to
// go on with.
func (c *collector) pass(b []byte, r *agent.Response, out *writer) []byte {
	b, err := appendFrame(b, r)
	if err != nil {
		select {
		case c.failed <- fmt.Errorf("encode what the handler sent: %w", err):
		default: // the first is the end already
		}
		return b
	}
	return out.put(b)
}
