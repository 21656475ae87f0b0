package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"bigpanda-udf/sandbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

const (
	// demoLength is how long the play takes; it shows fleetLength of load.
	demoLength = 15 * time.Second
	// demoPatience is how long after the play everything must be over: twice
	// the longest wait of a sender, in which the end of the outage may find it.
	demoPatience = time.Minute

	// demoListen is another port than the sandbox's, to which a Kapacitor may send.
	demoListen = "127.0.0.1:8090"

	demoAppKey = "demo"
	demoToken  = "demo-token"
)

// The outage, in the time of the play.
const (
	outageFrom = 75 * time.Second
	outageTo   = 2 * time.Minute
)

type demoFlags struct {
	Listen string  `placeholder:"ADDRESS" help:"Where the console listens; port 0 takes a free one (127.0.0.1:8090, or a free port where that is taken)."`
	Speed  float64 `default:"1" placeholder:"N" help:"Play so many times faster (${default})."`
	Keep   bool    `help:"Stay until Ctrl-C, so that the console can be looked at."`
}

// run shows all of it in this process: a sandbox, the function over pipes, and in the
// place of Kapacitor a small fleet. The error says what went wrong, a change that did not arrive too.
func (f *demoFlags) run(ctx context.Context, p Process, _ *command) error {
	if !(f.Speed > 0 && f.Speed <= 1e6) {
		return usagef("--speed is %v: write a number over 0, such as 2", f.Speed)
	}
	l, err := f.listen()
	if err != nil {
		return err
	}
	p.warnOfNetwork(l.Addr().(*net.TCPAddr))
	ctx, _, stop := stopSignals(ctx)
	defer stop()
	length := time.Duration(float64(demoLength) / f.Speed)
	until, cancel := context.WithTimeoutCause(ctx, length+demoPatience,
		fmt.Errorf("it is not over after %s: the lines above show what is missing", length+demoPatience))
	defer cancel()

	d := &demoRun{
		show: newScreen(p),
		step: time.Duration(float64(length) * float64(fleetTick) / float64(fleetLength)),
	}
	// Any token will do, so that the lines to copy on the console work.
	d.server = sandbox.New(sandbox.Options{Demo: true, Hosts: hostNames(cmp.Or(f.Listen, demoListen)), OnRequest: d.answered})
	defer beside(context.Background(), func(ctx context.Context) {
		if err := serveSandbox(ctx, l, d.server); err != nil {
			p.say("%s demo: %v", programName, err)
		}
	})()

	err = d.run(until, p, l.Addr())
	if err == nil {
		err = d.show.summary(d.result())
	}
	if cause := context.Cause(until); err != nil && cause != nil {
		err = cause
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted")
	case err == nil:
		d.over.Store(true)
		d.show.ends(f.Keep, consoleURL(l.Addr()))
	case f.Keep:
		p.say("%s demo: %v\nThe console stays until Ctrl-C: %s", programName, err, consoleURL(l.Addr()))
	}
	if f.Keep {
		<-ctx.Done()
	}
	return err
}

// listen opens the address of --listen, else demoListen, or a free port where that
// is taken.
func (f *demoFlags) listen() (net.Listener, error) {
	if f.Listen != "" {
		return listen("listen", f.Listen)
	}
	if l, err := listen("listen", demoListen); err == nil {
		return l, nil
	}
	return listen("listen", "127.0.0.1:0")
}

// demoRun is one play, from the first point to the last delivery.
type demoRun struct {
	show   *screen
	server *sandbox.Server
	step   time.Duration // of real time between two ticks of the fleet

	begin   time.Time     // of the fleet's time
	changes []fleetChange // that the function was told, in order
	points  int           // sent to the function
	echoes  int           // that came back

	shown atomic.Int64 // requests
	over  atomic.Bool  // what comes now is somebody else's
}

