package wire

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// A recorder is a handler that writes down how it was called.
type recorder struct {
	silent   bool                // mirrors nothing
	fail     map[string]error    // errors to return, by event
	init     *agent.InitResponse // instead of success
	onEvent  func(event string)  // called after an event is written down
	snapshot []byte

	busy   atomic.Bool
	mu     sync.Mutex
	events []string
}

func (r *recorder) note(format string, args ...any) error {
	if !r.busy.CompareAndSwap(false, true) {
		panic("handler called while it was busy")
	}
	defer r.busy.Store(false)
	event := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.events = append(r.events, event)
	r.mu.Unlock()
	if r.onEvent != nil {
		r.onEvent(event)
	}
	return r.fail[event]
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// count returns how many events begin with prefix.
func (r *recorder) count(prefix string) int {
	n := 0
	for _, e := range r.seen() {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

func (r *recorder) Info() (*agent.InfoResponse, error) {
	return &agent.InfoResponse{Wants: agent.EdgeType_STREAM, Provides: agent.EdgeType_STREAM}, r.note("info")
}

func (r *recorder) Init(m *agent.InitRequest) (*agent.InitResponse, error) {
	err := r.note("init %s", m.TaskID)
	if r.init != nil {
		return r.init, err
	}
	return &agent.InitResponse{Success: true}, err
}

func (r *recorder) Snapshot() (*agent.SnapshotResponse, error) {
	return &agent.SnapshotResponse{Snapshot: r.snapshot}, r.note("snapshot")
}

func (r *recorder) Restore(m *agent.RestoreRequest) (*agent.RestoreResponse, error) {
	return &agent.RestoreResponse{Success: true}, r.note("restore %d", len(m.Snapshot))
}

func (r *recorder) BeginBatch(m *agent.BeginBatch) error { return r.note("begin %s", m.Name) }
func (r *recorder) Point(m *agent.Point) error           { return r.note("point %d", m.Time) }
func (r *recorder) EndBatch(m *agent.EndBatch) error     { return r.note("end %s", m.Name) }
func (r *recorder) Stop()                                { _ = r.note("stop") }
func (r *recorder) Mirrors() bool                        { return !r.silent }
func (r *recorder) Wants([]byte) bool                    { return true }
func (r *recorder) Commit()                              { _ = r.note("commit") }

// plain hides that a handler is a Mirror and a Committer.
type plain struct{ agent.Handler }

// Requests, as Kapacitor makes them.
var (
	info, keepalive, snapshot, restore = test.Info, test.Keepalive, test.Snapshot, test.Restore
	frames, framed                     = test.Frames, test.Framed
)

func initTask(task string) *agent.Request { return test.Init(task, "node") }

func begin(name string) *agent.Request {
	return &agent.Request{Message: &agent.Request_Begin{Begin: &agent.BeginBatch{Name: name, Size: 1}}}
}

func point(time int64) *agent.Request {
	return &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: time, Name: "cpu", Database: "telegraf", Group: "host=a",
		Tags:         map[string]string{"host": "a"},
		FieldsDouble: map[string]float64{"usage_user": 91.5},
		FieldsString: map[string]string{"message": "cpu is höt"},
	}}}
}

func end(name string) *agent.Request {
	return &agent.Request{Message: &agent.Request_End{End: &agent.EndBatch{Name: name}}}
}

// body returns a request without its length.
func body(req *agent.Request) []byte {
	b, err := proto.Marshal(req)
	if err != nil {
		panic(err)
	}
	return b
}

// answers returns responses as Run writes them.
func answers(all ...*agent.Response) []byte {
	var b []byte
	for _, res := range all {
		var err error
		if b, err = appendFrame(b, res); err != nil {
			panic(err)
		}
	}
	return b
}

// initDone is the answer to an Init that succeeded.
var initDone = &agent.Response{Message: &agent.Response_Init{Init: &agent.InitResponse{Success: true}}}

// points returns n point frames with times from 0.
func points(n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, frames(point(int64(i)))...)
	}
	return b
}

// responses reads out as Kapacitor does, and fails the test where it could not.
func responses(t testing.TB, out []byte) []*agent.Response {
	t.Helper()
	var all []*agent.Response
	var buf []byte
	r := bytes.NewReader(out)
	for r.Len() > 0 {
		res := &agent.Response{}
		if err := agent.ReadMessage(&buf, r, res); err != nil {
			t.Fatalf("output is not a stream of responses: %v", err)
		}
		all = append(all, res)
	}
	return all
}

// describe names responses briefly, in the manner of the recorder.
func describe(t testing.TB, out []byte) []string {
	t.Helper()
	var all []string
	for _, res := range responses(t, out) {
		switch m := res.Message.(type) {
		case *agent.Response_Info:
			all = append(all, "info")
		case *agent.Response_Init:
			all = append(all, fmt.Sprintf("init %t %s", m.Init.Success, m.Init.Error))
		case *agent.Response_Keepalive:
			all = append(all, fmt.Sprintf("keepalive %d", m.Keepalive.Time))
		case *agent.Response_Snapshot:
			all = append(all, fmt.Sprintf("snapshot %d", len(m.Snapshot.Snapshot)))
		case *agent.Response_Restore:
			all = append(all, fmt.Sprintf("restore %t %s", m.Restore.Success, m.Restore.Error))
		case *agent.Response_Error:
			all = append(all, "error "+m.Error.Error)
		case *agent.Response_Begin:
			all = append(all, "begin "+m.Begin.Name)
		case *agent.Response_Point:
			all = append(all, fmt.Sprintf("point %d", m.Point.Time))
		case *agent.Response_End:
			all = append(all, "end "+m.End.Name)
		default:
			t.Fatalf("response with no message")
		}
	}
	return all
}

// chunks is a reader that brings one chunk at each read.
type chunks [][]byte

func (c *chunks) Read(b []byte) (int, error) {
	if len(*c) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*c)[0])
	if (*c)[0] = (*c)[0][n:]; len((*c)[0]) == 0 {
		*c = (*c)[1:]
	}
	return n, nil
}

// serve runs h on in to its end and returns what came out, for which it waits
// however busy the machine is.
func serve(t testing.TB, h agent.Handler, in io.Reader) (out []byte, err error) {
	t.Helper()
	var b bytes.Buffer
	patient := defaultPace
	patient.grace = time.Minute
	err = run(t.Context(), h, in, &b, Options{}, patient)
	return b.Bytes(), err
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
