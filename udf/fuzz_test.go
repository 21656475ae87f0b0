package udf_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Whatever the points and options, nothing panics (P1), each payload obeys the
// API's rules (readChange), timestamps of an alert ascend, and two handlers that see the same points, one as bytes and one
// decoded, make the same alerts however the input falls into pieces (P10). Some
// of the points are in batches, whose frames may come in any order.
func FuzzHandler(f *testing.F) {
	// Random bytes reach most of it; the fuzzer finds the rest.
	random := rand.NewChaCha8([32]byte{1})
	for n := range 300 {
		data := make([]byte, 20+n*4)
		random.Read(data)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := input(data)
		var options []*agent.Option
		for _, o := range in.options() {
			if with := append(slices.Clone(options), o); newRig(t).tryInit(with...) == "" {
				options = with
			}
		}
		one, two := start(t, options...), start(t, options...)
		// The wall clock, which P10 excepts, does not move, and some points are ahead of it.
		one.frozen, two.frozen = true, true
		last := make(map[string]int64)
		batch := false
		var seconds []int64 // that the next change may be of
		for len(in) > 0 {
			before := len(one.store.changes)
			switch in.byte() % 8 {
			case 0:
				begin := in.beginBatch()
				one.begin(begin)
				two.begin(begin)
				batch, seconds = true, nil
				continue
			case 1:
				end := &agent.EndBatch{Tmax: in.point().Time}
				seconds = append(seconds, time.Unix(0, end.Tmax).Unix())
				one.end(end)
				two.end(end)
				batch = false
			default:
				p := in.point()
				if !batch {
					seconds = nil
				}
				seconds = append(seconds, time.Unix(0, p.Time).Unix())
				one.message(p)
				if err := two.h.Point(p); err != nil {
					t.Fatalf("Point failed: %v", err)
				}
			}
			one.h.Commit()
			if in.byte()%8 == 0 {
				two.h.Commit()
			}
			changes := one.store.changes[before:]
			if len(changes) > 1 {
				t.Fatalf("%d changes of one point or batch", len(changes))
			}
			for _, c := range changes {
				told, known := last[c.Alert]
				if !slices.Contains(seconds, c.Time) && c.Time != epoch && (!known || c.Time != told+1) {
					t.Errorf("timestamp %d of a point of %d, after %d (known: %v)", c.Time, seconds, told, known)
				}
				if known && c.Time <= told {
					t.Errorf("timestamp %d after %d", c.Time, told)
				}
				last[c.Alert] = c.Time
			}
		}
		two.h.Commit()
		if a, b := one.store.changes, two.store.changes; !slices.EqualFunc(a, b, func(a, b change) bool {
			return bytes.Equal(a.Payload, b.Payload) && a.Alert == b.Alert && a.AppKey == b.AppKey && a.Level == b.Level
		}) {
			t.Errorf("changes of one handler: %s\nof the other: %s", told(a), told(b))
		}
		// What is kept can be taken up again.
		after := start(t).restore(one.snapshot())
		two.restarted()
		for _, r := range []*rig{one, two, after} {
			r.wantLogged(0, "please report this")
			r.wantLogged(0, "cannot be read")
		}
	})
}

// input is the bytes that a fuzzer gives, as choices.
type input []byte

func (in *input) byte() byte {
	if len(*in) == 0 {
		return 0
	}
	b := (*in)[0]
	*in = (*in)[1:]
	return b
}

// text returns one of the words, or now and then bytes as they come.
func (in *input) text(words []string) string {
	b := int(in.byte())
	if b < 240 {
		return words[b%len(words)]
	}
	n := min(b-240, len(*in))
	s := string((*in)[:n])
	*in = (*in)[n:]
	return s
}

