package udf

import (
	"bytes"
	"encoding/binary"
	"fmt"
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
	lasts    bool // it has a duration, which may be 0
	resend   bool // the level is the same, and .resendAfter() is over
	begins   bool // the level is the same, and a new incident begins at it
	moves    bool // the alert is open under another app key than the one in force

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
	h.options.readDuration(v, &e)
	h.incidents.weigh(e, v.time)
	if e.level == OK && e.duration <= 0 && len(h.state.series) == 0 {
		return e, false // whatever its id is
	}

	h.options.leaveOut(v, e)
	var id []byte
	id, e.idFrom = h.readID(v, e.levelFrom)
	h.key = appendSeriesKey(emptied(h.key), v.group, id)
	known, open := h.state.series[string(h.key)]
	if open {
		known.seen = h.state.now
		e.moves = e.level != OK && bigpanda.AppKeyOf(known.alert.key) != h.appKey
	}
	switch {
	case open && (known.level != e.level || known.again), e.moves:
	case open:
		e.begins = h.begins(known, e)
		after := int64(h.options.resendAfter)
		e.resend = !e.begins && after > 0 && v.time-known.told >= after
		if !e.begins && !e.resend {
			h.note(known, e)
			return e, false
		}
	case e.level == OK:
		// The OK of an alert that this process never saw open: only |alert()
		// knows a recovery, and it says how long the alert lasted.
		if h.state.isResolved(h.key) || e.duration <= 0 {
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

// leaveOut takes out of the group what the alert node wrote into it: Kapacitor
// makes the group anew from the tags into which .levelTag() and .idTag() write
// (alert.go, augmentTagsWithEventState), and the level is no part of a series.
// A tag of the source may be called level where the level is a field: it is the
// source's where .levelField() names another field, and else the alert node's if
// it says the same.
func (o *options) leaveOut(v *view, e event) {
	v.groupWithout(func(name []byte) bool {
		switch string(name) {
		case defaultID, o.idTag, o.levelTag, e.levelFrom.tag:
			return true
		case defaultLevel:
			isNamed := o.levelField != "" && o.levelField != defaultLevel
			return !isNamed && string(v.tag(defaultLevel)) == e.level.String()
		}
		return false
	})
}

// tell makes an alert of an event.
func (h *Handler) tell(p *agent.Point, e event) {
	payload := h.payload(p, e)
	key := string(h.key)
	if e.moves {
		// A second before: the level may be that of another node of the task, which
		// an edit has numbered anew, and that node tells the same alert with this
		// point.
		h.resolve(key, unix(h.view.time)-1, e.id+" goes on under another app key, which was set for the function")
	}
	if known, open := h.state.series[key]; open && !e.begins {
		h.note(known, e)
	}
	alert, shared := h.state.tell(key, e, h.view.time, &payload)
	if shared {
		h.counts.sharedAlerts++
		h.once("shared", func() {
			h.log.Warn("two series make one BigPanda alert, each change of one overwrites the other: "+h.toTellApart(e),
				"id", e.id, "group", string(h.view.group))
		})
	}
	h.counts.changes++
	switch {
	case e.resend:
		h.counts.resent++
	case e.begins:
		h.once("begins", func() {
			h.log.Info("a new incident of an alert whose OK never came, as with .noRecoveries() or a |where() on the level: it is told again",
				"id", e.id, "group", string(h.view.group))
		})
	}
	h.noticeTime()
	h.change(alert, e.level, payload)
	h.log.Debug("level changed", "id", e.id, "group", string(h.view.group), "to", e.level, "timestamp", payload.Timestamp)
}

// toTellApart says what is to be done where two series make one alert.
func (h *Handler) toTellApart(e event) string {
	for _, d := range h.view.dims {
		name := string(h.view.bytes(d))
		if string(h.view.tag(name)) == e.level.String() {
			say := "too"
			if h.options.levelField != "" {
				say = "in the place of .levelField()" // the two contradict each other
			}
			return fmt.Sprintf("their group holds the level, in the tag %s; if |alert() writes it, say .levelTag('%[1]s') on @bigpanda() %s", name, say)
		}
	}
	return "tell them apart by .primaryProperty('…'), .secondaryProperty('…') or .incidentIdentifier('…')"
}

// change puts a change where the next Commit takes it from.
func (h *Handler) change(alert string, level Level, p bigpanda.Payload) {
	h.changes = append(h.changes, outbox.Change{
		Alert: alert, AppKey: p.AppKey, Time: p.Timestamp, Level: level.String(), Payload: p.Encode(),
	})
}

// readDuration reads how long the alert has lasted, as |alert() counts it: an
// integer of nanoseconds.
func (o *options) readDuration(v *view, e *event) {
	name := o.durationField
	if name == "" {
		name = defaultDuration
	}
	if f := v.fieldOf(name, kindInt); f != nil {
		e.duration, e.lasts, e.durationFrom = time.Duration(f.number), true, source{field: name}
	}
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
	v.text = append(v.text, groupName(v.group)...)
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
	input := appendPart(appendPart(emptied(h.rendered.input), v.bytes(v.name)), v.group)
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
	data := idData{Name: string(v.bytes(v.name)), TaskName: h.task, Group: string(groupName(v.group)), Tags: tags}
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
