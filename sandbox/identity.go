package sandbox

import (
	"encoding/json"
	"strings"
)

// Which property is an alert's primary or secondary one when the payload does
// not name one, in BigPanda's order (reference/alert-object-2).
var (
	primaryNames   = []string{"host", "service", "application", "device"}
	secondaryNames = []string{"check", "sensor"}
)

// identity is what BigPanda tells alerts apart by.
type identity struct {
	key      string // see keyOf; "" without a primary property
	incident string
	title    string // the value of the primary property
	subtitle string // the value of the secondary property
	dropped  string // why BigPanda would drop the payload
}

// identify reads an alert's identity off its properties, by the documented
// rules. A property that is empty or null counts as absent.
func identify(appKey string, fields []field) identity {
	id := identity{
		incident: textOf(fields, "incident_identifier"),
		title:    firstText(fields, textOf(fields, "primary_property"), primaryNames),
		subtitle: firstText(fields, textOf(fields, "secondary_property"), secondaryNames),
	}
	// Whether an incident_identifier makes up for a missing primary property
	// is not documented; that it does not is the harsher reading.
	if id.title == "" {
		id.dropped = "no primary property: neither one that primary_property names, nor " + strings.Join(primaryNames, ", ")
		return id
	}
	id.key = keyOf(appKey, id)
	return id
}

// keyOf makes the key of an alert: a JSON array of the app key, which of the
// two kinds it is, and the identifier or the values. The names of the primary
// and the secondary property are not part of it.
func keyOf(appKey string, id identity) string {
	parts := []string{appKey, "incident", id.incident}
	if id.incident == "" {
		parts = []string{appKey, "values", id.title, id.subtitle}
	}
	return encode(parts)
}

// firstText returns the text of the property called named, if it is there,
// else of the first of names that is.
func firstText(fields []field, named string, names []string) string {
	if named != "" {
		if text := textOf(fields, named); text != "" {
			return text
		}
	}
	for _, name := range names {
		if text := textOf(fields, name); text != "" {
			return text
		}
	}
	return ""
}

// textOf returns the value of a property as BigPanda shows it, "" if it is
// absent.
func textOf(fields []field, name string) string {
	if value := valueOf(fields, name); value != nil {
		return shown(value)
	}
	return ""
}

// shown returns a value as text: an array with | between its items
// (docs/tag-naming), null as nothing.
func shown(value json.RawMessage) string {
	switch value[0] {
	case '"':
		return unquote(value)
	case 'n':
		return ""
	case '[':
		return strings.Join(shownItems(value), "|")
	}
	return string(value)
}

// shownItems returns each item of a JSON array as text.
func shownItems(array json.RawMessage) []string {
	texts := []string{}
	for _, item := range arrayItems(array) {
		texts = append(texts, shown(item))
	}
	return texts
}
