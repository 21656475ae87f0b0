package udf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/tick"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// What the host of a handler looks for.
var (
	_ agent.Handler  = (*udf.Handler)(nil)
	_ wire.Mirror    = (*udf.Handler)(nil)
	_ wire.Committer = (*udf.Handler)(nil)
)

// epoch is when the points of most tests begin, in Unix seconds.
const epoch = 1_700_000_000

// rig is one handler and all that it is made of.
type rig struct {
	t      testing.TB
	h      *udf.Handler
	store  *fakeStore
	log    *bytes.Buffer
	now    time.Time
	frozen bool     // the clock is, whatever the points say
	opened []string // "task/node" of each Open
	use    udf.Use  // of the last one
}

// newRig makes a handler with an app key, a new and empty store, both kinds of
// automatic attributes, and a clock that is at epoch until points are later.
func newRig(t testing.TB, change ...func(*udf.Config)) *rig {
	t.Helper()
	r := &rig{t: t, store: &fakeStore{t: t, isNew: true}, log: new(bytes.Buffer), now: time.Unix(epoch, 0)}
	c := udf.Config{
		Defaults: udf.Defaults{AppKey: "key", AutoAttributes: "tags,fields"},
		Enabled:  true,
		Open: func(u udf.Use) (udf.Store, error) {
			r.use = u
			r.opened = append(r.opened, u.Task+"/"+u.Node)
			return r.store, nil
		},
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Now: func() time.Time { return r.now },
	}
	for _, f := range change {
		f(&c)
	}
	r.h = udf.New(c)
	return r
}

// start is newRig after an Init with the options that succeeded.
func start(t testing.TB, options ...*agent.Option) *rig {
	t.Helper()
	return newRig(t).init(options...)
}

func (r *rig) init(options ...*agent.Option) *rig {
	r.t.Helper()
	if failure := r.tryInit(options...); failure != "" {
		r.t.Fatalf("Init failed: %s", failure)
	}
	return r
}

// tryInit returns the error that the answer holds, if any.
func (r *rig) tryInit(options ...*agent.Option) string {
	r.t.Helper()
	res, err := r.h.Init(&agent.InitRequest{TaskID: "task", NodeID: "node", Options: options})
	if err != nil {
		r.t.Fatalf("Init returned an error instead of an answer: %v", err)
	}
	if res.Success == (res.Error != "") {
		r.t.Fatalf("Init answered success=%v and error %q", res.Success, res.Error)
	}
	return res.Error
}

// send hands over the points as one piece of input, and returns its changes.
func (r *rig) send(points ...pt) []change {
	r.t.Helper()
	before := len(r.store.changes)
	for _, p := range points {
		r.clock(p.message().Time)
	}
	for _, p := range points {
		r.point(p)
	}
	r.h.Commit()
	return r.store.changes[before:]
}

// clock is where a point's time, in Unix nanoseconds, finds the clock.
func (r *rig) clock(t int64) {
	if at := time.Unix(0, t); at.After(r.now) && !r.frozen {
		r.now = at
	}
}

func (r *rig) point(p pt) {
	r.t.Helper()
	r.message(p.message())
}

// message hands over a point as package wire does: its bytes first, and the
// point only if they change something.
func (r *rig) message(p *agent.Point) {
	r.t.Helper()
	r.clock(p.Time)
	b, err := proto.Marshal(p)
	if err == nil && !r.h.Wants(b) {
		return
	}
	if err := r.h.Point(p); err != nil {
		r.t.Fatalf("Point failed, which ends the process (P1): %v", err)
	}
}

// one sends a point that must make exactly one change.
func (r *rig) one(p pt) change {
	r.t.Helper()
	changes := r.send(p)
	if len(changes) != 1 {
		r.t.Fatalf("%d changes of one point, want 1", len(changes))
	}
	return changes[0]
}

