package udf

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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

// levelWords are the words that stand for a level, in upper case.
var levelWords = map[string]Level{
	"OK": OK, "INFO": Info, "WARNING": Warning, "WARN": Warning, "CRITICAL": Critical, "CRIT": Critical,
}

// String returns the level as Kapacitor writes it.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a level as Kapacitor or a person writes it, in any case:
// OK, INFO, WARNING or WARN, CRITICAL or CRIT.
func ParseLevel(word string) (Level, bool) {
	level, ok := levelWords[strings.ToUpper(word)]
	return level, ok
}

// status returns the BigPanda status of a level.
func (o *options) status(l Level) string {
	return [...]string{OK: "ok", Info: o.infoStatus, Warning: "warning", Critical: "critical"}[l]
}

// parseLevel reads the word that stands for a level in a point. It allocates
// nothing for a word that is not very long: words that are no level may come with
// every point.
func (o *options) parseLevel(word []byte) (Level, bool) {
	if level, ok := o.levels[string(word)]; ok {
		return level, true
	}
	var room [64]byte
	upper := room[:0] // as strings.ToUpper makes it
	for _, r := range string(word) {
		upper = utf8.AppendRune(upper, unicode.ToUpper(r))
	}
	level, ok := o.levels[string(upper)]
	return level, ok
}

// readLevel returns the level of the point at hand. A point that has none is
// counted.
func (h *Handler) readLevel() (level Level, known bool) {
	p := &h.point
	word, from := h.options.levelWord(p)
	p.levelFrom = from
	if len(word) == 0 {
		h.counts.NoLevel++
		h.noLevel.missing(h.config.Now)
		return OK, false
	}
	if level, known = h.options.parseLevel(word); !known {
		h.counts.UnknownLevel++
		h.noticeWord(from, word)
		return OK, false
	}
	h.noLevel.points = 0
	return level, true
}

// levelWord returns the word that stands for the level of a point, empty when
// there is none, and where it was read from.
func (o *options) levelWord(p *point) (word []byte, from source) {
	switch {
	case o.levelField != "":
		from.field = o.levelField
	case o.levelTag != "":
		from.tag = o.levelTag
	default:
		if e := p.field(defaultLevel); e != nil {
			return p.textOf(e), source{field: defaultLevel}
		}
		from.tag = defaultLevel
	}
	return p.read(from), from
}

// What is logged of words that are no level is bounded: they come with the data.
const (
	maxUnknownWords = 20
	maxWordLength   = 100
)

func (h *Handler) noticeWord(from source, word []byte) {
	if len(h.unknownWords) >= maxUnknownWords {
		return
	}
	if len(word) > maxWordLength {
		word = []byte(cut(string(word), maxWordLength))
	}
	if h.unknownWords[string(word)] {
		return
	}
	text := string(word)
	h.unknownWords[text] = true
	h.log.Error("a point's level is no level: the point passes on without an alert; "+
		"map the word with .level('WORD', 'CRITICAL')", "word", text, "tag", from.tag, "field", from.field)
}

// A function that never sees a level is set up wrongly, which is the commonest
// mistake of all: it is said after so many points, or so long, without one,
// and again from time to time.
const (
	noLevelPoints = 1000
	noLevelAfter  = time.Minute
	noLevelAgain  = 10 * time.Minute
)

const noLevelText = "points have no level, so no alert can be made of them: add " +
	".levelField('level').idTag('alertID').messageField('message').durationField('duration') to the |alert() node, " +
	"or name the point's own tag or field with .levelTag('…') or .levelField('…') on @bigpanda()"

// noLevel watches for a stream of points without a level.
type noLevel struct {
	points int       // since the last one with a level
	since  time.Time // of the first of them
	logged time.Time
}

func (n *noLevel) missing(now func() time.Time) {
	if n.points == 0 {
		n.since = now()
	}
	n.points++
}

// noticeNoLevel says that points have no level, where that has lasted. Keepalives
// come to it too, so a point alone is enough.
func (h *Handler) noticeNoLevel() {
	n := &h.noLevel
	if n.points == 0 {
		return
	}
	now := h.config.Now()
	lasts := n.points >= noLevelPoints || now.Sub(n.since) >= noLevelAfter
	if lasts && (n.logged.IsZero() || now.Sub(n.logged) >= noLevelAgain) {
		n.logged = now
		h.log.Error(noLevelText, "points", n.points)
	}
}
