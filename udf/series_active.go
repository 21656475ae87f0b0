package udf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
)

// keyBytes is how much of a hash makes the key of an active alert: few enough
// to type, and too many for two of a million alerts to have the same.
const keyBytes = 6

// An Active is an alert that BigPanda was told of and that is not OK.
type Active struct {
	// Key is what a person calls the alert by, the same in every outbox.
	Key      string
	Identity bigpanda.Identity
	// Level is that of the series that was told last, and Since the time of the
	// point that changed the series to it.
	Level Level
	Since time.Time
	// Seen is when the function last got a point of the alert, at whatever
	// level. After a restart, until the next one comes, that is the last change.
	Seen time.Time
	// Timestamp is the newest that was sent for the alert, in Unix seconds, also
	// for a series that is OK by now. Resolve makes a later one; whoever resolves
	// the alert in several outboxes may set it to that of the latest.
	Timestamp int64
	read      int64 // Timestamp, as it was read
	// Series are those that make the alert and are not OK.
	Series []ActiveSeries
}

// An ActiveSeries is a series that is not OK.
type ActiveSeries struct {
	Group, ID   string
	Level       Level
	Since, Seen time.Time
	was         int64 // its record's time, which is the alert's timestamp then
	told        int64 // time of the point that was told, in Unix nanoseconds
}

// Actives collects active alerts from the levels of one outbox. The zero value
// is ready.
type Actives struct {
	alerts     map[string]*Active // by Identity.Key, also those with no series
	unreadable int
}

// Add takes over one level of the outbox.
func (a *Actives) Add(l outbox.Level) {
	if len(l.Value) == 0 {
		return // it was forgotten
	}
	r, err := readRecord(l.Value)
	if err != nil {
		a.unreadable++
		return
	}
	if a.alerts == nil {
		a.alerts = make(map[string]*Active)
	}
	key := r.Identity.Key()
	alert := a.alerts[key]
	if alert == nil {
		alert = &Active{Key: shortKey(key), Identity: r.Identity, Timestamp: r.Last}
		a.alerts[key] = alert
	}
	alert.Timestamp = max(alert.Timestamp, r.Last)
	alert.read = alert.Timestamp
	if r.Level == OK {
		return // it counts for the timestamp alone
	}
	group, id, _ := strings.Cut(l.Key, "\x00")
	since, seen := time.Unix(r.since(), 0).UTC(), time.Unix(max(r.seen(), l.Seen), 0).UTC()
	alert.Series = append(alert.Series, ActiveSeries{group, id, r.Level, since, seen, l.Time, r.Told})
	if seen.After(alert.Seen) {
		alert.Seen = seen
	}
}

// Sorted returns the alerts, those that are at their level for the longest
// first. The error says how many levels cannot be read; the others are
// returned.
func (a *Actives) Sorted() (sorted []*Active, err error) {
	for _, alert := range a.alerts {
		if len(alert.Series) > 0 {
			slices.SortFunc(alert.Series, func(a, b ActiveSeries) int {
				return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.ID, b.ID))
			})
			last := slices.MaxFunc(alert.Series, func(a, b ActiveSeries) int {
				return cmp.Or(cmp.Compare(a.was, b.was), cmp.Compare(a.told, b.told))
			})
			alert.Level, alert.Since = last.Level, last.Since
			sorted = append(sorted, alert)
		}
	}
	slices.SortFunc(sorted, func(a, b *Active) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Key, b.Key)) })
	if a.unreadable > 0 {
		err = fmt.Errorf("%d of its levels cannot be read: the function takes these alerts for such as were never told", a.unreadable)
	}
	return sorted, err
}

func shortKey(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:keyBytes])
}

// Resolve returns what has to be done to an outbox so that BigPanda is told that
// the alert is OK, and that the function knows it.
func (a *Active) Resolve(now time.Time) outbox.Amendment {
	id := cmp.Or(a.Series[0].ID, a.Identity.Incident)
	why := id + " was resolved by hand, with bigpanda-udf outbox resolve"
	p := recovery(a.Identity, id, "", why, max(now.Unix(), a.Timestamp+1))
	m := outbox.Amendment{
		Last: a.read, Change: newChange(a.Identity.Key(), OK, p),
		Value: record{Level: OK, Last: p.Timestamp, Identity: a.Identity}.level("").Value,
	}
	for _, s := range a.Series {
		m.Series = append(m.Series, outbox.AmendedSeries{Key: appendSeriesKey(nil, []byte(s.Group), []byte(s.ID)), Was: s.was})
	}
	return m
}
