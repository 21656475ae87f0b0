package udf

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

// An event is what was read off a point that changes what BigPanda knows.
type event struct {
	level    Level
	id       string
	duration time.Duration
	resend   bool // the level is the same, and .resendAfter() is over

	levelFrom, idFrom, durationFrom source // what became of it is no attribute
}

// look decides whether the point in view changes what BigPanda knows. It makes
// no other difference for one that does, so that it may be asked twice.
func (h *Handler) look() (e event, changes bool) {
	v := &h.view
	h.state.saw(v.time)
	var leveled bool
	if e.level, e.levelFrom, leveled = h.readLevel(); !leveled {
		return e, false
	}
	e.duration, e.durationFrom = h.options.readDuration(v)
	if e.level == OK && e.duration <= 0 && len(h.state.series) == 0 {
		return e, false // whatever its id is
	}

	var id []byte
	id, e.idFrom = h.readID(v, e.levelFrom)
	h.key = appendSeriesKey(emptied(h.key), v.bytes(v.group), id)
	known, open := h.state.series[string(h.key)]
	if open {
		known.seen, known.fresh = h.state.now, true
	}
	switch {
	case open && known.level != e.level:
	case open:
		after := int64(h.options.resendAfter)
		if e.resend = after > 0 && v.time-known.told >= after; !e.resend {
			return e, false
		}
	case e.level == OK:
		// The OK of an alert that this process never saw open: only |alert()
		// knows a recovery, and it says how long the alert lasted.
		if _, told := h.state.graves[string(h.key)]; told || e.duration <= 0 {
			return e, false
		}
	}
	if age := h.options.maxAge; age > 0 && h.config.Now().Sub(time.Unix(0, v.time)) > age {
		h.counts.old++
		h.once("old", func() {
			h.log.Warn("a change is older than maxAge and is not sent", "id", string(id), "to", e.level, "point_time", time.Unix(0, v.time).UTC())
		})
		return e, false
	}
	e.id = string(id)
	return e, true
}

// tell makes an alert of an event.
func (h *Handler) tell(p *agent.Point, e event) {
	payload := h.payload(p, e)
	key := string(h.key)
	alert, shared := h.state.tell(key, e.level, p.Time, &payload)
	if shared {
		h.counts.sharedAlerts++
		h.once("shared", func() {
			h.log.Warn("two series make one BigPanda alert, each change of one overwrites the other: "+
				"tell them apart by .primaryProperty('…'), .secondaryProperty('…') or .incidentIdentifier('…')",
				"id", e.id, "group", p.Group)
		})
	}
	h.counts.changes++
	if e.resend {
		h.counts.resent++
	}
	h.change(alert, e.level, payload)
	h.log.Debug("level changed", "id", e.id, "group", p.Group, "to", e.level, "timestamp", payload.Timestamp)
}

// change puts a change where the next Commit takes it from.
func (h *Handler) change(alert string, level Level, p bigpanda.Payload) {
	h.changes = append(h.changes, outbox.Change{
		Alert: alert, Lane: p.AppKey, Time: p.Timestamp, Level: level.String(), Payload: p.Encode(),
	})
}

// readDuration returns how long the alert has lasted, as |alert() counts it:
// an integer of nanoseconds.
func (o *options) readDuration(v *view) (d time.Duration, from source) {
	name := o.durationField
	if name == "" {
		name = defaultDuration
	}
	if e := v.fieldOf(name, kindInt); e != nil {
		return time.Duration(e.number), source{field: name}
	}
	return 0, source{}
}

// readID returns the alert's id, valid as long as the view, and where it was
// read from.
func (h *Handler) readID(v *view, levelFrom source) (id []byte, from source) {
	if h.options.id != nil {
		return h.renderID(v, levelFrom), source{}
	}
	for _, from := range h.options.idSources() {
		if id := v.read(from); len(id) > 0 {
			return id, from
		}
	}
	return v.defaultID(), source{}
}

// idSources are where an id is looked for, in this order.
func (o *options) idSources() [4]source {
	return [...]source{{tag: o.idTag}, {field: o.idField}, {tag: defaultID}, {field: defaultID}}
}

// defaultID is Kapacitor's default id template, {{ .Name }}:{{ .Group }}.
func (v *view) defaultID() []byte {
	start := len(v.text)
	v.text = append(v.text, v.bytes(v.name)...)
	v.text = append(v.text, ':')
	v.text = append(v.text, groupName(v.bytes(v.group))...)
	return v.text[start:]
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
	maxIDs     = 10_000
	maxIDBytes = 8 << 20
	maxIDPart  = 64 << 10 // of maxIDBytes, for one
)

// renderedIDs remembers the ids that .id('…') made of what it can see of a point.
type renderedIDs struct {
	known map[string][]byte
	bytes int // in known
	input []byte
}

func (r *renderedIDs) add(id []byte) {
	size := len(r.input) + len(id)
	if size > maxIDPart {
		return
	}
	if r.known == nil || len(r.known) >= maxIDs || r.bytes+size > maxIDBytes {
		r.known, r.bytes = make(map[string][]byte), 0
	}
	r.known[string(r.input)] = slices.Clone(id)
	r.bytes += size
}

// renderID returns the id that .id('…') makes.
func (h *Handler) renderID(v *view, levelFrom source) []byte {
	// A map's entries come in any order.
	slices.SortStableFunc(v.tags, func(a, b entry) int { return bytes.Compare(v.bytes(a.name), v.bytes(b.name)) })
	input := appendPart(appendPart(emptied(h.rendered.input), v.bytes(v.name)), v.bytes(v.group))
	for _, e := range v.tags {
		if name := v.bytes(e.name); string(name) != levelFrom.tag {
			input = appendPart(appendPart(input, name), v.bytes(e.text))
		}
	}
	h.rendered.input = input
	if id, ok := h.rendered.known[string(input)]; ok {
		return id
	}
	tags := make(map[string]string, len(v.tags))
	for _, e := range v.tags {
		tags[string(v.bytes(e.name))] = string(v.bytes(e.text))
	}
	delete(tags, levelFrom.tag)
	data := idData{Name: string(v.bytes(v.name)), TaskName: h.task, Group: string(groupName(v.bytes(v.group))), Tags: tags}
	id := v.defaultID()
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
