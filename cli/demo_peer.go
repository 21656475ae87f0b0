package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A peer is this same program in function mode, over pipes, and the demo is its
// Kapacitor.
type peer struct {
	in     *io.PipeWriter
	out    *io.PipeReader
	frames *bufio.Reader // of out
	buffer []byte
	outbox string   // its folder
	ended  chan int // its exit code

	returned     atomic.Int64 // points
	asked, alive atomic.Int64 // keepalives, and their answers
	// read is what ended the reading of answers, nil for the end of stdout. There is
	// no channel while nobody reads.
	read chan error
}

// startPeer starts the function with a clean set of settings. It stops when ctx ends.
func startPeer(ctx context.Context, p Process, url string, log io.Writer) (*peer, error) {
	folder, err := os.MkdirTemp("", programName+"-demo-")
	if err != nil {
		return nil, fmt.Errorf("make an outbox folder: %w", err)
	}
	settings := map[string]string{
		"BIGPANDA_OUTBOX": folder, "BIGPANDA_URL": url, "BIGPANDA_TOKEN": demoToken, "BIGPANDA_APP_KEY": demoAppKey, "BIGPANDA_LOG_LEVEL": "warn",
	}
	p.Args, p.Stderr = nil, log
	p.IsTerminal = func(any) bool { return false }
	p.LookupEnv = func(name string) (string, bool) { text, ok := settings[name]; return text, ok }
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	p.Stdin, p.Stdout = stdin, stdout
	function := &peer{in: in, out: out, frames: bufio.NewReader(out), outbox: folder, ended: make(chan int, 1)}
	go func() {
		code := Run(ctx, p)
		stdin.Close()
		stdout.Close()
		function.ended <- code
	}()
	return function, nil
}

// init asks for Info and Init, as Kapacitor does, and reads all answers from
// then on.
func (p *peer) init() error {
	if _, err := p.ask(&agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}}); err != nil {
		return err
	}
	set := func(option string, value string) *agent.Option {
		return &agent.Option{Name: option, Values: []*agent.OptionValue{{
			Type: agent.ValueType_STRING, Value: &agent.OptionValue_StringValue{StringValue: value},
		}}}
	}
	answer, err := p.ask(&agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{
		TaskID: "cpu", NodeID: "bigpanda2",
		Options: []*agent.Option{
			set("levelField", "level"), set("idTag", "alertID"), set("messageField", "message"), set("durationField", "duration"),
		},
	}}})
	if err != nil {
		return err
	}
	if r := answer.GetInit(); r == nil || !r.Success {
		return fmt.Errorf("the function refused Init: %s", r.GetError())
	}
	p.read = make(chan error, 1)
	go func() { p.read <- p.readAnswers() }()
	return nil
}

func (p *peer) ask(r *agent.Request) (*agent.Response, error) {
	if err := p.send(r); err != nil {
		return nil, err
	}
	answer := new(agent.Response)
	return answer, agent.ReadMessage(&p.buffer, p.frames, answer)
}

// send writes a frame at once: frames in pieces would wake the function twice.
func (p *peer) send(r *agent.Request) error {
	var frame bytes.Buffer
	if err := agent.WriteMessage(r, &frame); err != nil {
		return err
	}
	_, err := p.in.Write(frame.Bytes())
	return err
}

func (p *peer) keepalive() error {
	p.asked.Add(1)
	return p.send(&agent.Request{Message: &agent.Request_Keepalive{Keepalive: &agent.KeepaliveRequest{Time: time.Now().UnixNano()}}})
}

// point sends what |alert() passes on for a host's evaluation.
func (p *peer) point(c fleetChange, begin time.Time) error {
	return p.send(&agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: begin.Add(c.at).UnixNano(), Name: "cpu", Database: "telegraf", RetentionPolicy: "autogen",
		Group: "host=" + c.host, Dimensions: []string{"host"},
		Tags:         map[string]string{"host": c.host, "alertID": "cpu load"},
		FieldsDouble: map[string]float64{"usage": c.load},
		FieldsString: map[string]string{
			"level":   c.level,
			"message": fmt.Sprintf("CPU load of %s is %s: %.1f %%", c.host, c.level, c.load),
		},
		FieldsInt: map[string]int64{"duration": int64(c.at)},
	}}})
}

// readAnswers counts what comes until the function closes its stdout.
func (p *peer) readAnswers() error {
	for {
		answer := new(agent.Response)
		err := agent.ReadMessage(&p.buffer, p.frames, answer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch m := answer.Message.(type) {
		case *agent.Response_Point:
			p.returned.Add(1)
		case *agent.Response_Keepalive:
			p.alive.Add(1)
		case *agent.Response_Error:
			return fmt.Errorf("the function failed: %s", m.Error.GetError())
		}
	}
}

func (p *peer) echoes() int { return int(p.returned.Load()) }

// end closes the function's stdin, as Kapacitor does to stop a task, and waits
// for its end.
func (p *peer) end() error {
	p.in.Close()
	err := <-p.read
	p.read = nil
	if err == nil && <-p.ended != exitOK {
		err = errors.New("see its log above")
	}
	if err != nil {
		return fmt.Errorf("end the function: %w", err)
	}
	p.ended = nil
	if asked, alive := p.asked.Load(), p.alive.Load(); asked != alive {
		return fmt.Errorf("the function answered %d of %d keepalives", alive, asked)
	}
	return nil
}

// stop ends the function where it still runs, and removes its outbox. It may be
// called after end.
func (p *peer) stop() {
	p.in.Close()
	p.out.Close()
	if p.read != nil {
		<-p.read
	}
	if p.ended != nil {
		<-p.ended
	}
	os.RemoveAll(p.outbox)
}