// run starts the function, plays the fleet to it, waits until every change has
// arrived, and ends the function.
func (d *demoRun) run(ctx context.Context, p Process, at net.Addr) error {
	outbox, err := os.MkdirTemp("", programName+"-demo-")
	if err != nil {
		return fmt.Errorf("make an outbox folder: %w", err)
	}
	defer os.RemoveAll(outbox)
	d.show.title(consoleURL(at), d.step)
	settings := map[string]string{
		"BIGPANDA_OUTBOX": outbox, "BIGPANDA_URL": strings.TrimSuffix(consoleURL(at), "/") + sandbox.Path,
		"BIGPANDA_TOKEN": demoToken, "BIGPANDA_APP_KEY": demoAppKey, "BIGPANDA_LOG_LEVEL": "warn",
	}
	err = d.speakTo(ctx, p, settings, func(ctx context.Context, in io.Writer) error {
		if err := d.play(ctx, in); err != nil {
			return fmt.Errorf("speak to the function: %w", err)
		}
		d.show.line("end", "of the fleet's points; what still waits is delivered")
		return d.server.WaitFor(ctx, func(s sandbox.Stats) bool { return s.Events-s.Duplicates >= len(d.changes) })
	})
	// A request is shown after its answer is written: the function may have
	// ended before that.
	for err == nil && int(d.shown.Load()) < d.server.Stats().Requests {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return err
}

// play sends the fleet's points, each at its time, and takes the API away for
// a while.
func (d *demoRun) play(ctx context.Context, in io.Writer) error {
	for _, first := range []*agent.Request{demoInfo, demoInit} {
		if err := agent.WriteMessage(first, in); err != nil {
			return err
		}
	}
	// Whole seconds, as BigPanda's timestamps are.
	d.begin = time.Now().Truncate(time.Second).Add(-fleetLength)
	levels := make(map[string]string)
	started := time.Now()
	for tick := 0; time.Duration(tick)*fleetTick <= fleetLength; tick++ {
		at := time.Duration(tick) * fleetTick
		select {
		case <-time.After(time.Until(started.Add(time.Duration(tick) * d.step))):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		d.show.clock(at)
		if err := d.outage(at); err != nil {
			return err
		}
		for _, h := range fleet {
			c, event, changed := h.evaluate(at, levels)
			if !event {
				continue
			}
			if changed {
				d.changes = append(d.changes, c)
				d.show.changed(c)
			}
			d.points++
			if err := agent.WriteMessage(c.point(d.begin), in); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *demoRun) outage(at time.Duration) error {
	switch at {
	case outageFrom:
		d.show.line("outage", d.show.paint("outage", "the API answers 503 from now on; the fleet goes on"))
		return d.server.SetFaults(sandbox.Faults{Status: 503})
	case outageTo:
		d.show.line("outage", d.show.paint("ok", "over: the API is back"))
		return d.server.SetFaults(sandbox.Faults{})
	}
	return nil
}

// answered is called for each request to the sandbox, from many goroutines.
func (d *demoRun) answered(q sandbox.Request) {
	defer d.shown.Add(1)
	if d.over.Load() {
		return
	}
	if q.Accepted == 0 {
		d.show.refused(q)
		return
	}
	for _, e := range d.server.Events() {
		if e.Seq >= q.FirstEvent && e.Seq < q.FirstEvent+uint64(q.Accepted) {
			d.show.delivered(e, q)
		}
	}
}

// result compares what arrived with what the function was told.
func (d *demoRun) result() demoResult {
	stats := d.server.Stats()
	r := demoResult{
		points: d.points, echoes: d.echoes, changes: len(d.changes),
		requests: stats.Requests, refused: stats.Statuses[503], duplicates: stats.Duplicates,
	}
	type change struct {
		status string
		at     time.Duration
	}
	arrived, told := make(map[string][]change), make(map[string][]change) // by host
	for _, e := range d.server.Events() {
		if !e.Duplicate {
			arrived[e.Title] = append(arrived[e.Title], change{e.Status, time.Unix(e.Timestamp, 0).Sub(d.begin)})
		}
	}
	for _, c := range d.changes {
		if want := (change{strings.ToLower(c.level), c.at}); slices.Contains(arrived[c.host], want) {
			told[c.host] = append(told[c.host], want)
			r.delivered++
		}
	}
	r.lost = r.changes - r.delivered
	r.inOrder = maps.EqualFunc(told, arrived, slices.Equal)
	return r
}

// demoResult is what the demo ends with.
type demoResult struct {
	points, echoes                       int
	changes, delivered, duplicates, lost int
	requests, refused                    int
	inOrder                              bool // and nothing else came
}
