package sandbox

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// BigPanda's documented limits of one value.
const (
	maxDescription = 2048 // characters; reference/alert-object-2
	maxValue       = 512  // characters; docs/tag-naming
	maxArray       = 30   // items; docs/tag-naming
	maxName        = 64   // characters; docs/tag-naming
)

// What becomes of a payload with a problem.
const (
	outcomeRefused  = "refused"
	outcomeDropped  = "accepted, then dropped"
	outcomeUnsure   = "not documented"
	outcomeUnsought = "taken, but it cannot be searched"
)

// Problem is what the documentation has against a payload.
type Problem struct {
	Rule     string `json:"rule"`
	Property string `json:"property,omitempty"`
	Text     string `json:"text"`           // what is wrong
	Outcome  string `json:"outcome"`        // what comes of it
	Page     string `json:"page,omitempty"` // of BigPanda's documentation, which says so
}

// rule is one that the documentation has for a payload. find reports each
// breach: the property, if it is about one, and what is wrong.
type rule struct {
	name, page, outcome string
	// strict: the documentation does not promise to take such a payload, and
	// the fault "strict" has it refused.
	strict bool
	find   func(fields []field, report func(property, text string))
}

// rules are all there are, those first that matter most. That a body is over
// 6 MB (reference/alerts) is known before there are fields.
var rules = []rule{
	{"app key", "reference/alerts", outcomeRefused, false, func(fields []field, report func(string, string)) {
		if reason := checkAppKey(valueOf(fields, "app_key")); reason != "" {
			report("app_key", reason)
		}
	}},
	{"status", "docs/status", outcomeRefused, false, func(fields []field, report func(string, string)) {
		if reason := new(item).readStatus(valueOf(fields, "status")); reason != "" {
			report("status", reason)
		}
	}},
	{"timestamp", "reference/alert-object-2", outcomeRefused, false, func(fields []field, report func(string, string)) {
		if reason := new(item).readTimestamp(valueOf(fields, "timestamp")); reason != "" {
			report("timestamp", reason)
		}
	}},
	{"nested", "reference/alert-object-2", outcomeRefused, false, func(fields []field, report func(string, string)) {
		for _, f := range fields {
			if isNested(f.value) {
				report(f.name, nestedReason(f.name))
			}
		}
	}},
	{"twice", "", outcomeRefused, false, func(fields []field, report func(string, string)) {
		for i, f := range fields {
			if i > 0 && f.name == fields[i-1].name {
				report(f.name, twiceReason(f.name))
			}
		}
	}},
	{"primary property", "reference/alert-object-2", outcomeDropped, false, func(fields []field, report func(string, string)) {
		if id := identify("", fields); id.dropped != "" {
			report("", id.dropped)
		}
	}},
	{"reserved name", "docs/tag-naming", outcomeUnsure, true, func(fields []field, report func(string, string)) {
		for _, f := range fields {
			if isReserved(f.name) {
				report(f.name, fmt.Sprintf("property %q is reserved", f.name))
			}
		}
	}},
	{"kind of value", "reference/alert-object-2", outcomeUnsure, true, eachValue(func(f field, value []byte) string {
		switch value[0] {
		case '"', '{', '[':
			return "" // a text, or nested
		}
		if _, err := strconv.ParseInt(string(value), 10, 64); err != nil {
			return fmt.Sprintf("property %q is %s: not a text, an integer or an array", f.name, shorten(value))
		}
		return ""
	})},
	{"empty value", "reference/alert-object-2", outcomeUnsure, true, eachValue(func(f field, value []byte) string {
		if string(value) == `""` {
			return fmt.Sprintf("property %q is empty", f.name)
		}
		return ""
	})},
	{"description", "reference/alert-object-2", outcomeUnsure, true, eachValue(func(f field, value []byte) string {
		if f.name != "description" {
			return ""
		}
		return overLong(f, value, maxDescription)
	})},
	{"long value", "docs/tag-naming", outcomeUnsure, true, eachValue(func(f field, value []byte) string {
		if f.name == "description" {
			return ""
		}
		return overLong(f, value, maxValue)
	})},
	{"long array", "docs/tag-naming", outcomeUnsure, true, func(fields []field, report func(string, string)) {
		for _, f := range fields {
			n := 0
			if f.value[0] == '[' {
				n = len(arrayItems(f.value))
			}
			if n > maxArray {
				report(f.name, fmt.Sprintf("property %q holds %d items, over %d", f.name, n, maxArray))
			}
		}
	}},
	{"tag name", "docs/tag-naming", outcomeUnsought, false, func(fields []field, report func(string, string)) {
		for _, f := range fields {
			if !isReserved(f.name) && !isTagName(f.name) {
				report(f.name, fmt.Sprintf("property %q: a name has lower-case letters, digits, _ and -, begins with a letter, and is no longer than %d", f.name, maxName))
			}
		}
	}},
}

// problemsOf returns what the documentation has against an alert, given as its
// sorted properties with app_key among them. Nothing is an empty slice.
func problemsOf(fields []field) []Problem {
	problems := []Problem{}
	for _, r := range rules {
		r.find(fields, func(property, text string) {
			problems = append(problems, Problem{r.name, property, text, r.outcome, r.page})
		})
	}
	return problems
}

// strictReason says what is in a canonical payload that the documentation
// does not promise to take, "" if nothing is.
func strictReason(payload string) (reason string) {
	fields := objectFields([]byte(payload))
	for _, r := range rules {
		if !r.strict {
			continue
		}
		r.find(fields, func(_, text string) {
			if reason == "" {
				reason = text
			}
		})
	}
	return reason
}

// eachValue makes a find of what is wrong with one value, or with one item of
// an array.
func eachValue(wrong func(f field, value []byte) string) func([]field, func(string, string)) {
	return func(fields []field, report func(string, string)) {
		for _, f := range fields {
			if f.value[0] != '[' {
				if text := wrong(f, f.value); text != "" {
					report(f.name, text)
				}
				continue
			}
			for _, item := range arrayItems(f.value) {
				if text := wrong(f, item); text != "" {
					report(f.name, text)
					break // one is enough
				}
			}
		}
	}
}

func overLong(f field, value []byte, limit int) string {
	if value[0] != '"' || len(value)-2 <= limit { // bytes, never fewer than characters
		return ""
	}
	if n := utf8.RuneCountInString(unquote(value)); n > limit {
		return fmt.Sprintf("property %q has %d characters, over %d", f.name, n, limit)
	}
	return ""
}

// isReserved reports whether BigPanda keeps a name for itself. Of the reserved
// names status and incident_identifier are left out: an alert has them.
func isReserved(name string) bool {
	switch name {
	case "source", "_source", "source_system":
		return true
	}
	return false
}

func isTagName(name string) bool {
	for i, c := range name {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '_' || c == '-')) {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxName
}
