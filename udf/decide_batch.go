package udf

import (
	"maps"
	"slices"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A batch is what is known of the one whose points are coming. One point
// represents all of it, the first with the highest level: |alert() puts one level
// on all of them, so there it is the first.
type batch struct {
	open  bool // it has begun, and not ended
	begin *agent.BeginBatch
	point *point // a copy of the one that represents it; nil: none has had a level yet
	level Level  // of point
}

// BeginBatch begins a batch. It never fails (P1).
func (h *Handler) BeginBatch(b *agent.BeginBatch) error {
	if h.store == nil {
		return nil
	}
	h.lock()
	defer h.mu.Unlock()
	if h.batch.open {
		h.once("a batch within a batch", func() {
			h.log.Warn("a batch began before the one before it had ended, whose points make no alert", "name", h.batch.begin.GetName())
		})
	}
	h.batch = batch{open: true, begin: b}
	return nil
}

// addToBatch keeps the point at hand if it represents the batch, as far as that has
// come.
func (h *Handler) addToBatch() {
	level, known := h.readLevel()
	if known && (h.batch.point == nil || level > h.batch.level) {
		h.batch.point, h.batch.level = h.point.clone(), level
	}
}

// EndBatch decides what a batch means: one event, or none. It never fails (P1).
func (h *Handler) EndBatch(end *agent.EndBatch) error {
	if h.store == nil {
		return nil
	}
	h.lock()
	defer h.mu.Unlock()
	b := h.batch
	h.batch = batch{}
	if !b.open {
		h.once("the end of no batch", func() {
			h.log.Warn("a batch ended that had not begun: it makes no alert", "name", end.GetName())
		})
	}
	defer h.survive("handling a batch failed: it passes on without an alert; please report this")
	h.arrived() // the points may have come in a piece before
	h.state.saw(min(end.GetTmax(), h.feed.latest))
	if b.point != nil {
		h.point.fromBatch(b, end, h.options)
		h.takePoint()
	}
	return nil
}

// fromBatch makes the point of a batch, as the alert node makes its event of it
// (Kapacitor, alert.go): the name, the group and the tags are the batch's, the
// fields those of the point that represents it, and the time is the point's, or the
// batch's when all of it is OK.
//
// The alert node writes its level and its id into the tags of the points, and
// into those of the batch, whether or not they are read here. Here they are tags,
// for the level and the id to be read from.
func (p *point) fromBatch(b batch, end *agent.EndBatch, o *options) {
	p.reset(nil)
	p.time, p.group, p.byName = b.point.time, []byte(validText(b.begin.GetGroup())), b.begin.GetByName()
	if b.level == OK {
		p.time = end.GetTmax()
	}
	p.name = p.add(b.begin.GetName())
	for _, name := range slices.Sorted(maps.Keys(b.begin.GetTags())) {
		p.dims = append(p.dims, p.add(name))
		p.tags = append(p.tags, entry{name: p.dims[len(p.dims)-1], text: p.add(b.begin.GetTags()[name])})
	}
	for _, name := range []string{defaultID, o.idTag, defaultLevel, o.levelTag} {
		value := b.point.tag(name)
		_, isLevel := o.parseLevel(value)
		if value == nil || (name == defaultLevel || name == o.levelTag) && !isLevel {
			continue // a tag like any other
		}
		p.tags = append(p.tags, entry{name: p.add(name), text: p.add(string(value))})
	}
	for _, e := range b.point.fields {
		e.name, e.text = p.add(string(b.point.bytes(e.name))), p.add(string(b.point.bytes(e.text)))
		p.fields = append(p.fields, e)
	}
}
