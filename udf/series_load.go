package udf

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"bigpanda-udf/outbox"
)

// What a load allocates stays, nearly all of it. With more levels than manyLevels the
// collector would look through it again and again, and take a quarter of the time.
const (
	manyLevels = 10_000
	loadingGC  = 400 // percent, as GOGC
)

// usualGC is GOGC as it was at the first load: another one may go on by now.
var usualGC = sync.OnceValue(func() int { return debug.SetGCPercent(loadingGC) })

// load reads what BigPanda was told before. Kapacitor does not wait for it at
// Init, which answers at once whatever the outbox holds; the first point does, so one
// core reads while another takes over what was read.
func (h *Handler) load() {
	defer close(h.loaded)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.survive("reading the levels failed: open alerts are sent again; please report this")
	if c, ok := h.store.(interface{ LevelCount() int }); ok {
		n := c.LevelCount()
		if n > manyLevels {
			defer debug.SetGCPercent(usualGC())
			debug.SetGCPercent(loadingGC)
		}
		h.state.expect(n)
	}
	var isNew bool
	var err error
	read := make(chan []told)
	go func() {
		defer close(read)
		isNew, err = h.readLevels(read)
	}()
	defer func() {
		for range read { // the store is not held up by a panic
		}
	}()
	left := false // the app key
	for piece := range read {
		for _, t := range piece {
			h.state.take(t)
			left = left || t.Identity.AppKey != h.options.appKey
		}
	}
	h.isNew = isNew
	h.state.restored()
	h.publish()
	if err != nil {
		h.log.Error("what BigPanda was told cannot be read from the outbox: open alerts are sent again", "error", err)
	}
	if left {
		h.noticeAppKey()
	}
}

// readLevels sends what the store has on, in pieces, each of which is the receiver's
// until it takes the next.
func (h *Handler) readLevels(to chan<- []told) (isNew bool, err error) {
	defer func() {
		if v := recover(); v != nil { // P1
			err = fmt.Errorf("panic, please report this: %v, %s", v, debug.Stack())
		}
	}()
	var unreadable error
	var piece, other []told
	isNew, err = h.store.Levels(func(l outbox.Level) bool {
		if t, err := readTold(l); err != nil {
			unreadable = err
		} else if piece = append(piece, t); len(piece) == 1000 {
			to <- piece
			piece, other = other[:0], piece
		}
		return !h.stopped.Load() // a million of them take seconds (P8)
	})
	to <- piece
	return isNew, cmp.Or(err, unreadable)
}

// A told is a record as it was read.
type told struct {
	record
	key   string // of the series
	again bool
}

func readTold(l outbox.Level) (told, error) {
	r, err := readRecord(l.Value)
	if err != nil {
		return told{}, fmt.Errorf("read level of %q: %w", l.Key, err)
	}
	return told{r, l.Key, l.Again}, nil
}

// restore takes over one of what records gave. restored is to be called after
// the last one.
func (s *state) restore(l outbox.Level) error {
	t, err := readTold(l)
	if err == nil {
		s.take(t)
	}
	return err
}

// expect makes room for as many series, each with an alert of its own: a map that grows
// to a million entries is moved twenty times.
func (s *state) expect(n int) {
	var both sync.WaitGroup
	both.Go(func() { s.series = make(map[string]*series, n) })
	both.Go(func() { s.alerts = make(map[string]*alert, n) })
	both.Wait()
}

func (s *state) take(t told) {
	a := s.alert(t.Identity.Key())
	if a.open == 0 {
		a.names = s.name(t.Identity)
	}
	a.last = max(a.last, t.Last)
	if t.Level == OK {
		// When it was told is not kept: it may be within the minute.
		s.remember(resolution{key: t.key, alert: a, last: t.Last, at: s.now.unix})
		return
	}
	a.open++
	s.active[t.Level]++
	s.series[t.key] = &series{
		level: t.Level, lasted: seconds(unix(t.Told) - t.since()), told: t.Told, last: t.Told, seen: moment{unix: seconds(t.seen())}, alert: a, again: t.again,
	}
}

// restored brings what was resolved into its order, which the outbox does not
// keep.
func (s *state) restored() {
	var all []*resolution
	for e := s.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*resolution))
	}
	slices.SortFunc(all, func(a, b *resolution) int { return cmp.Compare(a.last, b.last) })
	for _, r := range all {
		s.order.MoveToBack(s.resolved[r.key])
	}
}
