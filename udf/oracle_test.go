package udf_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The function on package wire, which shows it most points as bytes only, does
// what it does on Kapacitor's own agent, which decodes each: the same answers,
// alerts, levels, snapshots and counts, and each point goes on.
func TestFunctionDoesTheSameOnTheStockAgent(t *testing.T) {
	t.Parallel()
	var lastSnapshot []byte
	step := 3 // of the eight kinds of a session, and of its lengths, none is left out
	if *udf.Full {
		step = 1
	}
	for seed := 0; seed < 250; seed += step {
		s := newSession(t, byte(seed), lastSnapshot)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			theirs, ours := s.rig(t), s.rig(t)
			stock := readOutput(t, s.onStockAgent(t, theirs))
			points, out := s.onWire(t, ours)
			wires := readOutput(t, out)

			if s.broken {
				for _, o := range []*spoken{&stock, &wires} {
					last := o.answers[len(o.answers)-1].GetError()
					if last.GetError() == "" {
						t.Fatalf("the last answer is no error: %v", o.answers)
					}
					last.Error = "" // each host has its own words
				}
			}
			wantSameResponses(t, "answers", wires.answers, stock.answers)
			wantSameResponses(t, "data", wires.data, stock.data)
			if !s.passes {
				s.data = nil
				clear(s.after)
			}
			if !bytes.Equal(wires.raw, s.data) {
				t.Errorf("of %d bytes of data %d went on, or not as they came", len(s.data), len(wires.raw))
			}
			if !slices.Equal(wires.after, s.after) {
				t.Errorf("the answers come after %d messages of data, want %d", wires.after, s.after)
			}
			wantSameAlerts(t, ours, theirs)
			if a, b := ours.store.levels(), theirs.store.levels(); !maps.Equal(a, b) {
				t.Errorf("levels kept are %v, with the stock agent %v", a, b)
			}
			if a, b := s.counts(ours), s.counts(theirs); a != b {
				t.Errorf("the log ends with %q, with the stock agent %q", a, b)
			}
			if points > s.odd {
				t.Errorf("%d points were decoded, of which %d can have been necessary", points, s.odd)
			}
			ours.wantLogged(0, "please report this")
			lastSnapshot = ours.snapshot()
		})
	}
}

// counts is the line with which the log ends. A point with a tag twice has the
// same id as the decoded one, but its template is rendered, and may fail, for
// each of the two.
func (s *session) counts(r *rig) string {
	line := lastLine(r)
	if s.odd > 0 {
		line = regexp.MustCompile("failed_templates=[0-9]+ ").ReplaceAllString(line, "")
	}
	return line
}

// A session is what a random Kapacitor sends to a random use of @bigpanda().
type session struct {
	options   []*agent.Option
	forgetful bool // the outbox ends with the process
	input     []byte
	random    *rand.Rand

	passes bool   // points go on
	data   []byte // the frames of it that do, in order
	after  []int  // how many of them come before each answer
	odd    int    // points that need decoding for how they are written
	broken bool   // the input ends with a point that cannot be read
}

func newSession(t *testing.T, seed byte, lastSnapshot []byte) *session {
	choices := make(input, 100+int(seed)*12)
	source := rand.NewChaCha8([32]byte{seed, 4})
	_, _ = source.Read(choices)
	s := &session{random: rand.New(source), forgetful: seed%2 == 0, passes: true}
	for _, o := range choices.options() {
		with := append(slices.Clone(s.options), o)
		if marshal(initWith(with)) != nil && newRig(t).tryInit(with...) == "" {
			s.options = with
		}
	}
	if seed%8 == 7 {
		s.options = append(s.options, opt("passThrough", false))
		s.passes = false
	}
	s.ask(&agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}})
	s.ask(initWith(s.options))
	switch s.random.IntN(3) {
	case 0:
		s.ask(&agent.Request{Message: &agent.Request_Restore{Restore: &agent.RestoreRequest{Snapshot: lastSnapshot}}})
	case 1:
		s.ask(&agent.Request{Message: &agent.Request_Restore{Restore: &agent.RestoreRequest{Snapshot: []byte("{")}}})
	}
	odd := oddPoints()
	names := slices.Sorted(maps.Keys(odd))
	for len(choices) > 0 {
		switch s.random.IntN(12) {
		case 0:
			s.ask(&agent.Request{Message: &agent.Request_Keepalive{Keepalive: &agent.KeepaliveRequest{Time: s.random.Int64()}}})
		case 1:
			s.ask(&agent.Request{Message: &agent.Request_Snapshot{Snapshot: &agent.SnapshotRequest{}}})
		case 2:
			s.frame(marshal(&agent.Request{Message: &agent.Request_Begin{Begin: &agent.BeginBatch{Name: "b", Tags: map[string]string{"host": "é"}}}}))
		case 3:
			s.frame(marshal(&agent.Request{Message: &agent.Request_End{End: &agent.EndBatch{Name: "b", Tmax: s.random.Int64()}}}))
		case 4:
			if b := odd[names[s.random.IntN(len(names))]]; readable(b) {
				s.frame(textPart(pointNumber, string(b)))
				s.odd++
			}
		default:
			if b := marshal(&agent.Request{Message: &agent.Request_Point{Point: choices.point()}}); b != nil {
				s.frame(b)
			}
		}
	}
	if seed%8 == 3 {
		s.broken = true
		s.after = append(s.after, len(s.frames()))
		b := textPart(pointNumber, string(slices.Concat(stringPart("level", "CRITICAL"), textPart(pointGroup, "\xff"))))
		s.input = append(binary.AppendUvarint(s.input, uint64(len(b))), b...)
	}
	return s
}

