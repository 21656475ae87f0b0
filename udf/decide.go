package udf

import (
	"fmt"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
)

// An event is what a level decision is about, whatever it was read from: a point, a
// batch, an alert event. What reads one fills in all but what decide finds out, and
// makes the content only of an event that changes something:
//
//	point ─▶ event ─▶ mayChange ─▶ its series ─▶ decide ─▶ content ─▶ alert
type event struct {
	time     int64 // in Unix nanoseconds
	ahead    bool  // that is now, since its own time was too far ahead of the clock
	level    Level
	duration time.Duration // for how long the alert has lasted, as |alert() counts it
	lasts    bool          // there is a duration, which may be 0
	incident bool          // an incident begins, for sure

	// Of its series, read once mayChange was true; valid until the next event.
	group, id []byte

	// By decide.
	series []byte // the key; valid until the next event
	// The level is the same as it was:
	resend bool // .resendAfter() is over
	begins bool // a new incident begins at it
	// The alert is open under another app key than the one in force.
	moves bool
}

// mayChange takes note of an event whose series is not known yet, and reports
// whether it may change what BigPanda knows. Most are an OK while nothing is open,
// and to read the series is most of the work.
func (h *Handler) mayChange(e *event) bool {
	h.incidents.weigh(e)
	return e.level != OK || e.duration > 0 || len(h.state.series) > 0
}

// decide reports whether an event changes what BigPanda knows. Then it is for
// alert, and nothing but alert takes note of it.
func (h *Handler) decide(e *event) bool {
	h.key = appendSeriesKey(emptied(h.key), e.group, e.id)
	e.series = h.key
	known, open := h.state.series[string(e.series)]
	if open {
		known.seen = h.state.now
		e.moves = e.level != OK && bigpanda.AppKeyOf(known.alert.key) != h.options.appKey
	}
	switch {
	case open && (known.level != e.level || known.again), e.moves:
	case open:
		e.begins = h.begins(known, e)
		after := int64(h.options.resendAfter)
		e.resend = !e.begins && after > 0 && e.time-known.told >= after
		if !e.begins && !e.resend {
			h.incidents.note(known, e)
			return false
		}
	case e.level == OK:
		// The OK of an alert that this process never saw open: only |alert()
		// knows a recovery, and it says how long the alert lasted.
		if h.state.resolved[string(e.series)] != nil || e.duration <= 0 {
			return false
		}
	}
	if age := h.options.maxAge; age > 0 && h.config.Now().Sub(time.Unix(0, e.time)) > age {
		h.counts.TooOld++
		h.once("old", func() {
			h.log.Warn("a change is older than maxAge and is not sent", "id", string(e.id), "to", e.level, "point_time", time.Unix(0, e.time).UTC())
		})
		return false
	}
	return true
}

// alert makes the alert of an event that changes what BigPanda knows, and takes note
// of what BigPanda then knows.
func (h *Handler) alert(e *event, c content) {
	payload := h.payload(e, c)
	key, id := string(e.series), string(e.id)
	known, open := h.state.series[key]
	if open && e.moves {
		// A second before: the level may be that of another node of the task, which
		// an edit has numbered anew, and that node makes the same alert of this
		// point.
		h.resolve(key, unix(e.time)-1, id+" goes on under another app key, which was set for the function")
	} else if open && !e.begins {
		h.incidents.note(known, e)
	}
	if open && e.incident && !e.moves && payload.Identity().Key() != known.alert.key {
		h.once("one id", func() {
			h.log.Warn("events with one id make different BigPanda alerts, and are told as the first of them until that is OK: "+
				"let the id name what tells them apart, such as .id('cpu:{{ index .Tags \"host\" }}') on the |alert() node", "id", id)
		})
	}
	alert, shared := h.state.update(key, e, &payload)
	if shared {
		h.counts.sharedAlerts++
		h.once("shared", func() {
			h.log.Warn("two series make one BigPanda alert, each change of one overwrites the other: "+h.distinguish(e),
				"id", id, "group", string(e.group))
		})
	}
	h.counts.Changes[e.level]++
	switch {
	case e.resend:
		h.counts.resent++
	case e.begins:
		h.once("begins", func() {
			h.log.Info("a new incident of an alert whose OK never came, as with .noRecoveries() or a |where() on the level: it is told again",
				"id", id, "group", string(e.group))
		})
	}
	h.noticeTime(e)
	h.changes = append(h.changes, newChange(alert, e.level, payload))
	h.log.Debug("level changed", "id", id, "group", string(e.group), "to", e.level, "timestamp", payload.Timestamp)
}

// distinguish says what is to be done where two series make one alert.
func (h *Handler) distinguish(e *event) string {
	isBetween := func(r rune) bool { return r == ',' || r == '\n' }
	for tag := range strings.FieldsFuncSeq(string(e.group), isBetween) {
		if name, value, _ := strings.Cut(tag, "="); value == e.level.String() {
			say := "too"
			if h.options.levelField != "" {
				say = "in the place of .levelField()" // the two contradict each other
			}
			return fmt.Sprintf("their group holds the level, in the tag %s; if |alert() writes it, say .levelTag('%[1]s') on @bigpanda() %s", name, say)
		}
	}
	return "tell them apart by .primaryProperty('…'), .secondaryProperty('…') or .incidentIdentifier('…')"
}

// maxAhead is how far ahead of the machine's clock a point may be dated. Clocks
// differ by seconds, and what is dated years ahead would stay BigPanda's newest
// of its alert for as long.
const maxAhead = 5 * time.Minute

// date returns the time of an event that comes with one: now, if that is too far
// ahead.
func (h *Handler) date(at int64) (dated int64, ahead bool) {
	if at > h.feed.latest {
		return h.feed.last.UnixNano(), true
	}
	return at, false
}

// noticeTime says that the time of an event, of which an alert is made, is no time.
func (h *Handler) noticeTime(e *event) {
	switch at := time.Unix(0, e.time).UTC(); {
	case e.ahead:
		h.counts.ahead++
		h.once("ahead", func() {
			h.log.Warn("a point is dated more than 5 minutes ahead of this machine's clock, and its alert now: set the clock of the host that it comes from, or of this one",
				"group", string(e.group))
		})
	case at.Year() == 1970:
		h.once("1970", func() {
			h.log.Warn("a point is of 1970, and BigPanda may ignore what is that old: it was written in seconds or milliseconds and read as nanoseconds; write it with ?precision=s or ?precision=ms",
				"group", string(e.group), "point_time", at)
		})
	}
}
