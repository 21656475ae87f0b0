package sandbox

import "strings"

// noPrimary is why BigPanda drops a payload in which titleOf finds nothing.
const noPrimary = "no primary property: neither one that primary_property names, nor host, service, application, device"

// identify sets what BigPanda tells alerts apart by, read off an alert's
// properties by the documented rules: see Event.
func (e *Event) identify(fields []field) {
	e.Title = strings.Clone(titleOf(fields))
	e.Subtitle = strings.Clone(firstText(fields, "secondary_property", "check", "sensor"))
	incident := shown(valueOf(fields, "incident_identifier"))
	switch {
	case e.Title == "":
		// Whether an incident_identifier makes up for a missing primary property
		// is not documented; that it does not is the harsher reading.
		e.Dropped = noPrimary
	case incident != "":
		e.Key = encode([]string{e.AppKey, "incident", incident})
	default:
		e.Key = encode([]string{e.AppKey, "values", e.Title, e.Subtitle})
	}
}

// titleOf returns the value of the primary property. Which one it is when the
// payload does not name it is BigPanda's order (reference/alert-object-2), and so
// with the secondary one.
func titleOf(fields []field) string {
	return firstText(fields, "primary_property", "host", "service", "application", "device")
}

// firstText returns the text of the property that the property by names, if it is
// there, else of the first of names that is. One that is empty or null counts as
// absent.
func firstText(fields []field, by string, names ...string) string {
	if named := shown(valueOf(fields, by)); named != "" {
		names = append([]string{named}, names...)
	}
	for _, name := range names {
		if text := shown(valueOf(fields, name)); text != "" {
			return text
		}
	}
	return ""
}
