package bigpanda

import (
	"strconv"
	"strings"
)

// The properties that are primary or secondary when the payload does not name
// one itself, in BigPanda's order (reference/alerts).
var (
	primaryDefaults   = []string{"host", "service", "application", "device"}
	secondaryDefaults = []string{"check", "sensor"}
)

// Identity is what BigPanda tells alerts apart by, read off a finished payload.
type Identity struct {
	AppKey string `json:"app_key,omitempty"`
	// Incident is the incident_identifier. When there is one, it alone
	// identifies the alert within its app key.
	Incident string `json:"incident,omitempty"`
	// Primary names the primary property, PrimaryValue is its value. Both are
	// empty when the payload has none: BigPanda drops such a payload.
	Primary      string `json:"primary,omitempty"`
	PrimaryValue string `json:"primary_value,omitempty"`
	// Secondary names the secondary property, SecondaryValue is its value. Both
	// are empty when the payload has none, which BigPanda allows.
	Secondary      string `json:"secondary,omitempty"`
	SecondaryValue string `json:"secondary_value,omitempty"`
}

// Identity reads the identity off the payload as it is sent: a property with an
// empty value is not there.
func (p Payload) Identity() Identity {
	i := Identity{AppKey: p.AppKey, Incident: p.value(nameIncident)}
	i.Primary, i.PrimaryValue = p.choose(namePrimary, primaryDefaults)
	i.Secondary, i.SecondaryValue = p.choose(nameSecondary, secondaryDefaults)
	return i
}

// choose returns the property that the property chooser names, if it is in the
// payload, else the first of defaults that is, else two empty strings.
func (p Payload) choose(chooser string, defaults []string) (name, value string) {
	name = p.value(chooser)
	if value = p.value(name); value != "" {
		return name, value
	}
	for _, name := range defaults {
		if value := p.value(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

// Chooseable reports whether the name may be that of an alert's primary or secondary
// property. Status and timestamp change with each event of an alert, so that BigPanda
// would take each for another alert; what names a property is none itself.
func Chooseable(name string) bool {
	switch name {
	case nameStatus, nameTimestamp, namePrimary, nameSecondary:
		return false
	}
	return true
}

// value returns what the payload says under a name, empty when it is not sent.
// App key, status and timestamp are part of the payload too, so they may be
// named as primary or secondary property.
func (p Payload) value(name string) string {
	switch name {
	case "", nameAlerts:
		return ""
	case nameAppKey:
		return p.AppKey
	case nameStatus:
		return p.Status
	case nameTimestamp:
		return strconv.FormatInt(p.Timestamp, 10)
	}
	return p.Properties[name]
}

// Key returns a text that is equal for two identities when, and only when, they
// are one alert for BigPanda: the app key with the incident identifier, else
// with the values of the primary and the secondary property. Lengths stand
// before the parts, so it is unambiguous whatever they contain.
func (i Identity) Key() string {
	// Most are short enough to be made without memory of their own.
	b := make([]byte, 0, 256)
	part := func(s string) {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, ':')
		b = append(b, s...)
	}
	if i.Incident != "" {
		b = append(b, 'i')
		part(i.AppKey)
		part(i.Incident)
		return string(b)
	}
	b = append(b, 'p')
	part(i.AppKey)
	part(i.PrimaryValue)
	part(i.SecondaryValue)
	return string(b)
}

// ParseKey returns the identity that has a key, which Key has returned, with these
// names for its primary and secondary property, which a key does not hold. Its values
// share the key's memory. Of another text, which must not be empty, it
// makes an identity whose key is another.
func ParseKey(key, primary, secondary string) Identity {
	appKey, rest := cutPart(key[1:])
	value, rest := cutPart(rest)
	if key[0] == 'i' {
		return Identity{AppKey: appKey, Incident: value}
	}
	second, _ := cutPart(rest)
	return Identity{AppKey: appKey, Primary: primary, PrimaryValue: value, Secondary: secondary, SecondaryValue: second}
}

// AppKeyOf returns the app key of the identity that has a key, which Key has
// returned. It shares the key's memory.
func AppKeyOf(key string) string {
	appKey, _ := cutPart(key[1:])
	return appKey
}

func cutPart(key string) (part, rest string) {
	digits, rest, _ := strings.Cut(key, ":")
	n, _ := strconv.Atoi(digits)
	n = min(max(n, 0), len(rest))
	return rest[:n], rest[n:]
}
