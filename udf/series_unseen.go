package udf

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/influxdata/influxql"
)

const (
	// unseenChecks is how many times within .resolveAfter() the open series are
	// gone through.
	unseenChecks = 10
	// maxPause is the part of .resolveAfter() that a pause of the whole feed
	// counts for at most: one over it says nothing about any series.
	maxPause = 4
	// maxUnseen is how many alerts one Commit resolves: all of a million at once
	// would hold up the points, and take memory for all of their payloads.
	maxUnseen = 10_000
)

// A moment is when points came.
type moment struct {
	feed uint32 // in seconds of the feed's time
	unix uint32 // in Unix seconds
}

// A feed is the points as they come. For .resolveAfter() it counts the time in
// which they do: that stands still while they do not.
//
//	points:  | | | | |                    | | | | |
//	time:    --------->  stands still     --------->
type feed struct {
	after  time.Duration // .resolveAfter(); 0: nothing is resolved
	passed time.Duration // since the start of the process
	last   time.Time     // when the last point came, or the process started
	latest int64         // time that is taken from a point, in Unix nanoseconds
	fresh  bool          // a point has come since the last Commit
	silent bool          // it was said that none do
	due    time.Duration // of passed, when the open series are gone through next
}

// arrived takes note of a point. It asks for the time once for each piece of
// input.
func (h *Handler) arrived() {
	f := &h.feed
	if f.fresh {
		return
	}
	t := h.config.Now()
	f.passed += max(0, min(t.Sub(f.last), f.after/maxPause))
	f.last, f.fresh, f.silent = t, true, false
	f.latest = t.Add(maxAhead).UnixNano()
	h.state.now = moment{feed: uint32(f.passed / time.Second), unix: uint32(t.Unix())}
}

// resolveUnseen resolves the alerts of which no point came for as long as
// .resolveAfter() says, and says when no points come at all.
func (h *Handler) resolveUnseen() {
	f := &h.feed
	if f.after == 0 {
		return
	}
	defer h.survive("resolving alerts that are not seen failed: it is tried again; please report this")
	if !f.fresh {
		h.noticeSilence()
		return
	}
	if f.passed < f.due {
		return
	}
	unseen := h.unseen()
	if len(unseen) < maxUnseen {
		f.due = f.passed + f.after/unseenChecks
	}
	if len(unseen) == 0 {
		return
	}
	// Not later than the points, which may be of the past, nor than now: one of
	// them may be of the future.
	at := min(h.config.Now().Unix(), h.state.newest)
	for _, key := range unseen {
		known := h.state.series[key]
		_, id, _ := strings.Cut(key, "\x00")
		h.resolve(key, at, fmt.Sprintf("%s was %s, and then no point of it came for %s: resolved by .resolveAfter()",
			id, known.level, influxql.FormatDuration(h.feed.after)))
		h.counts.unseen++
	}
	h.log.Info("alerts of which no point came for .resolveAfter() are resolved; "+
		"if they are not over, the |alert() node has .stateChangesOnly(): give it a duration that is shorter",
		"resolved", len(unseen), "resolve_after", influxql.FormatDuration(f.after))
}

// unseen returns the keys of series of which no point came for long enough, in
// their order, maxUnseen at most. Those that make one alert count together: the
// groups of a task may have been edited, and then the series of before is gone
// while its alert is not.
func (h *Handler) unseen() (keys []string) {
	now := h.state.now.feed
	shared := make(map[*alert][]string)
	for key, known := range h.state.series {
		// A second less, since either of the two may lack most of one.
		if unseen := time.Duration(now-known.seen.feed)*time.Second - time.Second; unseen < h.feed.after {
			continue
		}
		if known.alert.open > 1 {
			shared[known.alert] = append(shared[known.alert], key)
		} else if keys = append(keys, key); len(keys) == maxUnseen {
			break
		}
	}
	for alert, some := range shared {
		if len(some) == int(alert.open) {
			keys = append(keys, some...)
		}
	}
	slices.Sort(keys)
	return keys[:min(len(keys), maxUnseen)]
}

// resolve makes the alert that says that the one of an open series is over, at a
// time in Unix seconds.
func (h *Handler) resolve(key string, at int64, why string) {
	_, id, _ := strings.Cut(key, "\x00")
	p := recovery(h.state.identity(h.state.series[key].alert), id, h.task, why, at)
	alert, _ := h.state.update(key, &event{level: OK, time: at * int64(time.Second)}, &p)
	h.counts.Changes[OK]++
	h.changes = append(h.changes, newChange(alert, OK, p))
	h.log.Debug("resolved", "id", id, "why", why, "timestamp", p.Timestamp)
}

// noticeSilence says, once, that no points come at all. Keepalives come to it.
func (h *Handler) noticeSilence() {
	f := &h.feed
	if f.silent || len(h.state.series) == 0 || h.config.Now().Sub(f.last) < f.after {
		return
	}
	f.silent = true
	h.log.Warn("no points come: .resolveAfter() counts on when they do, and until then resolves nothing",
		"open", len(h.state.series), "since", f.last.UTC())
}