var (
	fuzzNames = []string{
		"host", "level", "alertID", "message", "duration", "status", "timestamp", "app_key", "alerts", "check", "task", "description",
		"tag_status", "field_status", "service", "primary_property", "incident_identifier", "x", "", "identity_primary", "sensor", "severity",
	}
	fuzzLevels = []string{"OK", "CRITICAL", "OK", "WARNING", "crit", "INFO", "SEVERE", "", "ok"}
	fuzzValues = []string{"", "a", "b", "c", "host", "check", "CRITICAL", "é\u2028<&>\"\\\x00", "\xff\xfe", "5", "task:cpu"}
	fuzzGroups = []string{"", "host=a", "host=b"}
	fuzzTimes  = []time.Duration{
		0, time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, time.Minute, 61 * time.Second, 2 * time.Minute, -time.Second, -time.Minute, 1000 * time.Hour,
	}
	fuzzTemplates = []string{
		"", "a", "{{ .Tags.host }}", "{{ .Tags.x }}-{{ .Name }}", "{{ .Group }}", "{{ .TaskName }}", "{{ slice .Tags.x 0 1 }}", "{{ index .Tags.x 0 }}",
		`{{ range $k, $v := .Tags }}{{ $k }}={{ $v | html }},{{ end }}`, "{{ .ID }}", "{{ .Fields.x }}", "{{ .Fields }}", "{{ .Message }}", "{{ .Time }} {{ .Duration }} {{ .Level }}",
		`{{ printf "%5.1f" .Fields.x }}`, `{{ "\xff" }}`, "{{ .Fields.x.y }}",
	}
)

func (in *input) options() []*agent.Option {
	var options []*agent.Option
	for range in.byte() % 6 {
		switch in.byte() % 16 {
		case 0:
			options = append(options, opt("primaryProperty", in.text(fuzzNames)))
		case 1:
			options = append(options, opt("secondaryProperty", in.text(fuzzNames)))
		case 2:
			options = append(options, opt("attribute", in.text(fuzzNames), in.text(fuzzTemplates)))
		case 3:
			options = append(options, opt("attribute", in.text([]string{"x", "host", "check", "task", "primary_property", "incident_identifier"}), in.text(fuzzTemplates)))
		case 4:
			options = append(options, opt("levelField", in.text(fuzzNames)))
		case 5:
			options = append(options, opt("levelTag", "level"))
		case 6:
			options = append(options, opt("idField", in.text(fuzzNames)))
		case 7:
			options = append(options, opt("idTag", in.text(fuzzNames)))
		case 8:
			options = append(options, opt("id", in.text(fuzzTemplates)))
		case 9:
			options = append(options, opt("message", in.text(fuzzTemplates)))
		case 10:
			options = append(options, opt("details", in.text(fuzzTemplates)))
		case 11:
			options = append(options, opt("host", in.text(fuzzTemplates)))
		case 12:
			options = append(options, opt("incidentIdentifier", in.text(fuzzTemplates)))
		case 13:
			options = append(options, opt("autoAttributes", in.text([]string{"", "tags", "fields"})))
		case 14:
			options = append(options, opt("resendAfter", time.Duration(1+in.byte())*time.Second))
		case 15:
			options = append(options, opt("level", "SEVERE", in.text(fuzzLevels)), opt("infoStatus", "unknown"))
		}
	}
	return options
}

func (in *input) beginBatch() *agent.BeginBatch {
	b := &agent.BeginBatch{Name: in.text([]string{"cpu", "mem"}), Group: in.text(fuzzGroups), ByName: in.byte()%2 == 0, Tags: make(map[string]string)}
	for range in.byte() % 4 {
		b.Tags[in.text(fuzzNames)] = in.text(fuzzValues)
	}
	return b
}

func (in *input) point() *agent.Point {
	p := pt{
		time:   fuzzTimes[int(in.byte())%len(fuzzTimes)] + time.Duration(in.byte()%4)*time.Second,
		name:   in.text([]string{"cpu", "mem"}),
		group:  in.text(fuzzGroups),
		tags:   map[string]string{"alertID": in.text([]string{"1", "2", ""})},
		fields: map[string]any{"level": in.text(fuzzLevels)},
	}
	for range in.byte() % 4 {
		p.tags[in.text(fuzzNames)] = in.text(fuzzValues)
	}
	for range in.byte() % 4 {
		name := in.text(fuzzNames)
		switch b := in.byte(); b % 8 {
		case 0:
			p.fields[name] = float64(b) / 3
		case 1:
			p.fields[name] = math.Inf(int(b) - 128)
		case 2:
			p.fields[name] = math.NaN()
		case 3:
			p.fields[name] = int64(b) - 100
		case 4:
			p.fields[name] = b < 128
		default:
			p.fields[name] = in.text(fuzzValues)
		}
	}
	m := p.message()
	if in.byte() == 255 {
		m.Time = []int64{math.MinInt64, math.MaxInt64, 0, -1}[in.byte()%4]
	}
	return m
}
