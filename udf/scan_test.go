package udf_test

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The field numbers of agent.Point (udf/agent/udf.proto).
const (
	pointTime protowire.Number = 1 + iota
	pointName
	pointDatabase
	pointRetentionPolicy
	pointGroup
	pointDimensions
	pointTags
	pointFieldsDouble
	pointFieldsInt
	pointFieldsString
	pointByName
	pointFieldsBool
)

// The parts of a point as they are on the wire, for points that no encoder
// writes.
func textPart(number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), text)
}

func numberPart(number protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), n)
}

func doublePart(number protowire.Number, f float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), math.Float64bits(f))
}

// entryPart is an entry of one of a point's maps, made of its own parts.
func entryPart(number protowire.Number, parts ...[]byte) []byte {
	return textPart(number, string(slices.Concat(parts...)))
}

func tagPart(name, value string) []byte {
	return entryPart(pointTags, textPart(1, name), textPart(2, value))
}

func stringPart(name, value string) []byte {
	return entryPart(pointFieldsString, textPart(1, name), textPart(2, value))
}

// wordy is a varint with more bytes than it needs, ten at most.
func wordy(n byte, size int) []byte {
	b := append([]byte{n | 0x80}, bytes.Repeat([]byte{0x80}, size-2)...)
	return append(b, 0)
}

