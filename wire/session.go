package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"bigpanda-udf/printable"

	"github.com/influxdata/kapacitor/udf/agent"
)

// pace says how the reading slows down when the output is not taken, and how it
// ends.
type pace struct {
	high     int           // bytes of waiting output above which reading is slow
	bound    int           // bytes of waiting output at which reading stops
	slowRead int           // bytes that a slow read brings at most
	every    time.Duration // time before each slow read
	grace    time.Duration // for leaving
}

// defaultPace drains a pipe that is full (64 KiB) in a fifth of a second, since
// the end of the input lies behind what is in the pipe. At this speed, 320 KiB
// a second, it takes three minutes from high to bound: Kapacitor's keepalive
// timeout, which makes it give up, is 10 s unless set.
var defaultPace = pace{high: 4 << 20, bound: 64 << 20, slowRead: 16 << 10, every: 50 * time.Millisecond, grace: DefaultGrace}

// errLeft ends the loop of a session whose context is done and whose time for
// reading is over. It does not leave the package.
var errLeft = errors.New("no more time to read")

// A session is one Run. Its fields belong to the goroutine that called Run.
type session struct {
	handler   agent.Handler
	mirror    Mirror    // nil if handler is none
	committer Committer // nil if handler is none
	options   Options
	pace      pace

	in      *reader
	out     *writer
	request agent.Request    // the frame at hand
	frames  uint64           // frames that came, the one at hand included
	ready   bool             // an Init succeeded
	late    <-chan time.Time // when an Init should have; nil once it has
	mirrors bool             // what mirror said after the last Init
	dirty   bool             // frames were handled since the last Commit
	piece   []byte           // output of the piece at hand

	ctx     context.Context
	done    <-chan struct{} // ctx's; nil once seen
	readBy  time.Time       // when reading ends; zero until the context is done
	leaveBy time.Time       // when waiting for out ends; zero until leaving
	warned  bool            // the slow reading is in the log
}

func (s *session) run() error {
	cause := s.serve()
	s.flush()
	s.in.close()
	if s.leaveBy.IsZero() {
		s.leaveBy = time.Now().Add(s.pace.grace)
	}
	s.handler.Stop()
	if cause != nil {
		frame, _ := appendFrame(nil, &agent.Response{Message: &agent.Response_Error{ // which is UTF-8
			Error: &agent.ErrorResponse{Error: printable.Text(cause.Error())},
		}})
		s.out.put(frame)
	}
	// A handler that took its time must not cost an output that is taken.
	lost, err := s.out.finish(max(time.Until(s.leaveBy), s.pace.grace/4))
	if lost > 0 {
		s.options.Log.Warn("output given up: nobody takes it", "bytes", lost)
	}
	if err != nil {
		err = fmt.Errorf("write output: %w", err)
	}
	if cause == nil || err == nil {
		return cmp.Or(cause, err)
	}
	return errors.Join(cause, err)
}

// serve reads and handles pieces until the end. nil is an orderly one. It may
// leave a piece that is not flushed.
func (s *session) serve() error {
	for {
		err := s.read(s.admit())
		switch {
		case err == errLeft:
			if cause := context.Cause(s.ctx); cause != s.ctx.Err() { // it was said
				return cause
			}
			return nil
		case err == io.EOF:
			return s.in.atEnd()
		case err != nil:
			return err
		}
		if s.in.busy() && s.readBy.IsZero() && s.out.waiting() < s.pace.high {
			_, _ = s.in.begin(pieceSize) // it returns its error again, when it is due
		}
		for {
			frame, body, err := s.in.next()
			if err != nil {
				return fmt.Errorf("read input: %w", err)
			}
			if frame == nil {
				break
			}
			s.frames++
			end, err := s.handle(frame, body)
			if end || err != nil {
				return err
			}
			if err := s.bound(); err != nil {
				return err
			}
		}
		s.flush()
	}
}

// bound keeps requests of a few bytes from making output without end.
func (s *session) bound() error {
	if !s.ready && len(s.piece)+s.out.waiting() > maxEarly {
		return fmt.Errorf("more than %d bytes of answers wait before Init: this is not Kapacitor", maxEarly)
	}
	if len(s.piece) >= s.pace.high {
		s.flush()
		s.admit()
	}
	return nil
}

// flush ends the piece: it is committed, then its output handed to the writer.
func (s *session) flush() {
	if s.dirty && s.committer != nil {
		s.committer.Commit()
	}
	s.dirty = false
	if !s.readBy.IsZero() && s.out.waiting() >= s.pace.bound {
		// The last bytes of the input are worth more than memory that nobody
		// takes: they are still handled and committed, for the second at most
		// that is left.
		s.out.cut()
	}
	s.piece = s.out.put(s.piece)
}

// admit waits until the next read may begin, and returns how many bytes it may
// bring.
func (s *session) admit() int {
	var slow <-chan time.Time
	for {
		waiting := s.out.waiting()
		if waiting < s.pace.high || !s.readBy.IsZero() {
			return pieceSize
		}
		var tick <-chan time.Time
		if waiting < s.pace.bound {
			if slow == nil {
				slow = time.After(s.pace.every)
			}
			tick = slow
		}
		select {
		case <-tick:
			if !s.warned {
				s.warned = true
				s.options.Log.Warn("output is not taken: reading slowly", "bytes", waiting)
			}
			return s.pace.slowRead
		case <-s.out.moved:
		case <-s.done:
			s.leave()
		}
	}
}

// read does one read of at most limit bytes. It returns errLeft when the time
// for reading is over first, and else what the stream said.
func (s *session) read(limit int) error {
	var over <-chan time.Time
	if !s.readBy.IsZero() {
		left := time.Until(s.readBy)
		if left <= 0 {
			return errLeft
		}
		over = time.After(left)
	}
	got, err := s.in.begin(limit)
	if err != nil {
		return err
	}
	for {
		select {
		case res := <-got:
			return s.in.took(res)
		case <-s.done:
			s.leave()
			over = time.After(time.Until(s.readBy))
		case <-over:
			return errLeft
		case <-s.late:
			return fmt.Errorf("there was no Init within %s: this is not Kapacitor, or it has given up", s.options.InitWithin)
		}
	}
}

// leave starts the clock of a done context.
func (s *session) leave() {
	now := time.Now()
	s.done = nil
	s.readBy = now.Add(s.pace.grace - s.pace.grace/4)
	s.leaveBy = now.Add(s.pace.grace)
}
