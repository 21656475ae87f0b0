package udf

import (
	"cmp"
	"fmt"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

// reserved are the names that the API (BigPanda, reference/alert-object-2) or
// the alert itself defines: a tag or field of such a name arrives as tag_NAME
// or field_NAME.
var reserved = map[string]bool{
	"app_key": true, "alerts": true, "status": true, "timestamp": true,
	"primary_property": true, "secondary_property": true, "incident_identifier": true,
	"source": true, "_source": true, "source_system": true,
	"check": true, "description": true, "details": true, "task": true,
}

// content is what the alert of an event is made of, beside the event, whatever the
// two were read from.
type content struct {
	name    string            // the measurement
	tags    map[string]string // but those that became something else
	fields  map[string]any    // the same
	host    string            // the tag host, also if it became something else
	message string            // "" for Kapacitor's default
	details string            // of an alert event, as the alert node's template made them
}

func (h *Handler) content() content {
	p := &h.point
	message, messageFrom := h.options.readMessage(p)
	consumed := []source{p.levelFrom, p.idFrom, p.durationFrom, messageFrom}
	return content{
		name: string(p.bytes(p.name)), tags: p.allTags(consumed...), fields: p.allFields(consumed...),
		host: string(p.tag("host")), message: message,
	}
}

// readMessage returns the message that |alert() put on the point, if any.
func (o *options) readMessage(p *point) (message string, from source) {
	if o.message != nil {
		return "", source{}
	}
	for _, name := range []string{o.messageField, defaultMessage} {
		from := source{field: name}
		if message := p.read(from); len(message) > 0 {
			return string(message), from
		}
	}
	return "", source{}
}

// payload makes the alert of an event, all but its timestamp: what the native
// handler sends for it (Kapacitor, services/bigpanda/service.go) without its
// defects. A template that fails leaves its property out.
func (h *Handler) payload(e *event, c content) bigpanda.Payload {
	o := h.options
	group, id := string(e.group), string(e.id)
	var d attributeData
	d.idData = idData{Name: c.name, TaskName: h.task, Group: groupName(group), Tags: c.tags}
	d.ID = id
	d.Fields = c.fields
	d.Level = e.level.String()
	d.Time = time.Unix(0, e.time).UTC()
	d.Duration = e.duration
	d.Message = cmp.Or(c.message, id+" is "+d.Level) // Kapacitor's default
	if o.message != nil {
		if rendered, ok := h.render("message", o.message, d.messageData); ok {
			d.Message = rendered
		}
	}

	props := make(map[string]string, len(c.tags)+len(c.fields)+len(o.attributes)+8)
	if o.autoTags {
		for name, value := range c.tags {
			if name, ok := attributeName(c.tags, "tag_", name); ok {
				props[name] = value
			}
		}
	}
	if o.autoFields {
		for name, value := range c.fields {
			if name, ok := attributeName(c.fields, "field_", name); ok {
				props[name] = fieldText(value)
			}
		}
	}
	task := h.task + ":" + c.name
	props["check"] = id
	props["task"] = task
	props["description"] = d.Message
	props["primary_property"] = o.primaryProperty
	props["secondary_property"] = o.secondaryProperty
	d.Details, props["details"] = c.details, postedDetails(c.details)
	if o.details != nil {
		d.Details, _ = h.render("details", o.details, d.detailsData)
		props["details"] = d.Details
	}
	if o.incidentIdentifier != nil {
		props["incident_identifier"], _ = h.render("incidentIdentifier", o.incidentIdentifier, d.incidentData)
	}

	// The native handler renders these of the event, whose group is empty
	// where the alert node's own templates have "nil" (alert/types.go).
	d.Group = group
	switch {
	case o.host != nil:
		props["host"], _ = h.render("host", o.host, d)
	case props["host"] == "":
		props["host"] = c.host
	}
	for name, t := range o.attributes {
		props[name], _ = h.render("attribute "+name, t, d)
	}
	props["description"] = cut(props["description"], bigpanda.MaxDescription)

	payload := bigpanda.Payload{AppKey: o.appKey, Status: o.status(e.level), Properties: props}
	if payload.Identity().Primary == "" {
		h.once("no primary property", func() {
			h.log.Warn("an alert has no primary property, without which BigPanda drops it: its task takes the place; "+
				"set .host('…'), or name a tag or field with .primaryProperty('…')", "id", id)
		})
		props["task"] = task // which an attribute may have emptied
		props["primary_property"] = "task"
	}
	return payload
}

// recovery makes the alert that says that one is over of which no point says so. It
// is made of what makes up the alert, and of why: what a point holds may be another
// alert's. at is in Unix seconds.
func recovery(i bigpanda.Identity, id, task, why string, at int64) bigpanda.Payload {
	p := bigpanda.Payload{AppKey: i.AppKey, Status: "ok", Timestamp: at, Properties: map[string]string{
		"check": id, "task": task, "description": cut(why, bigpanda.MaxDescription),
	}}
	i.Apply(&p)
	if p.Identity().Primary == "" {
		// The incident identifier is the whole identity, but BigPanda drops what
		// has no primary property.
		p.Properties["primary_property"] = "task"
		if task == "" {
			p.Properties["primary_property"] = "check"
		}
	}
	return p
}

func newChange(alert string, level Level, p bigpanda.Payload) outbox.Change {
	return outbox.Change{Alert: alert, AppKey: p.AppKey, Time: p.Timestamp, Level: level.String(), Payload: p.Encode()}
}

// fieldText returns a field's value as the native handler sends it: a string as it
// is, all else as its JSON text. NaN and the infinities, which have none, go
// by their names.
func fieldText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return string(appendDouble(nil, v))
	}
	return fmt.Sprint(v) // an integer, a bool, a number of an alert event
}

// attributeName returns the name under which one of all tags or fields is an
// attribute. It has none, and ok is false, when its own name is reserved and
// the other one belongs to another of them.
func attributeName[V any](all map[string]V, prefix, name string) (attribute string, ok bool) {
	if !reserved[name] {
		return name, true
	}
	_, taken := all[prefix+name]
	return prefix + name, !taken
}

// cut returns the first limit characters of s.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n == limit {
			return s[:i]
		}
		n++
	}
	return s
}

// render executes a template of an option. One that fails is counted, logged
// the first time, and gives nothing.
func (h *Handler) render(option string, t *compiled, data any) (text string, ok bool) {
	text, err := render(t, data)
	if err != nil {
		h.counts.Templates++
		h.once("template "+option, func() {
			h.log.Error("a template failed on a point: its property is left out, or takes its default; mend the template",
				"option", option, "error", err)
		})
		return "", false
	}
	return text, true
}
