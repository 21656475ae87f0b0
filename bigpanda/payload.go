// Package bigpanda speaks BigPanda's Alerts API: the payload of an alert, what
// BigPanda takes for one and the same alert, the request that carries one or
// several of them, and what each answer means for the alerts that were sent.
//
// A [Client] makes one attempt and says how it went. It keeps no queue, does
// not try again by itself and knows nothing of where alerts come from. It knows the
// form of a payload; which properties an alert has is package udf's.
//
// What becomes of alerts that were not delivered is their [Class]: class.go lists them,
// answer.go gives one to each answer, failure.go to a request that got none. The sender of
// package udf, package retry and the command's check go by it.
package bigpanda

import (
	"slices"
	"strconv"

	"github.com/tidwall/gjson"
)

func init() {
	// HTML in a text is for people to read, in a log and in the queue too.
	gjson.SetEscapeHTML(false)
}

// Statuses are the values that an alert's status may have (reference/alerts).
var Statuses = []string{"ok", "critical", "warning", "unknown", "acknowledged"}

// MaxDescription is how many characters a description may have, by BigPanda's
// documentation (reference/alert-object-2). Encode does not enforce it.
const MaxDescription = 2048

// The names that the API gives a meaning.
const (
	nameAppKey    = "app_key"
	nameAlerts    = "alerts"
	nameStatus    = "status"
	nameTimestamp = "timestamp"
	nameIncident  = "incident_identifier"
	namePrimary   = "primary_property"
	nameSecondary = "secondary_property"
)

// Payload is one alert as BigPanda is told of it.
type Payload struct {
	AppKey    string
	Status    string // ok, critical, warning, unknown or acknowledged
	Timestamp int64  // Unix seconds
	// Properties is everything else by name. A property with an empty name or
	// an empty value is not sent, and neither is one named app_key, alerts,
	// status or timestamp: those belong to the fields above and to the request.
	Properties map[string]string
}

// Encode returns the JSON object of the alert without its app key, which goes
// once into each request (see [Body]). Equal payloads make equal bytes: names
// are sorted bytewise and there is no white space. Status and timestamp are
// always there. Each byte that is not UTF-8 becomes U+FFFD; HTML is left as it
// is.
func (p Payload) Encode() []byte {
	var room [48]string // keeps the names of a usual alert off the heap
	names := append(room[:0], nameStatus, nameTimestamp)
	size := len(`{"status":"","timestamp":-9223372036854775808}`) + len(p.Status)
	for name, value := range p.Properties {
		if value == "" || name == "" || ofRequest(name) {
			continue
		}
		names = append(names, name)
		size += len(`,"":""`) + len(name) + len(value)
	}
	slices.Sort(names)

	b := make([]byte, 0, size+size/16) // some room for escapes
	for _, name := range names {
		b = append(b, ',')
		b = gjson.AppendJSONString(b, name)
		b = append(b, ':')
		switch name {
		case nameStatus:
			b = gjson.AppendJSONString(b, p.Status)
		case nameTimestamp:
			b = strconv.AppendInt(b, p.Timestamp, 10)
		default:
			b = gjson.AppendJSONString(b, p.Properties[name])
		}
	}
	b[0] = '{'
	return append(b, '}')
}

// Body returns the body of the request that carries alerts, which are results
// of Encode, for one app key: a plain object for one alert, an object with the
// list alerts for any other number.
func Body(appKey string, alerts [][]byte) []byte {
	size := len(`{"app_key":"","alerts":[]}`) + 2*len(appKey)
	for _, alert := range alerts {
		size += len(alert) + 1
	}
	b := append(make([]byte, 0, size), `{"app_key":`...)
	b = gjson.AppendJSONString(b, appKey)
	if len(alerts) == 1 && len(alerts[0]) > len(`{}`) {
		return append(append(b, ','), alerts[0][1:]...)
	}
	b = append(b, `,"alerts":[`...)
	for n, alert := range alerts {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, alert...)
	}
	return append(b, `]}`...)
}

// ofRequest reports whether a name belongs to the request or to the fields of
// Payload, so that no property may bear it. A property named alerts would turn
// a single alert into a batch.
func ofRequest(name string) bool {
	switch name {
	case nameAppKey, nameAlerts, nameStatus, nameTimestamp:
		return true
	}
	return false
}