// pointNumber is the field number of a point in a request and a response.
const pointNumber protowire.Number = 17

func initWith(options []*agent.Option) *agent.Request {
	return &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "task", NodeID: "node", Options: options}}}
}

// marshal returns nil for a text that is no UTF-8: Kapacitor could not send it.
func marshal(r *agent.Request) []byte {
	b, err := proto.Marshal(r)
	if err != nil {
		return nil
	}
	return b
}

func readable(point []byte) bool { return proto.Unmarshal(point, new(agent.Point)) == nil }

// frame adds a message of data to the input.
func (s *session) frame(body []byte) {
	frame := append(binary.AppendUvarint(nil, uint64(len(body))), body...)
	s.input = append(s.input, frame...)
	s.data = append(s.data, frame...)
}

// ask adds a request to the input that will be answered.
func (s *session) ask(r *agent.Request) {
	s.after = append(s.after, len(s.frames()))
	b := marshal(r)
	s.input = append(append(s.input, binary.AppendUvarint(nil, uint64(len(b)))...), b...)
}

func (s *session) frames() [][]byte { return cutFrames(s.data) }

// cutFrames returns the frames of a stream.
func cutFrames(b []byte) (all [][]byte) {
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		all = append(all, b[:n+int(size)])
		b = b[n+int(size):]
	}
	return all
}

func (s *session) rig(t *testing.T) *rig {
	return newRig(t, func(c *udf.Config) {
		open := c.Open
		c.Open = func(u udf.Use) (udf.Store, error) {
			store, err := open(u)
			if s.forgetful {
				store = undelivered{store.(*fakeStore)}
			}
			return store, err
		}
	})
}

// undelivered is a store that ends with the process, and delivers nothing.
type undelivered struct{ *fakeStore }

func (u undelivered) Undelivered() []outbox.Change {
	var newest []outbox.Change
	for i, c := range u.changes {
		if !slices.ContainsFunc(u.changes[i+1:], func(later change) bool { return later.Alert == c.Alert }) {
			newest = append(newest, c.Change)
		}
	}
	return newest
}

// levels are what is kept, by series, in no order: that of what a snapshot
// restored is chance.
func (s *fakeStore) levels() map[string]string {
	all := make(map[string]string)
	for _, l := range s.kept {
		all[l.Key] = string(l.Value)
	}
	return all
}

// onWire returns how many points were decoded, and what came out.
func (s *session) onWire(t *testing.T, r *rig) (points int, out []byte) {
	h := &counting{Handler: r.h}
	var b bytes.Buffer
	err := wire.Run(t.Context(), h, &chopped{bytes.NewReader(s.input), s.random}, &b, wire.Options{})
	if (err != nil) != s.broken {
		t.Errorf("Run returned %v", err)
	}
	return h.points, b.Bytes()
}

// counting counts the points that were decoded.
type counting struct {
	*udf.Handler
	points int
}

func (c *counting) Point(p *agent.Point) error {
	c.points++
	return c.Handler.Point(p)
}

// chopped brings its bytes in pieces of any size.
type chopped struct {
	io.Reader
	random *rand.Rand
}

func (c *chopped) Read(b []byte) (int, error) { return c.Reader.Read(b[:1+c.random.IntN(3000)]) }