// oddPoints are points that no encoder of today writes, and a few that look like
// one and are none.
func oddPoints() map[string][]byte {
	critical, fine := stringPart("level", "CRITICAL"), stringPart("level", "OK")
	id := tagPart("alertID", "id")
	long := strings.Repeat("é", 100)
	points := map[string][]byte{
		"nothing":                                {},
		"a level alone":                          critical,
		"fields out of order":                    slices.Concat(critical, tagPart("host", "a"), textPart(pointGroup, "g"), id, textPart(pointName, "cpu"), numberPart(pointTime, 5e9)),
		"fields repeated, the last one counts":   slices.Concat(textPart(pointName, "mem"), textPart(pointName, "cpu"), textPart(pointGroup, "x"), textPart(pointGroup, ""), numberPart(pointTime, 1), numberPart(pointTime, 9e9), critical),
		"a level twice, the last one counts":     slices.Concat(fine, id, critical),
		"a level twice, the last one is OK":      slices.Concat(critical, id, fine),
		"a tag twice":                            slices.Concat(tagPart("alertID", "x"), critical, id),
		"a tag twice, the last one is new":       slices.Concat(id, critical, tagPart("alertID", "new")),
		"a duration twice, the last one counts":  slices.Concat(entryPart(pointFieldsInt, textPart(1, "duration"), numberPart(2, 0)), entryPart(pointFieldsInt, textPart(1, "duration"), numberPart(2, 5)), tagPart("alertID", "new"), fine),
		"a level of every type":                  slices.Concat(entryPart(pointFieldsBool, textPart(1, "level"), numberPart(2, 1)), entryPart(pointFieldsInt, textPart(1, "level"), numberPart(2, 3)), entryPart(pointFieldsDouble, textPart(1, "level"), doublePart(2, 2)), critical),
		"a level as a tag and a field":           slices.Concat(tagPart("level", "OK"), critical),
		"a level as a tag":                       tagPart("level", "WARNING"),
		"an unknown field":                       slices.Concat(critical, textPart(30, "later")),
		"an unknown number":                      slices.Concat(critical, numberPart(13, 7)),
		"an unknown group":                       slices.Concat(critical, []byte{0x7b, 0x7c}),
		"an unknown field in an entry":           slices.Concat(id, entryPart(pointFieldsString, textPart(1, "level"), textPart(3, "x"), textPart(2, "CRITICAL"))),
		"a known number of another type":         slices.Concat(critical, numberPart(pointName, 3)),
		"a value of another type":                entryPart(pointFieldsString, textPart(1, "level"), numberPart(2, 3)),
		"a value before its key":                 slices.Concat(id, entryPart(pointFieldsString, textPart(2, "CRITICAL"), textPart(1, "level"))),
		"a key and a value twice":                entryPart(pointFieldsString, textPart(1, "x"), textPart(2, "OK"), textPart(1, "level"), textPart(2, "CRITICAL")),
		"an entry without a key":                 slices.Concat(critical, entryPart(pointTags, textPart(2, "x")), entryPart(pointFieldsInt, numberPart(2, 7))),
		"an entry without a value":               slices.Concat(critical, entryPart(pointTags, textPart(1, "alertID")), entryPart(pointFieldsDouble, textPart(1, "v"))),
		"a level without a value":                entryPart(pointFieldsString, textPart(1, "level")),
		"an entry of nothing":                    slices.Concat(critical, entryPart(pointTags), entryPart(pointFieldsBool), entryPart(pointFieldsDouble)),
		"a bool that is 2":                       slices.Concat(critical, entryPart(pointFieldsBool, textPart(1, "level"), numberPart(2, 2)), numberPart(pointByName, 300)),
		"long texts":                             slices.Concat(tagPart("host", long), textPart(pointGroup, long), tagPart("alertID", long), critical, stringPart("message", long)),
		"lengths longer than they need be":       slices.Concat([]byte{pointTagsTag}, wordy(byte(len(id)-2), 3), id[2:], critical),
		"a varint of ten bytes":                  slices.Concat(critical, []byte{0x08}, wordy(5, 10)),
		"a varint of eleven bytes":               slices.Concat(critical, []byte{0x08}, wordy(5, 11)),
		"a varint over 64 bits":                  slices.Concat(critical, []byte{0x08}, bytes.Repeat([]byte{0xff}, 9), []byte{2}),
		"a number of a field in two bytes":       slices.Concat(critical, []byte{0x92, 0x00, 1, 'x'}),
		"field number 0":                         slices.Concat(critical, []byte{0x02, 0}),
		"an entry that ends beyond the point":    critical[:len(critical)-1],
		"a key that ends beyond its entry":       slices.Concat(entryPart(pointTags, []byte{0x0a, 9, 'x'}), critical),
		"a value that ends beyond its entry":     slices.Concat(entryPart(pointTags, textPart(1, "x"), []byte{0x12, 9, 'x'}), critical),
		"a value that takes the next field in":   slices.Concat(entryPart(pointTags, textPart(1, "x"), []byte{0x12, byte(1 + len(fine)), 'x'}), fine, critical),
		"and a field of some length":             slices.Concat(entryPart(pointTags, textPart(1, "x"), []byte{0x12, 199, 1}), textPart(pointName, long[:196]), critical),
		"a key that takes the next field in":     slices.Concat(entryPart(pointFieldsBool, []byte{0x0a, byte(1 + len(fine)), 'x'}), fine, critical),
		"an entry that takes the point's end in": slices.Concat(fine, []byte{byte(pointTags)<<3 | 2, 5}, textPart(1, "x")),
		"a value cut off after its tag":          slices.Concat(entryPart(pointTags, textPart(1, "x"), []byte{0x12}), critical),
		"a length that ends within the number":   {0x12, 0x80},
		"a double of seven bytes":                slices.Concat(critical, entryPart(pointFieldsDouble, textPart(1, "x"), doublePart(2, 1)[:8])),
		"a double of eight bytes that are text":  slices.Concat(critical, entryPart(pointFieldsDouble, textPart(1, "x"), doublePart(2, math.Float64frombits(0xfffefdfcfbfaf9f8)))),
		"a character cut in two by a field":      slices.Concat(textPart(pointName, "caf\xc3"), textPart(pointGroup, "\xa9"), critical),
		"a character cut in two by a length":     slices.Concat(textPart(pointName, "caf\xc3"), []byte{0x2a, 0xa9, 0x01}, bytes.Repeat([]byte{'x'}, 0xa9), critical),
		"more entries than are looked at":        append(bytes.Repeat(entryPart(pointTags), 1001), critical...),
	}
	for name, f := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "1": 1, "-3": -3, "1.5": 1.5, "1e15": 1e15, "1e21": 1e21, "1e-7": 1e-7,
		"NaN": math.NaN(), "Inf": math.Inf(1), "-Inf": math.Inf(-1),
	} {
		points["the number "+name+" as a level"] = slices.Concat(id, entryPart(pointFieldsDouble, textPart(1, "level"), doublePart(2, f)))
	}
	for name, n := range map[string]int64{"0": 0, "3": 3, "-1": -1, "127": 127, "128": 128, "the least": math.MinInt64} {
		points["the integer "+name+" as a level"] = slices.Concat(id, entryPart(pointFieldsInt, textPart(1, "level"), numberPart(2, uint64(n))))
	}
	// As an OK most change nothing: then it shows if bytes pass that must not.
	for name, b := range maps.Clone(points) {
		points[name+", and OK"] = slices.Concat(b, fine)
	}
	return points
}

