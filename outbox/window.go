package outbox

import (
	"cmp"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
)

const (
	// windowSize is how many queued changes of an app key are known in memory at
	// most (P7); their payloads stay on disk until they are sent.
	windowSize = 8192
	// maxPerAlert is how many of them may be of one alert, so that an alert that
	// cannot be delivered now leaves room for others.
	maxPerAlert = 64
)

// A window is what is known in memory of the queue: of each app key the oldest
// changes, which are in its schedule. It reads on as they leave. Disk.mu guards it.
type window struct {
	schedule
	size, maxPerAlert int                // windowSize and maxPerAlert, but in tests
	readers           map[string]*reader // by app key
	store             *store
	pending           *pending
}

func newWindow(s *store, p *pending) window {
	return window{
		schedule: newSchedule(), size: windowSize, maxPerAlert: maxPerAlert,
		readers: make(map[string]*reader), store: s, pending: p,
	}
}

// A reader is how far the queue of an app key is known to the schedule.
//
//	disk:  1 2 3 4 5 6 7 8 9 …           next is 6: all below is scheduled,
//	             ▲     ▲                 or skipped since its alert has
//	        skipped   next               enough there already
type reader struct {
	next    uint64            // ids from here on are not known
	end     bool              // there are none
	loaded  int               // in the schedule
	skipped map[string]uint64 // by alert: its first id below next that is not in the schedule
}

func (w *window) reader(appKey string) *reader {
	r := w.readers[appKey]
	if r == nil {
		r = &reader{end: true, skipped: make(map[string]uint64)}
		w.readers[appKey] = r
	}
	return r
}

// admit takes a new change into the schedule, if there is room and nothing
// before it is left out.
func (w *window) admit(c Change) {
	if r := w.reader(c.AppKey); r.end {
		r.end = w.load(r, c.AppKey, c.Alert, entry{c.ID, len(c.Payload)})
	}
}

// load takes the next change of an app key. It reports false when there is no room
// for it.
func (w *window) load(r *reader, appKey, alert string, e entry) bool {
	if r.loaded >= w.size {
		return false
	}
	r.next = e.id + 1
	if _, removed := w.pending.done[e.id]; removed || w.inFlight[e.id] != nil {
		return true
	}
	if _, behind := r.skipped[alert]; behind {
		return true
	}
	if q := w.alerts[alert]; q != nil && len(q.queued)+len(q.inFlight) >= w.maxPerAlert {
		r.skipped[alert] = e.id
		return true
	}
	// It is there already when it was released after a rewind.
	if w.add(alert, appKey, e) {
		r.loaded++
	}
	return true
}

// readOn schedules more of the app keys of which half the window is free. It
// reports whether there is more still.
func (w *window) readOn() (more bool) {
	for appKey, r := range w.readers {
		if w.wantsMore(r) {
			w.readOnIn(r, appKey)
			more = more || w.wantsMore(r)
		}
	}
	return more
}

func (w *window) wantsMore(r *reader) bool { return !r.end && r.loaded < w.size/2 }

// readOnIn schedules what follows in an app key. It looks at no more than a window of
// it: points wait that long.
func (w *window) readOnIn(r *reader, appKey string) {
	r.end = true
	seen := 0
	err := w.scan(appKey, r.next, func(alert string, e entry) bool {
		seen++
		r.end = seen <= w.size && w.load(r, appKey, alert, e)
		return r.end
	})
	if err != nil {
		r.end = false
		w.store.failed(err)
	}
}

// refill schedules more of an alert of which some was skipped, once the rest
// is gone.
func (w *window) refill(alert, appKey string) {
	r := w.reader(appKey)
	from, behind := r.skipped[alert]
	if !behind || w.alerts[alert] != nil {
		return
	}
	delete(r.skipped, alert)
	upTo, room := r.next, w.maxPerAlert
	err := w.scan(appKey, from, func(about string, e entry) bool {
		if e.id >= upTo {
			return false
		}
		if _, removed := w.pending.done[e.id]; about != alert || removed {
			return true
		}
		if room == 0 {
			r.skipped[alert] = e.id
			return false
		}
		room--
		w.add(alert, appKey, e)
		r.loaded++
		return true
	})
	if err != nil {
		w.rewind(appKey)
		w.store.failed(err)
	}
}

// forget takes a queued change out.
func (w *window) forget(c Change) {
	if w.drop(c.Alert, c.ID) {
		w.reader(c.AppKey).loaded--
	}
}

// release puts entries back in their places. One that was in flight over a
// rewind may have others before it that are not known yet: then its place is on
// the disk alone, until it is read again.
func (w *window) release(ids ...uint64) {
	for _, id := range ids {
		q := w.inFlight[id]
		if q == nil {
			continue
		}
		w.schedule.release(id)
		r := w.reader(q.appKey)
		from, behind := r.skipped[q.alert]
		if (id >= r.next || behind && id > from) && w.drop(q.alert, id) {
			r.loaded--
			w.refill(q.alert, q.appKey)
		}
	}
}

// rewind lets an app key be read from its beginning again, but for what is in
// flight.
func (w *window) rewind(appKey string) {
	r := w.reader(appKey)
	for _, q := range w.alerts {
		if q.appKey == appKey {
			r.loaded -= len(q.queued)
			q.queued = nil
			w.reorder(q)
		}
	}
	r.next, r.end = 0, false
	clear(r.skipped)
}

// isEmpty reports whether all app keys were read to their end, and nothing found.
func (w *window) isEmpty() bool {
	for _, r := range w.readers {
		if !r.end || len(r.skipped) > 0 {
			return false
		}
	}
	return len(w.alerts) == 0 && len(w.pending.changes) == 0
}

// scan calls f with the changes of an app key, from an id on, until it returns false:
// those on disk, and behind them those in memory.
func (w *window) scan(appKey string, from uint64, f func(alert string, e entry) bool) error {
	more := true
	err := w.store.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketQueue).Bucket([]byte(appKey))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek(boltfile.EncodeID(from)); k != nil && more; k, v = c.Next() {
			// Whether it is damaged is told when it is taken.
			change, _ := decodeChange(boltfile.DecodeID(k), appKey, v)
			alert := cmp.Or(change.Alert, "damaged, of "+appKey) // an alert has one app key
			more = f(alert, entry{change.ID, len(change.Payload)})
			from = change.ID + 1
		}
		return nil
	})
	if err != nil || !more {
		return err
	}
	for _, c := range w.pending.from(appKey, from) {
		if !f(c.Alert, entry{c.ID, len(c.Payload)}) {
			break
		}
	}
	return nil
}
