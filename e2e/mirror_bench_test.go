package e2e

import (
	"fmt"
	"os"

	"github.com/influxdata/kapacitor/udf/agent"
)

// asMirror in the environment makes the test binary a function that hands every
// point back, so that Kapacitor can start one with no further program built.
const asMirror = "BIGPANDA_UDF_E2E_MIRROR"

// mirrorConfig is the mirror's section of a configuration.
func mirrorConfig() (map[string]any, error) {
	program, err := os.Executable()
	return map[string]any{
		"prog":    program,
		"timeout": "10s",
		"env":     map[string]string{asMirror: "1"},
	}, err
}

// runMirror is the mirror on Kapacitor's own agent; it returns the exit code.
func runMirror() int {
	a := agent.New(os.Stdin, os.Stdout)
	a.Handler = &mirror{a.Responses}
	err := a.Start()
	if err == nil {
		err = a.Wait()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mirror:", err)
		return 1
	}
	return 0
}

type mirror struct{ responses chan<- *agent.Response }

func (*mirror) Info() (*agent.InfoResponse, error) {
	return &agent.InfoResponse{Wants: agent.EdgeType_STREAM, Provides: agent.EdgeType_STREAM}, nil
}

func (*mirror) Init(*agent.InitRequest) (*agent.InitResponse, error) {
	return &agent.InitResponse{Success: true}, nil
}

func (*mirror) Snapshot() (*agent.SnapshotResponse, error) { return &agent.SnapshotResponse{}, nil }

func (*mirror) Restore(*agent.RestoreRequest) (*agent.RestoreResponse, error) {
	return &agent.RestoreResponse{Success: true}, nil
}

func (*mirror) BeginBatch(*agent.BeginBatch) error { return nil }
func (*mirror) EndBatch(*agent.EndBatch) error     { return nil }
func (m *mirror) Stop()                            { close(m.responses) }

func (m *mirror) Point(p *agent.Point) error {
	m.responses <- &agent.Response{Message: &agent.Response_Point{Point: p}}
	return nil
}