// pointTagsTag stands before a tag of a point.
const pointTagsTag = byte(pointTags<<3) | byte(protowire.BytesType)

// scanSetups are the options under which points are scanned.
var scanSetups = [][]*agent.Option{
	nil,
	{opt("id", "{{ .Name }}/{{ .Group }}{{ range $k, $v := .Tags }} {{ $k }}={{ $v }}{{ end }}")},
	{opt("levelTag", "level"), opt("idField", "message"), opt("durationField", "level")},
	{opt("levelField", "level"), opt("level", "0", "OK"), opt("level", "-0", "INFO"), opt("level", "1", "WARNING"), opt("level", "1.5", "CRITICAL"),
		opt("level", "NaN", "CRITICAL"), opt("level", "true", "WARNING"), opt("level", "3", "CRITICAL"), opt("level", "1e+15", "WARNING"), opt("level", "1000000000000000", "WARNING")},
	{opt("resendAfter", minute), opt("idTag", "host"), opt("maxAge", minute)},
	{opt("passThrough", false)},
}

// primed is a handler that was told of a few series.
func primed(t testing.TB, options []*agent.Option) *rig {
	t.Helper()
	r := start(t, options...)
	for _, p := range []pt{
		at(0, "id", "CRITICAL"), at(0, "other", "WARNING").grouped("g"), at(-120, "id", "INFO").grouped("host=a"),
		at(0, "gone", "CRITICAL"), at(1, "gone", "OK"), at(0, "1", "CRITICAL").tagged("level", "WARNING").with("level", 1.5),
	} {
		if err := r.h.Point(p.message()); err != nil {
			t.Fatal(err)
		}
	}
	r.h.Commit()
	return r
}

// checkScan holds what a handler makes of a point's bytes against what another
// one makes of the decoded point.
func checkScan(t testing.TB, options []*agent.Option, b []byte) {
	t.Helper()
	scans, decodes := primed(t, options), primed(t, options)
	untouched := bytes.Clone(b)
	var p agent.Point
	err := proto.Unmarshal(b, &p)
	for range 2 { // the second time it changes nothing, as a rule
		wanted := scans.h.Wants(b)
		if !bytes.Equal(b, untouched) {
			t.Fatal("the bytes of the point were changed")
		}
		if err != nil {
			if !wanted {
				t.Fatalf("a point that cannot be decoded passes: %v", err)
			}
			scans.h.Commit()
			wantSameAlerts(t, scans, decodes)
			return
		}
		if wanted {
			if err := scans.h.Point(proto.CloneOf(&p)); err != nil {
				t.Fatal(err)
			}
		}
		if err := decodes.h.Point(&p); err != nil {
			t.Fatal(err)
		}
		scans.h.Commit()
		decodes.h.Commit()
		wantSameAlerts(t, scans, decodes)
		if plain := scannable(&p); plain != nil && wanted {
			// It was decoded for how it is written.
			if scans.h.Wants(plain) {
				t.Fatal("a point is decoded, however it is written")
			}
			if err := decodes.h.Point(&p); err != nil { // which counts it, too
				t.Fatal(err)
			}
		}
	}
	scans.h.Stop()
	decodes.h.Stop()
	if a, b := lastLine(scans), lastLine(decodes); a != b {
		t.Fatalf("a point's bytes end with %q, the decoded point with %q", a, b)
	}
	scans.wantLogged(0, "please report this")
}

