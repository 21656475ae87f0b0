package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"
)

// field is one property of a JSON object.
type field struct {
	name  string
	value json.RawMessage // without white space around it
}

// The functions below take JSON that json.Valid took: an error is a fault of the
// sandbox itself.
func must(err error) {
	if err != nil {
		panic("sandbox: JSON that is valid: " + err.Error())
	}
}

// objectFields returns the properties of a JSON object, sorted by name. A map
// would hide that one stands there twice: equal names are neighbours.
func objectFields(object []byte) []field {
	var fields []field
	gjson.ParseBytes(object).ForEach(func(name, value gjson.Result) bool {
		fields = append(fields, field{name.String(), json.RawMessage(value.Raw)})
		return true
	})
	slices.SortFunc(fields, func(a, b field) int { return cmp.Compare(a.name, b.name) })
	return fields
}

// valueOf returns the JSON of a property, nil if it is absent.
func valueOf(fields []field, name string) json.RawMessage {
	for _, f := range fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// withAppKey adds an app key that is beside the fields of an alert, nil for none,
// to fields that have none.
func withAppKey(fields []field, beside json.RawMessage) []field {
	const name = "app_key"
	if beside == nil || valueOf(fields, name) != nil {
		return fields
	}
	at, _ := slices.BinarySearchFunc(fields, name, func(f field, name string) int { return cmp.Compare(f.name, name) })
	return slices.Insert(fields, at, field{name, beside})
}

// arrayItems returns the items of a JSON array.
func arrayItems(array []byte) (items []json.RawMessage) {
	gjson.ParseBytes(array).ForEach(func(_, item gjson.Result) bool {
		items = append(items, json.RawMessage(item.Raw))
		return true
	})
	return items
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var text string
	must(json.Unmarshal(quoted, &text))
	return text
}

// encode writes v as JSON in the one form that canonical payloads and keys use.
func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	must(e.Encode(v))
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// canonical writes an object in one form, however it was written: see Payload.
func canonical(fields []field) string {
	object := make(map[string]any, len(fields))
	for _, f := range fields {
		object[f.name] = decoded(f.value)
	}
	return encode(object)
}

// decoded returns a value that holds no object with its texts decoded, and with
// its numbers as they were written.
func decoded(value json.RawMessage) any {
	switch value[0] {
	case '"':
		return unquote(value)
	case '[':
		items := make([]any, 0)
		for _, item := range arrayItems(value) {
			items = append(items, decoded(item))
		}
		return items
	}
	return value
}
