package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// maxBody is BigPanda's limit of a request's body in bytes (reference/alerts).
const (
	maxBody   = 6 << 20
	bigReason = "the body is over 6 MB"
)

// item is one alert of a request, read and judged.
type item struct {
	Event   // but for what the record sets
	dated   bool
	refused string // why it is refused with 400, else ""
	raw     string // as it came
}

// batch is a request's body, read and judged.
type batch struct {
	appKey string
	key    gjson.Result // the app key as it came
	items  []item
	err    string // why the request as a whole is refused with 400, else ""
}

// readBatch reads the body of a request, with the app key of the query or header,
// "" for none. It never fails: what is wrong is said in the batch or in its items.
func readBatch(body []byte, outer string) (b batch) {
	// Whether BigPanda repairs text that is not UTF-8 is not documented.
	if !utf8.Valid(body) {
		return batch{err: "the body is not UTF-8"}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return batch{err: "the body is not JSON: it is empty"}
	}
	var object json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(body, &object), &syntax) {
		return batch{err: fmt.Sprintf("the body is not JSON: %s, at byte %d", syntax, syntax.Offset)}
	}
	if object[0] != '{' {
		return batch{err: "the body is not a JSON object"}
	}
	fields := objectFields(string(object))
	if outer != "" {
		fields = withAppKey(fields, gjson.Parse(encode(outer)))
	}
	b.key = valueOf(fields, "app_key")
	if b.err = checkAppKey(b.key); b.err == "" {
		b.appKey = strings.Clone(b.key.Str)
		if outer != "" && outer != b.appKey { // which one counts is not documented
			b.err = "one app_key is in the body, and another in the query or header"
			return b
		}
	}
	if alerts := valueOf(fields, "alerts"); alerts.Exists() {
		b.readAlerts(fields, alerts)
	} else {
		b.items = []item{readItem(b.appKey, string(object), fields)}
	}
	return b
}

// readAlerts reads the form {"app_key": …, "alerts": […]}.
func (b *batch) readAlerts(top []field, alerts gjson.Result) {
	if !alerts.IsArray() {
		b.err = "alerts is not an array"
		return
	}
	// What else than app_key may be there, and what it would mean for the
	// alerts, is not documented.
	for i, f := range top {
		if f.name != "app_key" && f.name != "alerts" {
			b.err = fmt.Sprintf("%q stands beside alerts, where only app_key may", f.name)
			return
		}
		if isTwice(top, i) {
			b.err = fmt.Sprintf("%q stands there twice", f.name)
			return
		}
	}
	for _, alert := range alerts.Array() {
		fields := objectFields(alert.Raw)
		switch {
		case !alert.IsObject():
			b.items = append(b.items, item{raw: alert.Raw, refused: "not a JSON object"})
		case valueOf(fields, "app_key").Exists():
			b.items = append(b.items, item{raw: alert.Raw, refused: "app_key stands inside an alert of a batch, not beside alerts"})
		default:
			b.items = append(b.items, readItem(b.appKey, alert.Raw, withAppKey(fields, b.key)))
		}
	}
	if len(b.items) == 0 && b.err == "" {
		b.err = "alerts is empty"
	}
}

// readItem judges one alert and makes its event.
func readItem(appKey, raw string, fields []field) item {
	it := item{raw: raw, refused: reasonOf(fields, outcomeRefused)}
	if it.refused != "" {
		return it
	}
	it.AppKey, it.Payload = appKey, canonical(fields)
	it.Status = strings.Clone(valueOf(fields, "status").Str)
	if timestamp := valueOf(fields, "timestamp"); timestamp.Exists() {
		it.Timestamp, _ = strconv.ParseInt(timestamp.Raw, 10, 64)
		it.dated = true
	}
	it.identify(fields)
	return it
}
