package udf

import (
	"maps"
	"slices"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A batch is what is known of the one whose points are coming. One point stands
// for all of it, the first with the highest level: |alert() puts one level on
// all of them, so there it is the first.
type batch struct {
	open  bool // it has begun, and not ended
	begin *agent.BeginBatch
	point *agent.Point // nil: none has had a level yet
	level Level        // of point
}

// BeginBatch begins a batch. It never fails (P1).
func (h *Handler) BeginBatch(b *agent.BeginBatch) error {
	if h.batch.open {
		h.once("a batch within a batch", func() {
			h.log.Warn("a batch began before the one before it had ended, whose points make no alert", "name", h.batch.begin.GetName())
		})
	}
	h.batch = batch{open: true, begin: b}
	return nil
}

// stands reports whether the point in view stands for the batch at hand, as far
// as that has come.
func (h *Handler) stands() (Level, bool) {
	level, _, known := h.readLevel()
	return level, known && (h.batch.point == nil || level > h.batch.level)
}

// EndBatch decides what a batch means: one event, or none. It never fails (P1).
func (h *Handler) EndBatch(end *agent.EndBatch) error {
	b := h.batch
	h.batch = batch{}
	if !b.open {
		h.once("the end of no batch", func() {
			h.log.Warn("a batch ended that had not begun: it makes no alert", "name", end.GetName())
		})
	}
	if h.store == nil {
		return nil
	}
	h.loaded()
	defer h.survive("handling a batch failed: it passes on without an alert; please report this")
	h.arrived() // the points may have come in a piece before
	h.state.saw(min(end.GetTmax(), h.feed.latest))
	if b.point == nil {
		return nil
	}
	p := h.options.pointOf(b, end)
	h.view.of(p)
	h.date()
	if e, changes := h.look(); changes {
		h.tell(p, e)
	}
	return nil
}

// pointOf returns the point that is told of a batch, as the alert node makes
// its event (Kapacitor, alert.go): the name, the group and the tags are the
// batch's, the fields those of the point that stands for it, and the time is
// the point's, or the batch's when all of it is OK.
//
// The alert node writes its level and its id into the tags of the points, and
// into those of the batch. Here they are tags, for the level and the id to be
// read from.
func (o *options) pointOf(b batch, end *agent.EndBatch) *agent.Point {
	p := &agent.Point{
		Time: b.point.GetTime(), Name: b.begin.GetName(), Tags: maps.Clone(b.begin.GetTags()),
		Group: b.begin.GetGroup(), ByName: b.begin.GetByName(), Dimensions: slices.Sorted(maps.Keys(b.begin.GetTags())),
		FieldsString: b.point.FieldsString, FieldsDouble: b.point.FieldsDouble,
		FieldsInt: b.point.FieldsInt, FieldsBool: b.point.FieldsBool,
	}
	if b.level == OK {
		p.Time = end.GetTmax()
	}
	if p.Tags == nil {
		p.Tags = make(map[string]string)
	}
	for name, isLevel := range o.alertTags() {
		value, there := b.point.GetTags()[name]
		if !there {
			continue
		}
		if _, known := o.parseLevel(value); isLevel && !known {
			continue // a tag like any other
		}
		p.Tags[name] = value
	}
	return p
}

// alertTags are the tags that the alert node may have written, and whether it
// is the level: it writes them whether or not they are read here.
func (o *options) alertTags() map[string]bool {
	tags := map[string]bool{defaultID: false, defaultLevel: true}
	if o.idTag != "" {
		tags[o.idTag] = false
	}
	if o.levelTag != "" {
		tags[o.levelTag] = true
	}
	return tags
}
