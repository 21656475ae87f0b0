package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// field is one property of a JSON object. Its texts are part of the JSON's: what
// is kept of them is a copy, or it would keep all of a body.
type field struct {
	name string
	gjson.Result
}

// objectFields returns the properties of a JSON object that json.Valid took,
// sorted by name. A map would hide that one stands there twice: equal names are
// neighbours.
func objectFields(object string) []field {
	var fields []field
	gjson.Parse(object).ForEach(func(name, value gjson.Result) bool {
		fields = append(fields, field{name.String(), value})
		return true
	})
	slices.SortFunc(fields, func(a, b field) int { return cmp.Compare(a.name, b.name) })
	return fields
}

// valueOf returns the value of a property; it does not exist if that is absent.
func valueOf(fields []field, name string) gjson.Result {
	for _, f := range fields {
		if f.name == name {
			return f.Result
		}
	}
	return gjson.Result{}
}

// withAppKey adds an app key from outside an alert, if there is one, to fields
// that have none.
func withAppKey(fields []field, outer gjson.Result) []field {
	const name = "app_key"
	if !outer.Exists() || valueOf(fields, name).Exists() {
		return fields
	}
	at, _ := slices.BinarySearchFunc(fields, name, func(f field, name string) int { return cmp.Compare(f.name, name) })
	return slices.Insert(fields, at, field{name, outer})
}

// itemsOf returns the items of an array, and else the value itself.
func itemsOf(value gjson.Result) []gjson.Result {
	if value.IsArray() {
		return value.Array()
	}
	return []gjson.Result{value}
}

// shown returns a value as BigPanda shows it: an array with | between its items
// (docs/tag-naming), null as nothing.
func shown(value gjson.Result) string {
	switch {
	case value.Type == gjson.String:
		return value.Str
	case value.Type == gjson.Null:
		return ""
	case value.IsArray():
		return strings.Join(shownItems(value), "|")
	}
	return value.Raw
}

// shownItems returns each of itemsOf as text.
func shownItems(value gjson.Result) []string {
	texts := []string{}
	for _, item := range itemsOf(value) {
		texts = append(texts, shown(item))
	}
	return texts
}

// encode writes v as JSON in the one form that canonical payloads and keys use.
func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	must(e.Encode(v))
	return strings.TrimSuffix(b.String(), "\n")
}

// canonical writes an object in one form, however it was written: see Payload.
func canonical(fields []field) Payload {
	object := make(map[string]any, len(fields))
	for _, f := range fields {
		object[f.name] = decoded(f.Result)
	}
	return Payload(encode(object))
}

// decoded returns a value that holds no object with its texts decoded, and with
// its numbers as they were written.
func decoded(value gjson.Result) any {
	switch {
	case value.Type == gjson.String:
		return value.Str
	case value.IsArray():
		items := []any{}
		for _, item := range value.Array() {
			items = append(items, decoded(item))
		}
		return items
	}
	return json.RawMessage(value.Raw)
}
