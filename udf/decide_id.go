package udf

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// readID returns the id of the alert of the point at hand, valid as long as the
// point.
func (h *Handler) readID() []byte {
	p := &h.point
	if h.options.id != nil {
		return h.renderID(p)
	}
	for _, from := range h.options.idSources() {
		if id := p.read(from); len(id) > 0 {
			p.idFrom = from
			return id
		}
	}
	return p.defaultID()
}

// idSources are where an id is looked for, in this order.
func (o *options) idSources() [4]source {
	return [...]source{{tag: o.idTag}, {field: o.idField}, {tag: defaultID}, {field: defaultID}}
}

// defaultID is Kapacitor's default id template, {{ .Name }}:{{ .Group }}.
func (p *point) defaultID() []byte {
	start := len(p.text)
	p.text = append(p.text, p.bytes(p.name)...)
	p.text = append(p.text, ':')
	p.text = append(p.text, groupName(p.group)...)
	return p.text[start:]
}

// groupName is the group as Kapacitor's id, message and details templates have
// it.
func groupName[T string | []byte](group T) T {
	if len(group) == 0 {
		return T("nil")
	}
	return group
}

// Rendered ids are remembered: rendering costs more than all else that a point
// takes. Enough for the hosts of a task, and too few to make memory follow the
// number of series (P7), however long their tags are.
const (
	maxIDBytes = 8 << 20
	idBytes    = 800 // that an id counts for besides its own
)

// renderedIDs remembers the ids that .id('…') made of what it can see of a point.
type renderedIDs struct {
	known map[string][]byte
	bytes int // that known counts for
	input []byte
}

func (r *renderedIDs) add(id []byte) {
	size := len(r.input) + len(id) + idBytes
	if size > maxBuffer {
		return
	}
	if r.known == nil || r.bytes+size > maxIDBytes {
		r.known, r.bytes = make(map[string][]byte), 0
	}
	r.known[string(r.input)] = slices.Clone(id)
	r.bytes += size
}

// renderID returns the id that .id('…') makes.
func (h *Handler) renderID(p *point) []byte {
	// A map's entries come in any order.
	slices.SortStableFunc(p.tags, func(a, b entry) int { return bytes.Compare(p.bytes(a.name), p.bytes(b.name)) })
	input := appendPart(appendPart(emptied(h.rendered.input), p.bytes(p.name)), p.group)
	for _, e := range p.tags {
		if name := p.bytes(e.name); string(name) != p.levelFrom.tag {
			input = appendPart(appendPart(input, name), p.bytes(e.text))
		}
	}
	h.rendered.input = input
	if id, ok := h.rendered.known[string(input)]; ok {
		return id
	}
	data := idData{Name: string(p.bytes(p.name)), TaskName: h.task, Group: string(groupName(p.group)), Tags: p.allTags(p.levelFrom)}
	id := p.defaultID()
	if text, ok := h.render("id", h.options.id, data); ok {
		id = []byte(text)
	}
	h.rendered.add(id)
	return id
}

// appendPart appends a part of a key with its length in front.
func appendPart(b, part []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}
