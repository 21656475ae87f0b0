package udf

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/encoding/protowire"
)

// The names under which a point carries what |alert() knows, when no option
// says otherwise: those that Chronograf's scripts have made the convention.
const (
	defaultLevel    = "level"
	defaultID       = "alertID"
	defaultMessage  = "message"
	defaultDuration = "duration"
)

// A source is the tag or field of a point that a value was read from; the zero
// source is none.
type source struct{ tag, field string }

// A point is one of Kapacitor's: where its parts are in the point's bytes. It is
// made anew of each, without an allocation once its slices have grown.
type point struct {
	data   []byte // what spans are of
	time   int64  // in Unix nanoseconds
	name   span
	group  []byte // without what the alert node wrote into it, once groupWithout was asked
	dims   []span // names of the tags that make the group
	byName bool   // the measurement makes it, too
	tags   []entry
	fields []entry
	text   []byte // of what is no text in data

	levelFrom, idFrom, durationFrom source // what became of it is no attribute
}

// A span is a part of point.data.
type span struct{ from, to uint32 }

// An entry is a tag or a field.
type entry struct {
	name   span
	text   span   // of a string, and of a tag
	number uint64 // of any other field, as on the wire
	kind   kind
}

// A kind is the type of a field, in the order in which one wins where the same
// name has several.
type kind uint8

const (
	kindString kind = iota
	kindDouble
	kindInt
	kindBool
)

// maxEntries is how many tags and fields scan takes: an entry costs the same
// however short it is, and a frame of empty ones could be large.
const maxEntries = 1000

// maxBuffer is how many bytes of a buffer are left for the next point: what a
// large one needed must not stay for good (P7).
const maxBuffer = 64 << 10

// emptied returns a buffer to be filled anew.
func emptied(b []byte) []byte {
	if cap(b) > maxBuffer {
		return nil
	}
	return b[:0]
}

// reset empties the point, for one of these bytes.
func (p *point) reset(data []byte) {
	if cap(p.tags)+cap(p.fields)+cap(p.dims) > 4*maxEntries { // of one that scan did not take
		p.tags, p.fields, p.dims = nil, nil, nil
	}
	p.data, p.time, p.name, p.group, p.byName = data, 0, span{}, nil, false
	p.tags, p.fields, p.dims, p.text = p.tags[:0], p.fields[:0], p.dims[:0], emptied(p.text)
	p.levelFrom, p.idFrom, p.durationFrom = source{}, source{}, source{}
}

// clone returns a copy that stays when the point's bytes go: of its time, its tags
// and its fields.
func (p *point) clone() *point {
	return &point{data: bytes.Clone(p.data), time: p.time, tags: slices.Clone(p.tags), fields: slices.Clone(p.fields)}
}

// scan reads the bytes of a point, and reports false for what is not plainly
// one: a field that is not known, or bytes that proto.Unmarshal would refuse.
// Parts may come in any order and repeatedly; as there, the last one wins. The
// point refers to b.
func (p *point) scan(b []byte) bool {
	if len(b) > math.MaxUint32 {
		return false
	}
	p.reset(b)
	s := scanner{data: b}
	for s.at < len(b) {
		tag := b[s.at]
		s.at++
		switch tag {
		case wireTime:
			p.time = int64(s.varint(len(b)))
		case wireByName:
			p.byName = protowire.DecodeBool(s.varint(len(b)))
		case wireName:
			p.name = s.span(len(b))
		case wireGroup:
			p.group = p.bytes(s.span(len(b)))
		case wireDimensions:
			p.dims = append(p.dims, s.span(len(b)))
		case wireDatabase, wireRetentionPolicy:
			s.span(len(b))
		case wireTags:
			p.tags = append(p.tags, s.entry(kindString, wireTextValue))
		case wireFieldsString:
			p.fields = append(p.fields, s.entry(kindString, wireTextValue))
		case wireFieldsDouble:
			p.fields = append(p.fields, s.entry(kindDouble, wireDoubleValue))
		case wireFieldsInt:
			p.fields = append(p.fields, s.entry(kindInt, wireVarintValue))
		case wireFieldsBool:
			p.fields = append(p.fields, s.entry(kindBool, wireVarintValue))
		default:
			return false
		}
		if s.bad || len(p.tags)+len(p.fields)+len(p.dims) > maxEntries {
			return false
		}
	}
	s.cut(len(b))
	return !s.bad
}

func (p *point) bytes(s span) []byte { return p.data[s.from:s.to:s.to] }

func (p *point) fromPoint(of *agent.Point) {
	p.reset(nil)
	p.time, p.group, p.byName = of.GetTime(), []byte(validText(of.GetGroup())), of.GetByName()
	p.name = p.add(of.GetName())
	for _, name := range of.GetDimensions() {
		p.dims = append(p.dims, p.add(name))
	}
	for name, value := range of.GetTags() {
		p.tags = append(p.tags, entry{name: p.add(name), text: p.add(value)})
	}
	for name, value := range of.GetFieldsString() {
		p.fields = append(p.fields, entry{name: p.add(name), kind: kindString, text: p.add(value)})
	}
	for name, value := range of.GetFieldsDouble() {
		p.fields = append(p.fields, entry{name: p.add(name), kind: kindDouble, number: math.Float64bits(value)})
	}
	for name, value := range of.GetFieldsInt() {
		p.fields = append(p.fields, entry{name: p.add(name), kind: kindInt, number: uint64(value)})
	}
	for name, value := range of.GetFieldsBool() {
		p.fields = append(p.fields, entry{name: p.add(name), kind: kindBool, number: protowire.EncodeBool(value)})
	}
}