func (s *session) onStockAgent(t *testing.T, r *rig) []byte {
	out := &closer{closed: make(chan struct{})}
	a := agent.New(io.NopCloser(bytes.NewReader(s.input)), out)
	a.Handler = &relay{Handler: r.h, responses: a.Responses}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(); (err != nil) != s.broken {
		t.Errorf("the stock agent ended with %v", err)
	}
	<-out.closed // after an error Wait does not wait for the last write
	return out.Bytes()
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

// A relay is a udf.Handler as the stock agent can serve it: it commits each
// point and each batch, and hands it back itself.
type relay struct {
	*udf.Handler
	responses chan<- *agent.Response
	passes    bool
}

func (r *relay) Init(m *agent.InitRequest) (*agent.InitResponse, error) {
	res, err := r.Handler.Init(m)
	r.passes = r.Mirrors()
	return res, err
}

func (r *relay) Point(p *agent.Point) error {
	err := r.Handler.Point(p)
	r.Commit()
	r.pass(&agent.Response{Message: &agent.Response_Point{Point: p}})
	return err
}

func (r *relay) BeginBatch(m *agent.BeginBatch) error {
	r.pass(&agent.Response{Message: &agent.Response_Begin{Begin: m}})
	return r.Handler.BeginBatch(m)
}

func (r *relay) EndBatch(m *agent.EndBatch) error {
	err := r.Handler.EndBatch(m)
	r.Commit()
	r.pass(&agent.Response{Message: &agent.Response_End{End: m}})
	return err
}

func (r *relay) pass(res *agent.Response) {
	if r.passes {
		r.responses <- res
	}
}

func (r *relay) Stop() {
	r.Handler.Stop()
	close(r.responses)
}

// spoken is what a host said. Data and answers are apart: on the stock agent an
// answer may overtake the message of data that was sent last before it.
type spoken struct {
	data, answers []*agent.Response
	raw           []byte // the frames of data
	after         []int  // how many of them came before each answer
}

func readOutput(t *testing.T, out []byte) spoken {
	t.Helper()
	var s spoken
	for _, frame := range cutFrames(out) {
		res := new(agent.Response)
		_, n := binary.Uvarint(frame)
		if err := proto.Unmarshal(frame[n:], res); err != nil {
			t.Fatalf("Kapacitor could not read the output: %v", err)
		}
		switch res.Message.(type) {
		case *agent.Response_Begin, *agent.Response_Point, *agent.Response_End:
			s.data = append(s.data, res)
			s.raw = append(s.raw, frame...)
		default:
			s.answers = append(s.answers, res)
			s.after = append(s.after, len(s.data))
		}
	}
	return s
}

func wantSameResponses(t *testing.T, what string, got, want []*agent.Response) {
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

// A text that is no UTF-8 would make Kapacitor refuse the whole stream, so it
// is refused here, wherever it is in a point.
func TestTextThatIsNoUTF8IsRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []struct{ name, text string }{
		{"a byte", "\xff"},
		{"a character that is cut off", "caf\xc3"},
		{"half of a character at the start", "\xa9 cafe"},
		{"a long text", strings.Repeat("x", 200) + "\xff" + strings.Repeat("x", 200)},
	} {
		good := slices.Concat(stringPart("level", "OK"), textPart(pointName, "cpu"))
		for place, b := range map[string][]byte{
			"name":             textPart(pointName, bad.text),
			"database":         textPart(pointDatabase, bad.text),
			"retention policy": textPart(pointRetentionPolicy, bad.text),
			"group":            textPart(pointGroup, bad.text),
			"dimension":        slices.Concat(textPart(pointDimensions, "host"), textPart(pointDimensions, bad.text)),
			"tag":              tagPart(bad.text, "x"),
			"tag value":        tagPart("x", bad.text),
			"string":           stringPart(bad.text, "x"),
			"string value":     stringPart("x", bad.text),
			"double":           entryPart(pointFieldsDouble, textPart(1, bad.text), doublePart(2, 1.5)),
			"integer":          entryPart(pointFieldsInt, textPart(1, bad.text), numberPart(2, 300)),
			"bool":             entryPart(pointFieldsBool, textPart(1, bad.text), numberPart(2, 1)),
			"level":            stringPart("level", bad.text),
			"id":               tagPart("alertID", bad.text),
		} {
			for order, point := range map[string][]byte{
				"first": slices.Concat(b, good), "last": slices.Concat(good, b), "between": slices.Concat(good, b, good),
			} {
				t.Run(bad.name+"/"+place+"/"+order, func(t *testing.T) {
					s := new(session)
					s.ask(initWith(nil))
					s.frame(textPart(pointNumber, string(good)))
					sound := bytes.Clone(s.data)
					s.frame(textPart(pointNumber, string(point)))
					var out bytes.Buffer
					err := wire.Run(t.Context(), newRig(t).h, bytes.NewReader(s.input), &out, wire.Options{})
					if err == nil || !regexp.MustCompile("^decode frame 3: .*invalid UTF-8").MatchString(err.Error()) {
						t.Errorf("Run returned %v", err)
					}
					got := readOutput(t, out.Bytes())
					if !bytes.Equal(got.raw, sound) {
						t.Errorf("%q went on", got.raw)
					}
					if last := got.answers[len(got.answers)-1].GetError().GetError(); !strings.Contains(last, "invalid UTF-8") {
						t.Errorf("Kapacitor is told %q", last)
					}
				})
			}
		}
	}
}
