package udf

import (
	"cmp"
	"time"
)

// An incident may end without an OK that comes here: .noRecoveries() and a
// |where() on the level keep it back, .flapping() may swallow it, a |barrier()
// that deletes forgets the incident. The next one then begins at the level at
// which the series is open. The duration that |alert() counts tells: it is 0 on
// the first point of an incident, and reaches back to that on each later one
// (Kapacitor, alert.go, triggered and duration).
//
// The field of that name may be another's, though. It is not taken for
// |alert()'s while it is 0 on an OK, and a 0 soon after another one is not taken
// for the beginning of an incident, nor is one after several others.
type incidents struct {
	denied bool  // the last thing that was seen of the durations speaks against them
	began  int64 // time of the last point that may have begun one, in Unix nanoseconds
}

// weigh takes note of what a 0 says about the field. Where several ids are in one
// group, the OK of one ends what another one began, at the same time maybe.
func (i *incidents) weigh(e *event) {
	switch {
	case !e.lasts || e.duration != 0:
	case e.level != OK:
		i.began = e.time
	case e.time != i.began:
		i.denied = true
	}
}

// note takes note of an event of an open series, in which no incident begins.
func (i *incidents) note(known *series, e *event) {
	if e.duration > 0 && e.time-int64(e.duration) <= known.last {
		known.grown, i.denied = true, false
	}
	known.last = max(known.last, e.time)
}

// sameIncident is how close behind a point of an open series one with duration 0
// begins no incident, unless the duration had grown in between: this close come
// the evaluations of an alert node, and a field that is always 0 would make an
// alert of each.
const sameIncident = time.Minute

// maxIncidents is how many incidents in a row, less than incidentPause after each
// other, a series may have in which the duration never grows: a field that is
// always 0 on points that are further apart than sameIncident makes as many.
const (
	maxIncidents  = 5
	incidentPause = time.Hour
)

// begins reports whether an event that comes at the level of its open series
// begins a new incident.
func (h *Handler) begins(known *series, e *event) bool {
	if e.incident {
		return e.time > known.last
	}
	if !e.lasts || e.duration != 0 || e.time <= known.last {
		return false
	}
	after := time.Duration(e.time - known.last)
	isOwn := after >= incidentPause || after >= sameIncident && known.incidents < maxIncidents
	if !h.incidents.denied && (known.grown || isOwn) {
		return true
	}
	h.once("duration 0", func() {
		h.log.Warn("the duration is 0 on a point of an alert that is open, which begins an incident in |alert(), "+
			"and is not taken for that, since it is 0 on OKs too, or on points less than a minute apart, or on many in a row: "+
			"if that field is not the duration of |alert(), name another one with .durationField('…')",
			"group", string(e.group), "field", cmp.Or(h.options.durationField, defaultDuration))
	})
	return false
}

// shortIncidents counts an incident that begins, if the one before it was short
// and soon before it.
func (s *series) shortIncidents(e *event) uint8 {
	switch {
	case !e.begins:
		return s.incidents
	case s.grown || time.Duration(e.time-s.last) >= incidentPause:
		return 0
	}
	return s.incidents + 1
}
