package udf

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/encoding/protowire"
)

// A view is what the level decision needs of a point: where its parts are in
// the point's bytes. It is made anew of each point, without an allocation once
// its slices have grown.
type view struct {
	data   []byte // what spans are of
	time   int64
	ahead  bool // of the clock: time is not the point's
	name   span
	group  []byte // without what the alert node wrote into it, once groupWithout was asked
	dims   []span // names of the tags that make the group
	byName bool   // the measurement makes it, too
	tags   []entry
	fields []entry
	text   []byte // of what is no text in data
}

// A span is a part of view.data.
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

// maxKept is how many bytes of a buffer are kept for the next point: what a
// large one needed must not stay for good (P7).
const maxKept = 64 << 10

// emptied returns a buffer to be filled anew.
func emptied(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}

// scan reads the bytes of a point, and reports false for what is not plainly
// one: a field that is not known, or bytes that proto.Unmarshal would refuse.
// Parts may come in any order and repeatedly; as there, the last one wins. The
// view refers to b.
func (v *view) scan(b []byte) bool {
	if len(b) > math.MaxUint32 {
		return false
	}
	v.data, v.time, v.name, v.group, v.byName = b, 0, span{}, nil, false
	if cap(v.tags)+cap(v.fields)+cap(v.dims) > 4*maxEntries { // made by of
		v.tags, v.fields, v.dims = nil, nil, nil
	}
	v.tags, v.fields, v.dims, v.text = v.tags[:0], v.fields[:0], v.dims[:0], emptied(v.text)
	s := scanner{data: b}
	for s.at < len(b) {
		tag := b[s.at]
		s.at++
		switch tag {
		case wireTime:
			v.time = int64(s.varint(len(b)))
		case wireByName:
			v.byName = protowire.DecodeBool(s.varint(len(b)))
		case wireName:
			v.name = s.span(len(b))
		case wireGroup:
			v.group = v.bytes(s.span(len(b)))
		case wireDimensions:
			v.dims = append(v.dims, s.span(len(b)))
		case wireDatabase, wireRetentionPolicy:
			s.span(len(b))
		case wireTags:
			v.tags = append(v.tags, s.entry(kindString, wireTextValue))
		case wireFieldsString:
			v.fields = append(v.fields, s.entry(kindString, wireTextValue))
		case wireFieldsDouble:
			v.fields = append(v.fields, s.entry(kindDouble, wireDoubleValue))
		case wireFieldsInt:
			v.fields = append(v.fields, s.entry(kindInt, wireVarintValue))
		case wireFieldsBool:
			v.fields = append(v.fields, s.entry(kindBool, wireVarintValue))
		default:
			return false
		}
		if s.bad || len(v.tags)+len(v.fields)+len(v.dims) > maxEntries {
			return false
		}
	}
	s.cut(len(b))
	return !s.bad
}

// bytes returns a part of the point.
func (v *view) bytes(s span) []byte { return v.data[s.from:s.to:s.to] }

// of makes the view of a point that was decoded.
func (v *view) of(p *agent.Point) {
	tags, fields, dims, text := v.tags[:0], v.fields[:0], v.dims[:0], v.text[:0]
	if cap(tags)+cap(fields)+cap(dims) > 4*maxEntries {
		tags, fields, dims = nil, nil, nil // of a point that scan had not taken
	}
	*v = view{time: p.Time, group: []byte(p.Group), byName: p.ByName, tags: tags, fields: fields, dims: dims, text: text}
	v.name = v.add(p.Name)
	for _, name := range p.Dimensions {
		v.dims = append(v.dims, v.add(name))
	}
	for name, value := range p.Tags {
		v.tags = append(v.tags, entry{name: v.add(name), text: v.add(value)})
	}
	for name, value := range p.FieldsString {
		v.fields = append(v.fields, entry{name: v.add(name), kind: kindString, text: v.add(value)})
	}
	for name, value := range p.FieldsDouble {
		v.fields = append(v.fields, entry{name: v.add(name), kind: kindDouble, number: math.Float64bits(value)})
	}
	for name, value := range p.FieldsInt {
		v.fields = append(v.fields, entry{name: v.add(name), kind: kindInt, number: uint64(value)})
	}
	for name, value := range p.FieldsBool {
		v.fields = append(v.fields, entry{name: v.add(name), kind: kindBool, number: protowire.EncodeBool(value)})
	}
}

// add makes a text part of the view.
func (v *view) add(text string) span {
	from := len(v.data)
	v.data = append(v.data, text...)
	return span{uint32(from), uint32(len(v.data))}
}

// tag returns a tag's value, nil when it is not there.
func (v *view) tag(name string) []byte {
	for i := len(v.tags) - 1; i >= 0; i-- {
		if string(v.bytes(v.tags[i].name)) == name {
			return v.bytes(v.tags[i].text)
		}
	}
	return nil
}

// groupWithout takes the tags for which without is true out of the group, as
// Kapacitor makes one of tags (models.ToGroupID).
func (v *view) groupWithout(without func(name []byte) bool) {
	kept := v.dims[:0]
	for _, d := range v.dims {
		if !without(v.bytes(d)) {
			kept = append(kept, d)
		}
	}
	if len(kept) == len(v.dims) {
		return
	}
	v.dims = kept
	start := len(v.text)
	if v.byName {
		v.text = append(v.text, v.bytes(v.name)...)
		if len(kept) > 0 {
			v.text = append(v.text, '\n')
		}
	}
	for i, d := range kept {
		if i > 0 {
			v.text = append(v.text, ',')
		}
		name := v.bytes(d)
		v.text = append(append(append(v.text, name...), '='), v.tag(string(name))...)
	}
	v.group = v.text[start:len(v.text):len(v.text)]
}

// field returns a field, nil when it is not there.
func (v *view) field(name string) (found *entry) {
	for i := range v.fields {
		if e := &v.fields[i]; string(v.bytes(e.name)) == name && (found == nil || e.kind <= found.kind) {
			found = e
		}
	}
	return found
}

// fieldOf returns a field of a type, nil when it is not there.
func (v *view) fieldOf(name string, kind kind) (found *entry) {
	for i := range v.fields {
		if e := &v.fields[i]; e.kind == kind && string(v.bytes(e.name)) == name {
			found = e
		}
	}
	return found
}

// read returns the value of a tag or field as text, nil when it is not there.
func (v *view) read(s source) []byte {
	switch {
	case s.field != "":
		if e := v.field(s.field); e != nil {
			return v.textOf(e)
		}
	case s.tag != "":
		return v.tag(s.tag)
	}
	return nil
}

// textOf returns a field's value as text does.
func (v *view) textOf(e *entry) []byte {
	start := len(v.text)
	switch e.kind {
	case kindString:
		return v.bytes(e.text)
	case kindInt:
		v.text = strconv.AppendInt(v.text, int64(e.number), 10)
	case kindBool:
		v.text = strconv.AppendBool(v.text, protowire.DecodeBool(e.number))
	case kindDouble:
		v.text = appendDouble(v.text, math.Float64frombits(e.number))
	}
	return v.text[start:]
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
