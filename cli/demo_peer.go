package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
	"golang.org/x/sync/errgroup"
)

// speakTo runs this same program in function mode, with a clean set of settings, over
// pipes of which the demo is the Kapacitor: send writes its requests until it returns,
// which ends the function as the end of a task does. The first error ends it, too.
func (d *demoRun) speakTo(ctx context.Context, p Process, settings map[string]string, send func(ctx context.Context, in io.Writer) error) error {
	p.Args, p.Stderr = nil, d.show
	p.IsTerminal = func(any) bool { return false }
	p.LookupEnv = func(name string) (string, bool) { text, ok := settings[name]; return text, ok }
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	p.Stdin, p.Stdout = stdin, stdout
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		defer stdin.Close()
		defer stdout.Close()
		if Run(ctx, p) != exitOK {
			return errors.New("the function failed: see its log above")
		}
		return nil
	})
	all.Go(func() error {
		defer out.Close()
		return d.readAnswers(bufio.NewReader(out))
	})
	all.Go(func() error {
		defer in.Close()
		return send(ctx, in)
	})
	return all.Wait()
}

// readAnswers counts the points that come until the function closes its stdout.
func (d *demoRun) readAnswers(frames *bufio.Reader) error {
	var buffer []byte
	for {
		answer := new(agent.Response)
		err := agent.ReadMessage(&buffer, frames, answer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the function's answers: %w", err)
		}
		switch m := answer.Message.(type) {
		case *agent.Response_Point:
			d.echoes++
		case *agent.Response_Init:
			if !m.Init.Success {
				return fmt.Errorf("the function refused Init: %s", m.Init.Error)
			}
		case *agent.Response_Error:
			return fmt.Errorf("the function failed: %s", m.Error.Error)
		}
	}
}

// What Kapacitor asks for first.
var (
	demoInfo = &agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}}
	demoInit = &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "cpu", NodeID: "bigpanda2"}}}
)

// point is what |alert() passes on for a host's evaluation.
func (c fleetChange) point(begin time.Time) *agent.Request {
	return &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: begin.Add(c.at).UnixNano(), Name: "cpu", Database: "telegraf", RetentionPolicy: "autogen",
		Group: "host=" + c.host, Dimensions: []string{"host"},
		Tags:         map[string]string{"host": c.host, "alertID": "cpu load"},
		FieldsDouble: map[string]float64{"usage": c.load},
		FieldsString: map[string]string{
			"level":   c.level,
			"message": fmt.Sprintf("CPU load of %s is %s: %.1f %%", c.host, c.level, c.load),
		},
		FieldsInt: map[string]int64{"duration": int64(c.at)},
	}}}
}