// scannable encodes a point as Kapacitor does, if it would scan that.
func scannable(p *agent.Point) []byte {
	if len(p.Tags)+len(p.FieldsString)+len(p.FieldsDouble)+len(p.FieldsInt)+len(p.FieldsBool) > 1000 {
		return nil
	}
	known := proto.CloneOf(p)
	known.ProtoReflect().SetUnknown(nil)
	b, err := proto.Marshal(known)
	if err != nil {
		return nil
	}
	return b
}

// wantSameAlerts compares what two handlers told BigPanda, and what they kept.
func wantSameAlerts(t testing.TB, one, two *rig) {
	t.Helper()
	if a, b := one.store.changes, two.store.changes; !slices.EqualFunc(a, b, func(a, b change) bool {
		return bytes.Equal(a.Payload, b.Payload) && a.Alert == b.Alert && a.AppKey == b.AppKey && a.Time == b.Time && a.Level == b.Level
	}) {
		t.Fatalf("BigPanda is told %s by one, %s by the other", told(a), told(b))
	}
	if a, b := one.snapshot(), two.snapshot(); !bytes.Equal(a, b) {
		t.Fatalf("snapshots differ:\n%s\n%s", a, b)
	}
}

// lastLine is the last line of the log, without its time.
func lastLine(r *rig) string {
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	_, line, _ := strings.Cut(lines[len(lines)-1], " ")
	return line
}

// A point means the same whether it is scanned or decoded, however it is
// written.
func TestScanTakesOddPoints(t *testing.T) {
	t.Parallel()
	for name, b := range oddPoints() {
		t.Run(name, func(t *testing.T) {
			for _, options := range scanSetups {
				checkScan(t, options, b)
			}
		})
	}
}

// Whatever the bytes: a point that is not decoded could have been, and makes the
// same alerts then, and the same counts.
func FuzzScan(f *testing.F) {
	for _, b := range oddPoints() {
		for setup := range scanSetups {
			f.Add(b, byte(setup))
		}
	}
	for setup := range scanSetups {
		for _, p := range []pt{
			at(5, "id", "OK"), at(5, "id", "CRITICAL"), at(70, "id", "CRITICAL"), recovery(5, "new"), at(5, "new", "SEVERE"), at(5, "new", ""),
			at(5, "other", "warn").grouped("g").tagged("region", "Zürich").with("v", 3.25).with("n", 1<<40).with("b", true),
		} {
			b, err := proto.Marshal(p.message())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, byte(setup))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, setup byte) {
		checkScan(t, scanSetups[int(setup)%len(scanSetups)], b)
	})
}

// Levels that are numbers cost no more than words (P7).
func TestScanOfNumbersAllocatesNothing(t *testing.T) {
	r := start(t, opt("level", "0", "OK"), opt("level", "1", "WARNING"), opt("level", "false", "OK"))
	for name, level := range map[string]any{"0.0": 0.0, "1.0": 1.0, "0": 0, "1": 1, "a bool": false} {
		r.send(at(0, "id", "").with("level", level))
		b, err := proto.Marshal(at(1, "id", "").with("level", level).message())
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if r.h.Wants(b) {
				t.Errorf("%s is decoded", name)
			}
		}); n != 0 {
			t.Errorf("%v allocations for a level of %s", n, name)
		}
		if changes := r.send(); len(changes) > 0 {
			t.Errorf("%s changes something", name)
		}
	}
}
