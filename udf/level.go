package udf

import "strings"

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

// readLevel returns the word that stands for the level of a point, empty when
// there is none, and where it was read from.
func (o *options) readLevel(v *view) (word []byte, from source) {
	switch {
	case o.levelField != "":
		from.field = o.levelField
	case o.levelTag != "":
		from.tag = o.levelTag
	default:
		if e := v.field(defaultLevel); e != nil {
			return v.textOf(e), source{field: defaultLevel}
		}
		from.tag = defaultLevel
	}
	word = v.read(from)
	return word, from
}

// parseLevel reads the word that stands for a level in a point.
func (o *options) parseLevel(word string) (Level, bool) {
	if level, ok := o.levels[strings.ToUpper(word)]; ok {
		return level, true
	}
	return ParseLevel(word)
}

// readLevel returns the level of the point in view, and where it was read from.
// A point that has none is counted.
func (h *Handler) readLevel() (level Level, from source, known bool) {
	word, from := h.options.readLevel(&h.view)
	if len(word) == 0 {
		h.counts.noLevel++
		h.noLevel.missing(h.config.Now)
		return OK, from, false
	}
	m := h.level(from, word)
	if !m.known {
		h.counts.unknown++
		return OK, from, false
	}
	h.noLevel.seen()
	return m.level, from, true
}

// Words for levels are remembered, for what they mean, but not without end,
// since they come with the data. Those that are no level leave half of the room.
const (
	maxWords      = 100
	maxWordLength = 100
)

// A meaning is what a word for a level means.
type meaning struct {
	level Level
	known bool // false: it is no level
}

// level returns what the word of a point means.
func (h *Handler) level(from source, word []byte) meaning {
	m, seen := h.words[string(word)]
	if seen {
		return m
	}
	m.level, m.known = h.options.parseLevel(string(word))
	if !m.known {
		h.noticeWord(from, cut(string(word), maxWordLength))
	}
	room := maxWords
	if m.known {
		room *= 2
	}
	if len(h.words) < room && len(word) <= maxWordLength {
		h.words[string(word)] = m
	}
	return m
}
