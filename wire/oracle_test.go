package wire

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

var full = flag.Bool("wire.full", false, "all seeds of the test that goes by chance")

// The stock agent is the oracle: whatever the input and the handler, Run asks
// the handler the same and says the same to Kapacitor. On the stock agent, a relay
// sends the data on, as Run does by itself.
//
// In the stock agent what the handler sends and what the agent answers come to
// the one writer over two channels, and that of the data has a place for one
// response: so an answer may overtake the last response that was sent before
// it. Run promises the order without that (package comment), so data and answers
// are compared each among themselves, and then each answer's place, give or take
// that one response.
//
// The texts of errors differ for input that cannot be trusted, and the stock
// agent goes on after an Init without Success, which therefore comes last here.
func TestRunSaysWhatTheStockAgentSays(t *testing.T) {
	t.Parallel()
	seeds := test.Volume(100, 30)
	if *full {
		seeds = 300
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := newScript(seed)
			stock, ours := newActor(s), newActor(s)
			stockOut, stockErr := s.onStockAgent(stock)
			ourOut, ourErr := s.onRun(t, ours)

			equal(t, "handler", ours.seen, stock.seen)
			switch {
			case (stockErr == nil) != (ourErr == nil):
				t.Errorf("Run returned %v, the stock agent %v", ourErr, stockErr)
			case s.fails != "" && !errors.Is(ourErr, errActor):
				t.Errorf("Run returned %v, want the handler's error", ourErr)
			}
			want, got := split(t, stockOut), split(t, ourOut)
			if s.broken {
				// One says what was wrong with the input in its own words.
				for _, o := range []*output{&want, &got} {
					last := o.answers[len(o.answers)-1].GetError()
					if last.GetError() == "" {
						t.Fatalf("the last answer is no error: %v", o.answers)
					}
					last.Error = ""
				}
			}
			same(t, "data", got.data, want.data)
			same(t, "answers", got.answers, want.answers)
			for i := range min(len(want.after), len(got.after)) {
				if early := got.after[i] - want.after[i]; early != 0 && early != 1 {
					t.Errorf("answer %d comes after %d responses, from the stock agent after %d", i, got.after[i], want.after[i])
				}
			}
			// Run's order is exact. Of keepalives the handler knows nothing.
			if own := got.afterOwn(); !slices.Equal(own, ours.answered) {
				t.Errorf("the handler's answers come after %d data frames, it gave them after %d", own, ours.answered)
			}
		})
	}
}

// onStockAgent returns what the stock agent says, and the error that it ends
// with.
func (s *script) onStockAgent(h *actor) ([]byte, error) {
	out := closer{closed: make(chan struct{})}
	a := agent.New(io.NopCloser(bytes.NewReader(s.input)), &out)
	a.Handler = relay{h, a.Responses}
	if err := a.Start(); err != nil {
		return nil, err
	}
	err := a.Wait()
	<-out.closed // after an error Wait does not wait for the last write
	return out.Bytes(), err
}

func (s *script) onRun(t *testing.T, h *actor) ([]byte, error) {
	return serve(t, h, &chopped{bytes.NewReader(s.input), rand.New(rand.NewPCG(s.seed, 3))})
}

// closer tells when it is closed.
type closer struct {
	bytes.Buffer
	closed chan struct{}
}

func (c *closer) Close() error {
	close(c.closed)
	return nil
}

// chopped brings its bytes in pieces of any size.
type chopped struct {
	io.Reader
	random *rand.Rand
}

func (c *chopped) Read(b []byte) (int, error) { return c.Reader.Read(b[:1+c.random.IntN(5000)]) }

// output is what a host said.
type output struct {
	data, answers []*agent.Response
	after         []int // how much data came before each answer
}

func split(t *testing.T, b []byte) output {
	t.Helper()
	var o output
	for _, res := range responses(t, b) {
		switch res.Message.(type) {
		case *agent.Response_Begin, *agent.Response_Point, *agent.Response_End:
			o.data = append(o.data, res)
		default:
			o.answers = append(o.answers, res)
			o.after = append(o.after, len(o.data))
		}
	}
	return o
}

