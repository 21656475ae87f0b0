package e2e

import (
	"fmt"
	"io"
	"os"

	"github.com/influxdata/kapacitor/udf/agent"
)

// asMirror in the environment makes the test binary a function that hands every
// point back, so that Kapacitor can start one with no further program built.
const asMirror = "BIGPANDA_UDF_E2E_MIRROR"

// What asMirror may be.
const (
	stockAgent = "stock" // the mirror on Kapacitor's own agent
	rawCopier  = "raw"   // one goroutine that reads and writes bytes: the best there could be
)

// mirrorConfig is the section of a mirror in a configuration.
func mirrorConfig(kind string) (map[string]any, error) {
	program, err := os.Executable()
	return map[string]any{
		"prog":    program,
		"timeout": "10s",
		"env":     map[string]string{asMirror: kind},
	}, err
}

// runMirror is a mirror's process; it returns the exit code.
func runMirror(kind string) int {
	if kind == rawCopier {
		if err := copyRaw(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "mirror:", err)
			return 1
		}
		return 0
	}
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

// copyRaw answers Info and Init, and copies what follows: the bytes of a point,
// of a keepalive and of a snapshot are valid as the answer to it
// (udf/agent/udf.proto).
func copyRaw(in io.Reader, out io.Writer) error {
	m := &mirror{}
	for from := (agent.ByteReadReader)(oneByOne{in}); ; {
		var request agent.Request
		var buffer []byte
		if err := agent.ReadMessage(&buffer, from, &request); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		response := new(agent.Response)
		switch r := request.Message.(type) {
		case *agent.Request_Info:
			info, _ := m.Info()
			response.Message = &agent.Response_Info{Info: info}
		case *agent.Request_Init:
			initialised, _ := m.Init(r.Init)
			response.Message = &agent.Response_Init{Init: initialised}
		case *agent.Request_Keepalive:
			response.Message = &agent.Response_Keepalive{Keepalive: &agent.KeepaliveResponse{Time: r.Keepalive.Time}}
		}
		if err := agent.WriteMessage(response, out); err != nil {
			return err
		}
		if response.GetInit() != nil {
			break
		}
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := in.Read(buffer)
		if _, err := out.Write(buffer[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// oneByOne reads no more than it is asked for.
type oneByOne struct{ io.Reader }

func (o oneByOne) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o, b[:])
	return b[0], err
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
