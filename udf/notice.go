package udf

import "time"

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

// What is said once is bounded, since the words come with the data.
const (
	maxUnknownWords = 20
	maxSaid         = 200
)

// noLevel watches for a stream of points without a level.
type noLevel struct {
	points int       // since the last one with a level
	since  time.Time // of the first of them
	logged time.Time
}

func (n *noLevel) seen() { n.points = 0 }

// missing counts a point without a level.
func (n *noLevel) missing(now func() time.Time) {
	if n.points == 0 {
		n.since = now()
	}
	n.points++
}

// due reports whether to say so.
func (n *noLevel) due(now time.Time) bool {
	if n.points < noLevelPoints && now.Sub(n.since) < noLevelAfter {
		return false
	}
	if !n.logged.IsZero() && now.Sub(n.logged) < noLevelAgain {
		return false
	}
	n.logged = now
	return true
}

// noticeWord says that a word is no level.
func (h *Handler) noticeWord(from source, word string) {
	if h.unknownWords >= maxUnknownWords {
		return
	}
	h.once("word "+word, func() {
		h.unknownWords++
		h.log.Error("a point's level is no level: the point passes on without an alert; "+
			"map the word with .level('WORD', 'CRITICAL')", "word", word, "tag", from.tag, "field", from.field)
	})
}

// noticeNoLevel says that points have no level, where that has lasted. Keepalives
// come to it too, so a point alone is enough.
func (h *Handler) noticeNoLevel() {
	if h.noLevel.points > 0 && h.noLevel.due(h.config.Now()) {
		h.log.Error(noLevelText, "points", h.noLevel.points)
	}
}

// once calls say unless it was called for the key before.
func (h *Handler) once(key string, say func()) {
	if h.said[key] || len(h.said) >= maxSaid {
		return
	}
	h.said[key] = true
	say()
}