// afterOwn is after of the answers that the handler gave.
func (o output) afterOwn() []int {
	var own []int
	for i, res := range o.answers {
		if res.GetKeepalive() == nil && res.GetError() == nil {
			own = append(own, o.after[i])
		}
	}
	return own
}

func same(t *testing.T, what string, got, want []*agent.Response) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d, from the stock agent %d", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !proto.Equal(got[i], want[i]) {
			t.Fatalf("%s: number %d is %v, from the stock agent %v", what, i, got[i], want[i])
		}
	}
}

// A script is what a random Kapacitor sends, and what a random handler makes of
// it.
type script struct {
	seed   uint64
	input  []byte
	fails  string // the event at which the handler returns an error
	broken bool   // the input ends with what is no frame
}

func newScript(seed uint64) *script {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &script{seed: seed}
	reqs := []*agent.Request{info(), initTask("cpu")}
	if r.IntN(2) == 0 {
		reqs = append(reqs, restore(bytes.Repeat([]byte("state"), r.IntN(50))))
	}
	n := r.IntN(200)
	for range n {
		switch k := r.IntN(20); {
		case k < 10:
			reqs = append(reqs, randomPoint(r))
		case k < 13:
			reqs = append(reqs, begin(fmt.Sprint("b", r.IntN(9))))
			for range r.IntN(5) {
				reqs = append(reqs, randomPoint(r))
			}
			reqs = append(reqs, &agent.Request{Message: &agent.Request_End{End: &agent.EndBatch{
				Name: "b", Group: "g", Tmax: r.Int64(), ByName: true, Tags: map[string]string{"host": "é", "x": ""}}}})
		case k < 16:
			reqs = append(reqs, keepalive(r.Int64()))
		case k < 18:
			reqs = append(reqs, snapshot())
		case k == 18:
			reqs = append(reqs, restore(make([]byte, r.IntN(1000))))
		default:
			reqs = append(reqs, []*agent.Request{info(), begin(""), end("alone")}[r.IntN(3)])
		}
	}
	s.input = frames(reqs...)
	switch r.IntN(6) {
	case 0:
		events := newActor(s)
		_, _ = s.onStockAgent(events) // which of them will come
		s.fails = events.seen[r.IntN(len(events.seen)-1)]
	case 1:
		s.broken = true
		good := frames(randomPoint(r))
		s.input = append(s.input, [][]byte{
			good[:1+r.IntN(len(good)-1)],                      // cut off
			framed([]byte("hello")),                           // no message
			framed(field(body(point(1)), 17, "\x12\x01\xff")), // no UTF-8
			bytes.Repeat([]byte{0xff}, 11),                    // no length
		}[r.IntN(4)]...)
	case 2:
		s.input = append(s.input, frames(initTask("refused"))...)
	}
	return s
}

func randomPoint(r *rand.Rand) *agent.Request {
	p := &agent.Point{Time: r.Int64() - r.Int64(), Name: []string{"", "cpu", "mém"}[r.IntN(3)], Group: "host=a", ByName: r.IntN(2) == 0}
	if r.IntN(4) > 0 {
		p.Database, p.RetentionPolicy, p.Dimensions = "telegraf", "autogen", []string{"host", "", "cpu"}[:r.IntN(4)]
		p.Tags = map[string]string{"host": "a", "": "none", "höst": ""}
		p.FieldsDouble = map[string]float64{"v": r.NormFloat64()}
		p.FieldsInt = map[string]int64{"n": r.Int64(), "zero": 0}
		p.FieldsString = map[string]string{"message": string(bytes.Repeat([]byte("x"), r.IntN(300)))}
		p.FieldsBool = map[string]bool{"on": true, "off": false}
	}
	return &agent.Request{Message: &agent.Request_Point{Point: p}}
}

var errActor = errors.New("it broke")

// An actor is a Mirror that plays a script's part: what it answers follows from
// the script, and from how often it was asked.
type actor struct {
	*script
	random   *rand.Rand
	seen     []string
	passed   int   // data frames that it took
	answered []int // how many those were before each answer that it gave
	kept     *agent.Point
}

