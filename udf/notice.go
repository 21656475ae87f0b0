package udf

import (
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
)

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

// maxAhead is how far ahead of the machine's clock a point may be dated. Clocks
// differ by seconds, and what is dated years ahead would stay BigPanda's newest
// of its alert for as long.
const maxAhead = 5 * time.Minute

// date dates the point in view now if its own time is too far ahead.
func (h *Handler) date() {
	h.view.ahead = h.view.time > h.feed.latest
	if h.view.ahead {
		h.view.time = h.feed.last.UnixNano()
	}
}

// noticeTime says that the time of the point in view, of which an alert is made,
// is no time.
func (h *Handler) noticeTime() {
	switch at := time.Unix(0, h.view.time).UTC(); {
	case h.view.ahead:
		h.counts.ahead++
		h.once("ahead", func() {
			h.log.Warn("a point is dated more than 5 minutes ahead of this machine's clock, and its alert now: set the clock of the host that it comes from, or of this one",
				"group", string(h.view.group))
		})
	case at.Year() == 1970:
		h.once("1970", func() {
			h.log.Warn("a point is of 1970, and BigPanda may ignore what is that old: it was written in seconds or milliseconds and read as nanoseconds; write it with ?precision=s or ?precision=ms",
				"group", string(h.view.group), "point_time", at)
		})
	}
}

func (h *Handler) hasLeft(appKey string) bool {
	_, has := h.left.Load(appKey)
	return has
}

// noticeAppKey takes note of the app keys under which alerts were told before, and
// says that some are open under another one than that in force.
func (h *Handler) noticeAppKey() {
	open, of := 0, ""
	for key, alert := range h.state.alerts {
		key := bigpanda.AppKeyOf(key)
		if key == h.appKey {
			continue
		}
		if !h.hasLeft(key) {
			h.left.Store(strings.Clone(key), true)
		}
		if alert.open > 0 {
			open, of = open+int(alert.open), key
		}
	}
	if open > 0 {
		h.log.Warn("the app key has changed: alerts that are open under the old one are resolved there, and told under the new one, each with its next point",
			"app_key", h.appKey, "was", of, "open", open)
	}
}
