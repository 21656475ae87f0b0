package sandbox

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// maxAppKey is the sandbox's own limit in bytes: BigPanda names none, and its keys
// have 32 characters.
const maxAppKey = 512

// BigPanda's documented limits of one value.
const (
	maxDescription = 2048 // characters; reference/alert-object-2
	maxValue       = 512  // characters; docs/tag-naming
	maxArray       = 30   // items; docs/tag-naming
	maxName        = 64   // characters; docs/tag-naming
)

// The documented statuses (docs/status).
var statuses = []string{"ok", "critical", "warning", "unknown", "acknowledged"}

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
// breach: the property, if it is about one, and what is wrong. Of the outcome
// outcomeUnsure are those that the fault "strict" refuses.
type rule struct {
	name, page, outcome string
	find                finder
}

type finder func(fields []field, report func(property, text string))

// rules are all there are, those first that matter most. That a body is over
// 6 MB (reference/alerts) is known before there are fields.
var rules = []rule{
	{"app key", "reference/alerts", outcomeRefused, property("app_key", checkAppKey)},
	{"status", "docs/status", outcomeRefused, property("status", checkStatus)},
	{"timestamp", "reference/alert-object-2", outcomeRefused, property("timestamp", checkTimestamp)},
	{"nested", "reference/alert-object-2", outcomeRefused, eachField(func(f field) string {
		isNested := func(item gjson.Result) bool { return item.IsObject() || f.IsArray() && item.IsArray() }
		return textIf(slices.ContainsFunc(itemsOf(f.Result), isNested),
			"property %q holds a nested object or array, which is not supported", f.name)
	})},
	{"twice", "", outcomeRefused, func(fields []field, report func(string, string)) {
		for i, f := range fields {
			if isTwice(fields, i) {
				report(f.name, fmt.Sprintf("property %q stands there twice", f.name))
			}
		}
	}},
	{"primary property", "reference/alert-object-2", outcomeDropped, func(fields []field, report func(string, string)) {
		if titleOf(fields) == "" {
			report("", noPrimary)
		}
	}},
	{"reserved name", "docs/tag-naming", outcomeUnsure, eachField(func(f field) string {
		return textIf(isReserved(f.name), "property %q is reserved", f.name)
	})},
	{"kind of value", "reference/alert-object-2", outcomeUnsure, eachValue(func(name string, value gjson.Result) string {
		isText := value.Type == gjson.String || value.Type == gjson.JSON // or nested
		return textIf(!isText && !isInteger(value), "property %q is %s: not a text, an integer or an array", name, shorten(value))
	})},
	{"empty value", "reference/alert-object-2", outcomeUnsure, eachValue(func(name string, value gjson.Result) string {
		return textIf(value.Raw == `""`, "property %q is empty", name)
	})},
	{"description", "reference/alert-object-2", outcomeUnsure, eachValue(func(name string, value gjson.Result) string {
		return textIf(name == "description" && runes(value) > maxDescription, overLong, name, runes(value), maxDescription)
	})},
	{"long value", "docs/tag-naming", outcomeUnsure, eachValue(func(name string, value gjson.Result) string {
		return textIf(name != "description" && runes(value) > maxValue, overLong, name, runes(value), maxValue)
	})},
	{"long array", "docs/tag-naming", outcomeUnsure, eachField(func(f field) string {
		n := len(itemsOf(f.Result))
		return textIf(n > maxArray, "property %q holds %d items, over %d", f.name, n, maxArray)
	})},
	{"tag name", "docs/tag-naming", outcomeUnsought, eachField(func(f field) string {
		return textIf(!isReserved(f.name) && (len(f.name) > maxName || !tagName.MatchString(f.name)),
			"property %q: a name has lower-case letters, digits, _ and -, begins with a letter, and is no longer than %d", f.name, maxName)
	})},
}

const overLong = "property %q has %d characters, over %d"

// Its length is no part of it: counted repetitions make a start of the program slower.
var tagName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// textIf is what is wrong if something is, and else "".
func textIf(wrong bool, format string, args ...any) string {
	if !wrong {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// runes is how many characters a text has; of another value, 0.
func runes(value gjson.Result) int { return utf8.RuneCountInString(value.Str) }

func isInteger(value gjson.Result) bool {
	_, err := strconv.ParseInt(value.Raw, 10, 64)
	return err == nil
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

// reasonOf returns the first of problemsOf that has an outcome, "" if none has.
func reasonOf(fields []field, outcome string) (reason string) {
	for _, r := range rules {
		if r.outcome == outcome && reason == "" {
			r.find(fields, func(_, text string) { reason = cmp.Or(reason, text) })
		}
	}
	return reason
}

// property makes a finder of what is wrong with one property, which may not exist.
func property(name string, wrong func(value gjson.Result) string) finder {
	return func(fields []field, report func(string, string)) {
		if text := wrong(valueOf(fields, name)); text != "" {
			report(name, text)
		}
	}
}

// eachField makes a finder of what is wrong with a property.
func eachField(wrong func(f field) string) finder {
	return func(fields []field, report func(string, string)) {
		for _, f := range fields {
			if text := wrong(f); text != "" {
				report(f.name, text)
			}
		}
	}
}

// eachValue makes a finder of what is wrong with one value, or with one item of
// an array: one is enough.
func eachValue(wrong func(name string, value gjson.Result) string) finder {
	return eachField(func(f field) (text string) {
		for _, item := range itemsOf(f.Result) {
			text = cmp.Or(text, wrong(f.name, item))
		}
		return text
	})
}

func checkAppKey(value gjson.Result) string {
	switch {
	case !value.Exists():
		return "app_key is missing"
	case value.Type != gjson.String || value.Str == "":
		return "app_key is not a text, or empty"
	}
	// Each alert of a batch has it in its payload.
	return textIf(len(value.Raw)-2 > maxAppKey, "app_key is longer than %d bytes", maxAppKey)
}

func checkStatus(value gjson.Result) string {
	if !value.Exists() {
		return "status is missing"
	}
	return textIf(value.Type != gjson.String || !slices.Contains(statuses, value.Str),
		"status %s is none of ok, critical, warning, unknown, acknowledged (in lower case)", shorten(value))
}

// checkTimestamp takes whole seconds only: what BigPanda makes of a fraction,
// a text or null is not documented.
func checkTimestamp(value gjson.Result) string {
	return textIf(value.Exists() && !isInteger(value), "timestamp %s is not a whole number of seconds", shorten(value))
}

// isTwice reports whether a property has the name of the one before it.
func isTwice(fields []field, i int) bool { return i > 0 && fields[i].name == fields[i-1].name }

// isReserved reports whether BigPanda keeps a name for itself. Of the reserved
// names status and incident_identifier are left out: an alert has them.
func isReserved(name string) bool {
	return name == "source" || name == "_source" || name == "source_system"
}

// shorten makes a value fit into a reason.
func shorten(value gjson.Result) string { return cut(value.Raw, 60) }
