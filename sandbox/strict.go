package sandbox

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// BigPanda's documented limits of one value. What becomes of one that is over
// its limit is not documented, so only the fault "strict" holds them.
const (
	maxDescription = 2048 // characters; reference/alert-object-2
	maxValue       = 512  // characters; docs/tag-naming
	maxArray       = 30   // items; docs/tag-naming
)

// strictReason says what is in a canonical payload that the documentation
// does not promise to take, "" if nothing is: values that are not a text, an
// integer or an array of those; empty ones; ones over a limit; reserved names.
func strictReason(payload string) string {
	for _, f := range objectFields([]byte(payload), nil) {
		if reason := strictField(f); reason != "" {
			return reason
		}
	}
	return ""
}

func strictField(f field) string {
	switch string(f.name) {
	case "source", "_source", "source_system":
		return fmt.Sprintf("property %q is reserved", f.name)
	}
	if f.value[0] != '[' {
		return strictValue(f, f.value)
	}
	n := 0
	for item := range arrayItems(f.value) {
		n++
		if reason := strictValue(f, item); reason != "" {
			return reason
		}
	}
	if n > maxArray {
		return fmt.Sprintf("property %q holds %d items, over %d", f.name, n, maxArray)
	}
	return ""
}

func strictValue(f field, value []byte) string {
	if value[0] != '"' {
		if _, err := strconv.ParseInt(string(value), 10, 64); err != nil {
			return fmt.Sprintf("property %q is %s: not a text, an integer or an array", f.name, shorten(value))
		}
		return ""
	}
	limit := maxValue
	if string(f.name) == "description" {
		limit = maxDescription
	}
	switch {
	case len(value) == 2:
		return fmt.Sprintf("property %q is empty", f.name)
	case len(value)-2 <= limit: // bytes, never fewer than characters
		return ""
	}
	if n := utf8.RuneCount(unquote(value)); n > limit {
		return fmt.Sprintf("property %q has %d characters, over %d", f.name, n, limit)
	}
	return ""
}