// logged counts the lines of the log that hold all of the texts.
func (r *rig) logged(texts ...string) int {
	n := 0
lines:
	for line := range strings.Lines(r.log.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

func (r *rig) wantLogged(want int, texts ...string) {
	r.t.Helper()
	if n := r.logged(texts...); n != want {
		r.t.Errorf("%d log lines with %q, want %d; the log:\n%s", n, texts, want, r.log)
	}
}

// pt is a point as a test writes it. Time is in nanoseconds after epoch.
type pt struct {
	time   time.Duration
	name   string // "cpu" unless set
	group  string
	tags   map[string]string
	fields map[string]any
	by     []string // the group's tags; group, unless set, is made of them
	byName bool     // and of the name
}

func (p pt) message() *agent.Point {
	m := &agent.Point{
		Time: int64(epoch*time.Second) + int64(p.time), Name: p.name, Group: p.group, Tags: maps.Clone(p.tags),
		FieldsString: map[string]string{}, FieldsDouble: map[string]float64{},
		FieldsInt: map[string]int64{}, FieldsBool: map[string]bool{},
	}
	if m.Name == "" {
		m.Name = "cpu"
	}
	if len(p.by) > 0 {
		tick.Grouping{Tags: p.by, ByName: p.byName}.Apply(m)
	}
	for name, v := range p.fields {
		switch v := v.(type) {
		case string:
			m.FieldsString[name] = v
		case float64:
			m.FieldsDouble[name] = v
		case int64:
			m.FieldsInt[name] = v
		case int:
			m.FieldsInt[name] = int64(v)
		case time.Duration:
			m.FieldsInt[name] = int64(v)
		case bool:
			m.FieldsBool[name] = v
		default:
			panic(fmt.Sprintf("no field is a %T", v))
		}
	}
	return m
}

// at is a point of host a with an id and a level, as |alert() makes them, so
// many seconds after epoch.
func at(seconds float64, id, level string) pt {
	return pt{
		time:   time.Duration(seconds * float64(time.Second)),
		tags:   map[string]string{"host": "a", "alertID": id},
		fields: map[string]any{"level": level},
	}
}

// recovery is at with the duration that |alert() puts on an OK.
func recovery(seconds float64, id string) pt {
	return at(seconds, id, "OK").with("duration", time.Minute)
}

// with returns the point with one more field.
func (p pt) with(field string, v any) pt {
	p.fields = maps.Clone(p.fields)
	p.fields[field] = v
	return p
}

// tagged returns the point with one more tag.
func (p pt) tagged(tag, v string) pt {
	p.tags = maps.Clone(p.tags)
	p.tags[tag] = v
	return p
}

// groupedBy returns the point in the group that Kapacitor makes of some of its
// tags.
func (p pt) groupedBy(names ...string) pt {
	p.by = slices.Sorted(slices.Values(names))
	return p
}

func (p pt) grouped(group string) pt {
	p.group = group
	return p
}

// opt is an option as Kapacitor gives it.
func opt(name string, values ...any) *agent.Option {
	o := &agent.Option{Name: name}
	for _, v := range values {
		o.Values = append(o.Values, value(v))
	}
	return o
}

func value(v any) *agent.OptionValue {
	switch v := v.(type) {
	case string:
		return &agent.OptionValue{Type: agent.ValueType_STRING, Value: &agent.OptionValue_StringValue{StringValue: v}}
	case int:
		return &agent.OptionValue{Type: agent.ValueType_INT, Value: &agent.OptionValue_IntValue{IntValue: int64(v)}}
	case float64:
		return &agent.OptionValue{Type: agent.ValueType_DOUBLE, Value: &agent.OptionValue_DoubleValue{DoubleValue: v}}
	case bool:
		return &agent.OptionValue{Type: agent.ValueType_BOOL, Value: &agent.OptionValue_BoolValue{BoolValue: v}}
	case time.Duration:
		return &agent.OptionValue{Type: agent.ValueType_DURATION, Value: &agent.OptionValue_DurationValue{DurationValue: int64(v)}}
	case nil:
		return &agent.OptionValue{}
	}
	panic(fmt.Sprintf("no option is a %T", v))
}

// change is a change as it reached the store, with its payload read.
type change struct {
	outbox.Change
	properties map[string]string // all but the timestamp
}

// fakeStore remembers what is appended to it, as a disk would.
type fakeStore struct {
	t       testing.TB
	isNew   bool
	failure error // of Levels

	kept    []outbox.Level // newest last
	commits []commit
	changes []change
	panics  int // of the next Appends
}

// commit is one Append.
type commit struct {
	changes []outbox.Change
	levels  []outbox.Level
}

func (s *fakeStore) Levels(each func(outbox.Level) bool) (bool, error) {
	for _, l := range s.kept {
		if !each(l) {
			break
		}
	}
	return s.isNew, s.failure
}

func (s *fakeStore) Append(changes []outbox.Change, levels []outbox.Level) {
	if s.panics > 0 {
		s.panics--
		panic("the store broke")
	}
	s.commits = append(s.commits, commit{slices.Clone(changes), slices.Clone(levels)})
	for _, c := range changes {
		s.changes = append(s.changes, readChange(s.t, c))
	}
	for _, l := range levels {
		s.kept = slices.DeleteFunc(s.kept, func(k outbox.Level) bool { return k.Key == l.Key })
		if l.Value != nil {
			s.kept = append(s.kept, l)
		}
	}
	s.isNew = false
}

// readChange reads a change's payload and holds it against what is true of
// every one: the API's rules (BigPanda, reference/alerts) and the agreement of
// payload and queue.
func readChange(t testing.TB, c outbox.Change) change {
	t.Helper()
	var raw map[string]json.RawMessage
	if !utf8.Valid(c.Payload) {
		t.Fatalf("payload is not UTF-8: %q", c.Payload)
	}
	if err := json.Unmarshal(c.Payload, &raw); err != nil {
		t.Fatalf("payload is not JSON: %v\n%s", err, c.Payload)
	}
	p := bigpanda.Payload{AppKey: c.AppKey, Properties: make(map[string]string)}
	got := change{c, make(map[string]string)}
	for name, v := range raw {
		if name == "timestamp" {
			if err := json.Unmarshal(v, &p.Timestamp); err != nil {
				t.Errorf("timestamp is no integer: %s", v)
			}
			continue
		}
		var text string
		if err := json.Unmarshal(v, &text); err != nil {
			t.Errorf("property %q is no string: %s", name, v)
		}
		if text == "" || name == "" {
			t.Errorf("an empty property is sent: %q is %q", name, text)
		}
		got.properties[name] = text
		if name == "status" {
			p.Status = text
			continue
		}
		p.Properties[name] = text
	}
	for _, name := range []string{"app_key", "alerts"} {
		if _, there := raw[name]; there {
			t.Errorf("the payload has the request's own property %s: %s", name, c.Payload)
		}
	}
	if _, there := raw["timestamp"]; !there || p.Timestamp != c.Time {
		t.Errorf("timestamp of the payload is %d, of the change %d", p.Timestamp, c.Time)
	}
	if !slices.Contains(bigpanda.Statuses, p.Status) {
		t.Errorf("status is %q", p.Status)
	}
	if n := utf8.RuneCountInString(p.Properties["description"]); n > 2048 {
		t.Errorf("description has %d characters", n)
	}
	if i := p.Identity(); i.Key() != c.Alert {
		t.Errorf("BigPanda takes the payload for alert %q, the queue for %q", i.Key(), c.Alert)
	} else if i.Primary == "" {
		t.Errorf("the payload has no primary property: %s", c.Payload)
	}
	return got
}

// told is a change in short: level and timestamp, in seconds after epoch.
func told(changes []change) string {
	var all []string
	for _, c := range changes {
		all = append(all, fmt.Sprintf("%s@%d", c.Level, c.Time-epoch))
	}
	return strings.Join(all, " ")
}

func wantTold(t testing.TB, changes []change, want string) {
	t.Helper()
	if got := told(changes); got != want {
		t.Errorf("BigPanda is told %q, want %q", got, want)
	}
}

// wantOneAlert checks that BigPanda takes all the changes for one alert.
func wantOneAlert(t testing.TB, changes []change) {
	t.Helper()
	for _, c := range changes {
		if c.Alert != changes[0].Alert {
			t.Errorf("change %s is alert %q, the first one was %q", c.Level, c.Alert, changes[0].Alert)
		}
	}
}

// wantProperties checks all that is sent but the timestamp.
func wantProperties(t testing.TB, c change, want map[string]string) {
	t.Helper()
	if maps.Equal(c.properties, want) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got, there := c.properties[name]; got != want[name] {
			t.Errorf("property %s is %q (there: %v), want %q", name, got, there, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.properties)) {
		if _, there := want[name]; !there {
			t.Errorf("property %s is %q, want none", name, c.properties[name])
		}
	}
}
