package udf

import (
	"strings"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A Level is an alert level as Kapacitor has it (alert/types.go), in order of
// severity.
type Level uint8

const (
	OK Level = iota
	Info
	Warning
	Critical
)

var levelNames = [...]string{OK: "OK", Info: "INFO", Warning: "WARNING", Critical: "CRITICAL"}

// String returns the level as Kapacitor writes it.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a level as Kapacitor or a person writes it, in any case:
// OK, INFO, WARNING or WARN, CRITICAL or CRIT.
func ParseLevel(word string) (Level, bool) {
	switch strings.ToUpper(word) {
	case "OK":
		return OK, true
	case "INFO":
		return Info, true
	case "WARNING", "WARN":
		return Warning, true
	case "CRITICAL", "CRIT":
		return Critical, true
	}
	return OK, false
}

// status returns the BigPanda status of a level.
func (o *options) status(l Level) string {
	switch l {
	case Info:
		return o.infoStatus
	case Warning:
		return "warning"
	case Critical:
		return "critical"
	}
	return "ok"
}

// level reads the level of a point, and the name of the tag or field that it
// was read from. word is what stands there when it is no known level.
func (o *options) level(p *agent.Point) (level Level, from source, word string, ok bool) {
	switch {
	case o.levelField != "":
		from = source{field: o.levelField}
	case o.levelTag != "":
		from = source{tag: o.levelTag}
	case hasField(p, defaultLevel):
		from = source{field: defaultLevel}
	default:
		from = source{tag: defaultLevel}
	}
	word, found := from.text(p)
	if !found {
		return OK, from, "", false
	}
	if level, ok = o.levels[strings.ToUpper(word)]; ok {
		return level, from, word, true
	}
	level, ok = ParseLevel(word)
	return level, from, word, ok
}
