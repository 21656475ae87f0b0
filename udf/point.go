package udf

import (
	"maps"
	"strconv"

	"github.com/influxdata/kapacitor/udf/agent"
)

// The names under which a point carries what |alert() knows, when no option
// says otherwise: those that Chronograf's scripts have made the convention.
const (
	defaultLevel    = "level"
	defaultID       = "alertID"
	defaultMessage  = "message"
	defaultDuration = "duration"
)

// A source is the tag or field of a point that a value was read from; the zero
// source is none.
type source struct{ tag, field string }

// fields returns all fields of a point but those that became something else.
func fields(p *agent.Point, without ...source) map[string]any {
	all := make(map[string]any, len(p.FieldsString)+len(p.FieldsDouble)+len(p.FieldsInt)+len(p.FieldsBool))
	for k, v := range p.FieldsString {
		all[k] = v
	}
	for k, v := range p.FieldsDouble {
		all[k] = v
	}
	for k, v := range p.FieldsInt {
		all[k] = v
	}
	for k, v := range p.FieldsBool {
		all[k] = v
	}
	for _, s := range without {
		delete(all, s.field)
	}
	return all
}

// tags returns all tags of a point but those that became something else.
func tags(p *agent.Point, without ...source) map[string]string {
	all := make(map[string]string, len(p.Tags))
	maps.Copy(all, p.Tags)
	for _, s := range without {
		delete(all, s.tag)
	}
	return all
}

// text returns a field's value as the native handler sends it: a string as it
// is, all else as its JSON text. NaN and the infinities, which have none, go
// by their names.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return string(appendDouble(nil, v))
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}