// validText is a text of a decoded message, in which bytes that are not UTF-8 are
// U+FFFD, as BigPanda is told them: identities are compared as it sees them.
func validText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func (p *point) add(text string) span {
	from := len(p.data)
	p.data = append(p.data, validText(text)...)
	return span{uint32(from), uint32(len(p.data))}
}

// allTags returns all tags but those that became something else.
func (p *point) allTags(without ...source) map[string]string {
	all := make(map[string]string, len(p.tags))
	for _, e := range p.tags {
		all[string(p.bytes(e.name))] = string(p.bytes(e.text))
	}
	for _, s := range without {
		delete(all, s.tag)
	}
	return all
}

// allFields returns all fields but those that became something else.
func (p *point) allFields(without ...source) map[string]any {
	all := make(map[string]any, len(p.fields))
	for i := range p.fields {
		e := &p.fields[i]
		all[string(p.bytes(e.name))] = p.value(e)
	}
	for _, s := range without {
		delete(all, s.field)
	}
	return all
}

func (p *point) value(e *entry) any {
	switch e.kind {
	case kindDouble:
		return math.Float64frombits(e.number)
	case kindInt:
		return int64(e.number)
	case kindBool:
		return protowire.DecodeBool(e.number)
	}
	return string(p.bytes(e.text))
}

// tag returns a tag's value, nil when it is not there.
func (p *point) tag(name string) []byte {
	for i := len(p.tags) - 1; i >= 0; i-- {
		if string(p.bytes(p.tags[i].name)) == name {
			return p.bytes(p.tags[i].text)
		}
	}
	return nil
}

// groupWithout takes the tags for which without is true out of the group, as
// Kapacitor makes one of tags (models.ToGroupID).
func (p *point) groupWithout(without func(name []byte) bool) {
	left := p.dims[:0]
	for _, d := range p.dims {
		if !without(p.bytes(d)) {
			left = append(left, d)
		}
	}
	if len(left) == len(p.dims) {
		return
	}
	p.dims = left
	start := len(p.text)
	if p.byName {
		p.text = append(p.text, p.bytes(p.name)...)
		if len(left) > 0 {
			p.text = append(p.text, '\n')
		}
	}
	for i, d := range left {
		if i > 0 {
			p.text = append(p.text, ',')
		}
		name := p.bytes(d)
		p.text = append(append(append(p.text, name...), '='), p.tag(string(name))...)
	}
	p.group = p.text[start:len(p.text):len(p.text)]
}

// field returns a field, nil when it is not there.
func (p *point) field(name string) (found *entry) {
	for i := range p.fields {
		if e := &p.fields[i]; string(p.bytes(e.name)) == name && (found == nil || e.kind <= found.kind) {
			found = e
		}
	}
	return found
}

// read returns the value of a tag or field as text, nil when it is not there.
func (p *point) read(s source) []byte {
	switch {
	case s.field != "":
		if e := p.field(s.field); e != nil {
			return p.textOf(e)
		}
	case s.tag != "":
		return p.tag(s.tag)
	}
	return nil
}

// textOf returns a field's value as text does.
func (p *point) textOf(e *entry) []byte {
	start := len(p.text)
	switch e.kind {
	case kindString:
		return p.bytes(e.text)
	case kindInt:
		p.text = strconv.AppendInt(p.text, int64(e.number), 10)
	case kindBool:
		p.text = strconv.AppendBool(p.text, protowire.DecodeBool(e.number))
	case kindDouble:
		p.text = appendDouble(p.text, math.Float64frombits(e.number))
	}
	return p.text[start:]
}

// appendDouble appends a number as its JSON text. NaN and the infinities, which
// have none, go by their names.
func appendDouble(b []byte, f float64) []byte {
	// Most are whole, and those that code a level are. -0 is none of them.
	if n := int64(f); float64(n) == f && -1e15 < f && f < 1e15 && (n != 0 || !math.Signbit(f)) {
		return strconv.AppendInt(b, n, 10)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	}
	return append(b, text...)
}

// readDuration returns how long the alert has lasted, as |alert() counts it: an
// integer of nanoseconds; false if the point does not say.
func (o *options) readDuration(p *point) (lasted time.Duration, known bool) {
	name := cmp.Or(o.durationField, defaultDuration)
	f := p.field(name)
	if f == nil || f.kind != kindInt {
		return 0, false
	}
	p.durationFrom = source{field: name}
	return time.Duration(f.number), true
}

// ungroup takes out of the group what the alert node wrote into it: Kapacitor
// makes the group anew from the tags into which .levelTag() and .idTag() write
// (alert.go, augmentTagsWithEventState), and the level is no part of a series.
// A tag of the source may be called level where the level is a field: it is the
// source's where .levelField() names another field, and else the alert node's if
// it says the same.
func (o *options) ungroup(p *point, level Level) {
	p.groupWithout(func(name []byte) bool {
		switch string(name) {
		case defaultID, o.idTag, o.levelTag, p.levelFrom.tag:
			return true
		case defaultLevel:
			isNamed := o.levelField != "" && o.levelField != defaultLevel
			return !isNamed && string(p.tag(defaultLevel)) == level.String()
		}
		return false
	})
}