func newActor(s *script) *actor { return &actor{script: s, random: rand.New(rand.NewPCG(s.seed, 2))} }

func (a *actor) Mirrors() bool     { return true }
func (a *actor) Wants([]byte) bool { return true }

// answer is do of a method that gives an answer.
func (a *actor) answer(method string, m proto.Message) error {
	err := a.do(method, m)
	if err == nil {
		a.answered = append(a.answered, a.passed)
	}
	return err
}

// take is do of a method that is given data.
func (a *actor) take(method string, m proto.Message) error {
	err := a.do(method, m)
	if err == nil {
		a.passed++
	}
	return err
}

// do writes down that a method was called, and now and then what a point of long
// ago says: still what it said.
func (a *actor) do(method string, m proto.Message) error {
	event := fmt.Sprintf("%d %s %s", len(a.seen), method, encoded(m)) // %q where it is shown
	if a.random.IntN(8) == 0 && a.kept != nil {
		event += fmt.Sprintf(", kept %s", encoded(a.kept))
	}
	a.seen = append(a.seen, event)
	if event == a.fails {
		return errActor
	}
	return nil
}

func encoded(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// Now and then an answer is missing, which the stock agent takes for an empty
// one.
func (a *actor) missing() bool { return a.random.IntN(10) == 0 }

func (a *actor) Info() (*agent.InfoResponse, error) {
	err := a.answer("info", nil)
	if a.missing() {
		return nil, err
	}
	return &agent.InfoResponse{Wants: agent.EdgeType_STREAM, Provides: agent.EdgeType_BATCH, Options: map[string]*agent.OptionInfo{
		"field": {ValueTypes: []agent.ValueType{agent.ValueType_STRING, agent.ValueType_INT}}, "none": {}}}, err
}

func (a *actor) Init(m *agent.InitRequest) (*agent.InitResponse, error) {
	err := a.answer("init", m)
	if m.TaskID == "refused" {
		return &agent.InitResponse{Error: "no app key: set .appKey()"}, err
	}
	return &agent.InitResponse{Success: true}, err
}

func (a *actor) Snapshot() (*agent.SnapshotResponse, error) {
	err := a.answer("snapshot", nil)
	if a.missing() {
		return nil, err
	}
	return &agent.SnapshotResponse{Snapshot: fmt.Append(nil, len(a.seen))}, err
}

func (a *actor) Restore(m *agent.RestoreRequest) (*agent.RestoreResponse, error) {
	err := a.answer("restore", m)
	if a.missing() {
		return nil, err
	}
	return &agent.RestoreResponse{Success: a.random.IntN(2) == 0, Error: "it is old"}, err
}

func (a *actor) BeginBatch(m *agent.BeginBatch) error { return a.take("begin", m) }

func (a *actor) Point(m *agent.Point) error {
	if a.random.IntN(5) == 0 {
		a.kept = m
	}
	return a.take("point", m)
}

func (a *actor) EndBatch(m *agent.EndBatch) error { return a.take("end", m) }
func (a *actor) Stop()                            { _ = a.do("stop", nil) }

// A relay is an actor that sends on what it takes: the stock agent knows no Mirror.
type relay struct {
	*actor
	responses chan<- *agent.Response
}

func (r relay) BeginBatch(m *agent.BeginBatch) error {
	return r.send(&agent.Response{Message: &agent.Response_Begin{Begin: m}}, r.actor.BeginBatch(m))
}

func (r relay) Point(m *agent.Point) error {
	return r.send(&agent.Response{Message: &agent.Response_Point{Point: m}}, r.actor.Point(m))
}

func (r relay) EndBatch(m *agent.EndBatch) error {
	return r.send(&agent.Response{Message: &agent.Response_End{End: m}}, r.actor.EndBatch(m))
}

func (r relay) send(res *agent.Response, err error) error {
	if err == nil {
		r.responses <- res
	}
	return err
}

func (r relay) Stop() {
	r.actor.Stop()
	close(r.responses)
}
