package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A peer is this same program in function mode, as a child over pipes, and the
// demo is its Kapacitor.
type peer struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	buffer  []byte
	outbox  string // its folder

	returned     atomic.Int64 // points
	asked, alive atomic.Int64 // keepalives, and their answers
	// read is what ended the reading of answers, nil for the end of stdout. There is
	// no channel while nobody reads.
	read chan error
}

// startPeer starts the function with a clean set of settings. It is killed when
// ctx ends. Each line of its log goes to log.
func startPeer(ctx context.Context, url string, log func(line string)) (*peer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's file: %w", err)
	}
	folder, err := os.MkdirTemp("", programName+"-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the outbox: %w", err)
	}
	p := &peer{command: exec.CommandContext(ctx, program), outbox: folder}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BIGPANDA_") {
			p.command.Env = append(p.command.Env, v)
		}
	}
	p.command.Env = append(p.command.Env,
		"BIGPANDA_OUTBOX="+folder, "BIGPANDA_URL="+url, "BIGPANDA_TOKEN="+demoToken, "BIGPANDA_APP_KEY="+demoAppKey, "BIGPANDA_LOG_LEVEL=warn")
	p.command.Stderr = &lines{each: log}
	// The pipe of stderr ends with the process, or a moment after it.
	p.command.WaitDelay = time.Second
	out, err := p.command.StdoutPipe()
	if err == nil {
		p.in, err = p.command.StdinPipe()
	}
	if err == nil {
		err = p.command.Start()
	}
	if err != nil {
		os.RemoveAll(folder)
		return nil, fmt.Errorf("start the function: %w", err)
	}
	p.out = bufio.NewReader(out)
	return p, nil
}

// init asks for Info and Init, as Kapacitor does, and reads all answers from
// then on.
func (p *peer) init() error {
	if _, err := p.ask(&agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}}); err != nil {
		return p.explain(err)
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
		return p.explain(err)
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
	return answer, agent.ReadMessage(&p.buffer, p.out, answer)
}

// send writes a frame at once: frames in pieces would wake the child twice.
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
		err := agent.ReadMessage(&p.buffer, p.out, answer)
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
	err := errors.Join(p.in.Close(), <-p.read)
	p.read = nil
	if err := errors.Join(err, p.command.Wait()); err != nil {
		return fmt.Errorf("end the function: %w", err)
	}
	if asked, alive := p.asked.Load(), p.alive.Load(); asked != alive {
		return fmt.Errorf("the function answered %d of %d keepalives", alive, asked)
	}
	return nil
}

// explain returns err, and that the function has ended where that is the
// reason.
func (p *peer) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || strings.Contains(err.Error(), "broken pipe") {
		p.kill()
		return fmt.Errorf("the function ended early (%s): %w", p.command.ProcessState, err)
	}
	return err
}

// kill ends the function where it still runs, and removes its outbox. It may be
// called after end.
func (p *peer) kill() {
	defer os.RemoveAll(p.outbox)
	if p.command.ProcessState == nil {
		p.command.Process.Kill()
		if p.read != nil {
			<-p.read
		}
		p.command.Wait()
	}
}

// lines hands on each whole line that is written to it.
type lines struct {
	each func(line string)
	rest []byte
}

func (l *lines) Write(data []byte) (int, error) {
	l.rest = append(l.rest, data...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(data), nil
		}
		l.each(string(line))
		l.rest = rest
	}
}
