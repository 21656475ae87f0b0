// Package wire hosts an agent.Handler on two streams: it reads the frames of
// Kapacitor's UDF protocol from one, hands them to the handler, and writes the
// answers, and the data as it came, to the other. It knows nothing of alerts or
// BigPanda.
//
// # What the handler may rely on
//
//   - Its methods are called one at a time, in the order of the input. Answers
//     and data leave in that order too.
//   - Info, Init, Snapshot, Restore, BeginBatch, Point and EndBatch are called
//     once for each frame of their kind, but for the points that a Mirror
//     takes as they are. The message is the handler's to keep: nothing here reads
//     or changes it afterwards.
//   - A keepalive never reaches it. The host answers it in its place in the
//     order, so a method that does not return holds the keepalives up.
//   - It has no data of its own to send: Options has no counterpart to the
//     Responses of agent.Agent.
//   - A Mirror passes data on. Its Mirrors is asked after each Init that
//     succeeded: while the answer is true, begin, point and end frames go out
//     again byte for byte once the handler has taken them. Its Wants is asked
//     about each point before that is decoded: one that it does not want decoded
//     goes out (or not) without, and Point is not called.
//   - Commit, if it has one (Committer), is called at the end of each piece of
//     input: the whole frames that one read brought, about 256 KiB of them at
//     most, or one larger frame, or as many as gave rise to 4 MiB. Nothing that
//     the piece gave rise to, mirrored data or answer, goes out before Commit has
//     returned. A read that completes no frame is no piece. Commit may come
//     before Init, and after a method that returned an error.
//   - An error from any method is the end: what came before it is committed and
//     goes out, then an ErrorResponse with the error's text, and Run returns the
//     error. A point is no reason to return one, since Kapacitor then stops the
//     task for good.
//   - An InitResponse without Success is the end as well, after it went out; Run
//     returns nil and does not wait for the end of the input, because Kapacitor
//     never closes the input of a function whose Init failed.
//   - Stop is called exactly once, after every other method, also when a stream
//     broke.
//   - A panic of the handler is not recovered.
//
// # What the streams may do
//
//   - Output that is not taken does not hold reading up at once. Below 4 MiB of
//     it input is read at full speed, then 16 KiB each 50 ms, and at 64 MiB not
//     at all until output is taken. So a Kapacitor that gives up, and with it no
//     longer reads, can finish the write it is in and close the input.
//   - Output that breaks is thrown away from then on. The input is still read to
//     its end, handed over and committed; then Run returns the write's error.
//   - While points come densely (20,000 in a second and more, not in bulk), each
//     read waits for a millisecond, which spares Kapacitor waking the process with
//     each write. A frame is seen, and so a keepalive answered, that much later at
//     most, and the end of the input by twice that.
//   - Input that cannot be trusted (a frame over Options.MaxFrame, a length that
//     is none, a frame that does not parse or holds no known request, an end
//     within a frame) ends Run like an error of the handler. Memory follows the
//     bytes that came, never the length that a frame claims.
//   - With Options.InitWithin, input before an Init that succeeds has little time
//     and memory. More ends Run like an error of the handler.
//   - The end of the input is the end. What is left of the output has DefaultGrace
//     to go out.
//   - When the context is done, reading goes on, to the end of the input or for
//     three quarters of DefaultGrace; what is left of it is for the output. If the
//     input did not end and the context has a cause (context.WithCancelCause),
//     that is the end like an error of the handler.
//
// # What may be left behind
//
// Read and Write cannot be interrupted. A goroutine whose Read is under way when
// Run ends otherwise than with the input (while the input is busy, the next read
// begins before the frames of the last one are handled), or whose Write was
// blocked when the output was given up, ends when that call returns and touches
// nothing else but its stream. What such a Read brings is lost. Run waits for
// every other goroutine that it started.
package wire

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// DefaultMaxFrame is the largest frame that is read, in bytes. Points are a few
// hundred bytes; a restore holds what a snapshot held and can be far larger.
// More than this is not a message but a stream out of step.
const DefaultMaxFrame = 64 << 20

// maxEarly is the largest frame before the first Init that succeeds, in bytes, and
// how much output may wait until then: whoever has said nothing yet gets little
// memory. An Init is the options of one node, some kilobytes of templates.
const maxEarly = 1 << 20

// DefaultGrace bounds how long leaving takes in all: reading on after the context
// is done, and waiting for an output that is not taken. The handler's own time is
// no part of it. Kapacitor holds up all its task operations meanwhile, so the
// process must be gone within a second of the end of its input (P8): this leaves a
// quarter of it for the slow reading of the last full pipe, for the handler's Stop
// and for the end of the process.
const DefaultGrace = 750 * time.Millisecond

// Options are the settings of Run. The zero value means the defaults.
type Options struct {
	// MaxFrame is the largest length of a frame that is accepted, in bytes,
	// without its varint. DefaultMaxFrame when not positive.
	MaxFrame int
	// InitWithin is for streams of whoever can connect: how long the first Init
	// that succeeds may take to come. Then it is the end like an error of the
	// handler. Until then, a frame may have 1 MiB at most, and as much output may
	// wait. 0: there are no such limits.
	InitWithin time.Duration
	// Log receives what an operator should know of the streams. It may be nil.
	Log *slog.Logger
}

// Mirror is implemented by a handler whose data goes on as it came, or not at
// all.
type Mirror interface {
	// Mirrors tells which. It is asked after each successful Init.
	Mirrors() bool
	// Wants tells whether the handler wants a point decoded. It is given the bytes of
	// an agent.Point, which are valid until it returns, and returns false only
	// for those that proto.Unmarshal would take: nobody else looks at them. The
	// handler then has seen the point, and Point is not called. After true the
	// point is decoded, and Point called.
	Wants(point []byte) bool
}

// Committer is implemented by a handler that makes durable what it was given.
// Commit is called once for each piece of input and returns when the piece's
// output may go out. What it cannot make durable it keeps to itself: there is
// nothing that the host could do about it.
type Committer interface {
	Commit()
}

// Run serves h on in and out until in ends, ctx is done, an Init fails, or a
// stream or the handler gives an error. It returns nil for the first three, but
// for a cause of ctx, and otherwise the cause: the handler's error as it is, or
// one that says what was wrong with the stream. The package comment has the rules.
//
// Run neither closes in nor out. SIGPIPE is the caller's to ignore.
func Run(ctx context.Context, h agent.Handler, in io.Reader, out io.Writer, o Options) error {
	return run(ctx, h, in, out, o, defaultPace)
}

func run(ctx context.Context, h agent.Handler, in io.Reader, out io.Writer, o Options, p pace) error {
	if o.MaxFrame <= 0 {
		o.MaxFrame = DefaultMaxFrame
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &session{
		handler: h,
		options: o,
		pace:    p,
		ready:   o.InitWithin <= 0,
		out:     newWriter(out),
		ctx:     ctx,
		done:    ctx.Done(),
	}
	s.mirror, _ = h.(Mirror)
	s.committer, _ = h.(Committer)
	if s.ready {
		s.in = newReader(in, o.MaxFrame, false)
	} else {
		s.in = newReader(in, min(o.MaxFrame, maxEarly), true)
		s.late = time.After(o.InitWithin)
	}
	return s.run()
}
