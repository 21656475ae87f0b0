package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxBody is BigPanda's limit of a request's body in bytes (reference/alerts).
const (
	maxBody   = 6 << 20
	bigReason = "the body is over 6 MB"
)

// maxAppKey is the sandbox's own limit: BigPanda names none, and its keys have
// 32 characters.
const maxAppKey = 512

// The documented statuses. Their strings are shared by all events.
var statuses = []string{"ok", "critical", "warning", "unknown", "acknowledged"}

// item is one alert of a request, read and judged.
type item struct {
	identity
	payload      string // canonical
	status       string
	timestamp    int64
	hasTimestamp bool
	refused      string // why it is refused with 400, else ""
}

// batch is a request's body, read and judged.
type batch struct {
	appKey string
	items  []item
	err    string // why the request as a whole is refused with 400, else ""
}

// readBatch reads the body of a request. It never fails: what is wrong is
// said in the batch or in its items.
func readBatch(body []byte) batch { return readKeyedBatch(body, "") }

// readKeyedBatch is readBatch where an app key is beside the body, "" for none.
func readKeyedBatch(body []byte, beside string) batch {
	// Whether BigPanda mends text that is not UTF-8 is not documented.
	if !utf8.Valid(body) {
		return batch{err: "the body is not UTF-8"}
	}
	if !json.Valid(body) {
		return batch{err: "the body is not JSON: " + syntaxError(body)}
	}
	if bytes.TrimSpace(body)[0] != '{' {
		return batch{err: "the body is not a JSON object"}
	}
	fields := withAppKey(objectFields(body), quoted(beside))
	b := batch{}
	key := valueOf(fields, "app_key")
	if b.err = checkAppKey(key); b.err == "" {
		b.appKey = unquote(key)
		if beside != "" && beside != b.appKey { // which one counts is not documented
			return batch{err: "one app_key is in the body, and another in the query or header"}
		}
	}
	if alerts := valueOf(fields, "alerts"); alerts != nil {
		b.readAlerts(fields, alerts, key)
		return b
	}
	b.items = []item{readItem(b.appKey, fields)}
	return b
}

// quoted returns an app key as it would stand in a body, nil for "".
func quoted(appKey string) json.RawMessage {
	if appKey == "" {
		return nil
	}
	return json.RawMessage(encode(appKey))
}

// checkAppKey says what is wrong with the value of app_key, nil if there is
// none.
func checkAppKey(value []byte) string {
	switch {
	case value == nil:
		return "app_key is missing"
	case value[0] != '"' || len(value) == 2:
		return "app_key is not a text, or empty"
	case len(value)-2 > maxAppKey: // each alert of a batch has it in its payload
		return fmt.Sprintf("app_key is longer than %d bytes", maxAppKey)
	}
	return ""
}

// readAlerts reads the form {"app_key": …, "alerts": […]}.
func (b *batch) readAlerts(top []field, alerts, key []byte) {
	if alerts[0] != '[' {
		b.err = "alerts is not an array"
		return
	}
	// What beside app_key may stand there, and what it would mean for the
	// alerts, is not documented.
	for i, f := range top {
		if f.name != "app_key" && f.name != "alerts" {
			b.err = fmt.Sprintf("%q stands beside alerts, where only app_key may", f.name)
			return
		}
		if i > 0 && f.name == top[i-1].name {
			b.err = fmt.Sprintf("%q stands there twice", f.name)
			return
		}
	}
	for _, alert := range arrayItems(alerts) {
		if alert[0] != '{' {
			b.items = append(b.items, item{refused: "not a JSON object"})
			continue
		}
		fields := objectFields(alert)
		if valueOf(fields, "app_key") != nil {
			b.items = append(b.items, item{refused: "app_key stands inside an alert of a batch, not beside alerts"})
			continue
		}
		b.items = append(b.items, readItem(b.appKey, withAppKey(fields, key)))
	}
	if len(b.items) == 0 && b.err == "" {
		b.err = "alerts is empty"
	}
}

// syntaxError says what json.Valid found wrong.
func syntaxError(body []byte) string {
	if len(bytes.TrimSpace(body)) == 0 {
		return "it is empty"
	}
	var v any
	err := json.Unmarshal(body, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("%s, at byte %d", syntax, syntax.Offset)
	}
	return fmt.Sprint(err)
}

// readItem judges one alert and makes its canonical payload.
func readItem(appKey string, fields []field) (it item) {
	for i, f := range fields {
		if i > 0 && f.name == fields[i-1].name {
			it.refused = twiceReason(f.name)
			return it
		}
		if isNested(f.value) {
			it.refused = nestedReason(f.name)
			return it
		}
	}
	if it.refused = it.readStatus(valueOf(fields, "status")); it.refused != "" {
		return it
	}
	if it.refused = it.readTimestamp(valueOf(fields, "timestamp")); it.refused != "" {
		return it
	}
	it.identity = identify(appKey, fields)
	it.payload = canonical(fields)
	return it
}

func (it *item) readStatus(value []byte) string {
	if value == nil {
		return "status is missing"
	}
	if value[0] == '"' {
		text := unquote(value)
		for _, s := range statuses {
			if text == s {
				it.status = s
				return ""
			}
		}
	}
	return fmt.Sprintf("status %s is none of ok, critical, warning, unknown, acknowledged (in lower case)", shorten(value))
}

// readTimestamp takes whole seconds only: what BigPanda makes of a fraction,
// a text or null is not documented.
func (it *item) readTimestamp(value []byte) string {
	if value == nil {
		return ""
	}
	seconds, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return fmt.Sprintf("timestamp %s is not a whole number of seconds", shorten(value))
	}
	it.timestamp, it.hasTimestamp = seconds, true
	return ""
}

// isNested reports whether a value is an object, or an array that holds an
// object or an array.
func isNested(value []byte) bool {
	if value[0] == '[' {
		for _, item := range arrayItems(value) {
			if item[0] == '{' || item[0] == '[' {
				return true
			}
		}
	}
	return value[0] == '{'
}

func nestedReason(name string) string {
	return fmt.Sprintf("property %q holds a nested object or array, which is not supported", name)
}

func twiceReason(name string) string { return fmt.Sprintf("property %q stands there twice", name) }

// shorten makes a value fit into a reason.
func shorten(value []byte) string {
	const most = 60
	if len(value) <= most {
		return string(value)
	}
	return string(bytes.ToValidUTF8(value[:most], nil)) + "…"
}
