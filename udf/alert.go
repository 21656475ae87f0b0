package udf

import (
	"time"

	"bigpanda-udf/bigpanda"

	"github.com/influxdata/kapacitor/udf/agent"
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

// readMessage returns the message that |alert() put on the point, if any.
func (o *options) readMessage(v *view) (message string, from source) {
	if o.message != nil {
		return "", source{}
	}
	for _, name := range []string{o.messageField, defaultMessage} {
		from := source{field: name}
		if message := v.read(from); len(message) > 0 {
			return string(message), from
		}
	}
	return "", source{}
}

// payload makes the alert of an event, all but its timestamp: what the native
// handler sends for it (Kapacitor, services/bigpanda/service.go) without its
// defects. A template that fails leaves its property out.
func (h *Handler) payload(p *agent.Point, e event) bigpanda.Payload {
	o := h.options
	message, messageFrom := o.readMessage(&h.view)
	consumed := []source{e.levelFrom, e.idFrom, e.durationFrom, messageFrom}
	tags, fields := tags(p, consumed...), fields(p, consumed...)

	var d attributeData
	group := string(h.view.group)
	d.idData = idData{Name: p.Name, TaskName: h.task, Group: groupName(group), Tags: tags}
	d.ID = e.id
	d.Fields = fields
	d.Level = e.level.String()
	d.Time = time.Unix(0, h.view.time).UTC()
	d.Duration = e.duration
	d.Message = message
	if o.message != nil {
		rendered, ok := h.render("message", o.message, d.messageData)
		d.Message = rendered
		if !ok {
			d.Message = defaultMessageText(e)
		}
	} else if message == "" {
		d.Message = defaultMessageText(e)
	}

	props := make(map[string]string, len(tags)+len(fields)+len(o.attributes)+8)
	if o.autoTags {
		for name, value := range tags {
			if name, ok := attributeName(tags, "tag_", name); ok {
				props[name] = value
			}
		}
	}
	if o.autoFields {
		for name, value := range fields {
			if name, ok := attributeName(fields, "field_", name); ok {
				props[name] = text(value)
			}
		}
	}
	task := h.task + ":" + p.Name
	props["check"] = e.id
	props["task"] = task
	props["description"] = d.Message
	props["primary_property"] = o.primaryProperty
	props["secondary_property"] = o.secondaryProperty
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
		props["host"] = p.Tags["host"] // also when it is the id
	}
	for _, a := range o.attributes {
		props[a.name], _ = h.render("attribute "+a.name, a.template, d)
	}
	props["description"] = cut(props["description"], bigpanda.MaxDescription)

	payload := bigpanda.Payload{AppKey: o.appKey, Status: o.status(e.level), Properties: props}
	if payload.Identity().Primary == "" {
		h.once("no primary property", func() {
			h.log.Warn("an alert has no primary property, without which BigPanda drops it: its task takes the place; "+
				"set .host('…'), or name a tag or field with .primaryProperty('…')", "id", e.id)
		})
		props["task"] = task // which an attribute may have emptied
		props["primary_property"] = "task"
	}
	return payload
}

// defaultMessageText is Kapacitor's default message template,
// {{ .ID }} is {{ .Level }}.
func defaultMessageText(e event) string { return e.id + " is " + e.level.String() }

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
		h.counts.templates++
		h.once("template "+option, func() {
			h.log.Error("a template failed on a point: its property is left out, or takes its default; mend the template",
				"option", option, "error", err)
		})
		return "", false
	}
	return text, true
}
