package outbox

import (
	"encoding/json"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// How much one page holds at most: reading it keeps points waiting no longer
// than a few milliseconds.
const (
	maxPage      = 1000
	maxPageBytes = 1 << 20
)

// An Entry is a queued change or a dead letter, for people to read.
type Entry struct {
	// ID is a text in JSON: many readers of that round numbers of its size.
	ID       uint64    `json:"id,string"`
	Queued   time.Time `json:"queued"` // when it came
	AppKey   string    `json:"app_key"`
	Alert    string    `json:"alert"`
	Level    string    `json:"level"`
	Time     int64     `json:"timestamp"` // the alert's, in Unix seconds
	Size     int       `json:"size"`      // of the payload, in bytes
	InFlight bool      `json:"in_flight,omitempty"`
	InMemory bool      `json:"in_memory,omitempty"` // the disk refuses it
	Problem  string    `json:"problem,omitempty"`   // why it cannot be read

	// Of a dead letter: the HTTP status and body that it was refused with, and
	// when.
	Status int       `json:"status,omitempty"`
	Answer string    `json:"answer,omitempty"`
	Died   time.Time `json:"died,omitzero"`

	// Payload is left out unless it was asked for.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// A Page is a piece of a list, ascending by ID.
type Page struct {
	Entries []Entry `json:"entries"`
	More    bool    `json:"more"` // behind the last of them
}

// full says that there is no room for another entry with such a payload.
func (p *Page) full(limit, size, next int) bool {
	return len(p.Entries) >= min(limit, maxPage) || len(p.Entries) > 0 && size+next > maxPageBytes
}

// List returns up to limit queued changes behind an ID, in the order of their
// IDs; a page has an upper bound of its own.
func (d *Disk) List(after uint64, limit int, payload bool) (Page, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return Page{}, ErrClosed
	}
	var l lister
	err := d.eachQueued(after, func(q queuedChange) bool {
		return l.add(q, limit, payload, d.schedule.flying[q.id] != nil)
	})
	return l.page, err
}

// DeadLetters returns up to limit dead letters behind an ID, as List does.
func (d *Disk) DeadLetters(after uint64, limit int, payload bool) (page Page, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return Page{}, ErrClosed
	}
	err = d.view(func(tx *bolt.Tx) error {
		page = deadPage(tx, after, limit, payload)
		return nil
	})
	return page, err
}

// A queuedChange is one that a list has come to.
type queuedChange struct {
	entry
	tx   *bolt.Tx
	kept *Change // where the disk refuses it
}

// change reads the whole of it, within the transaction.
func (q queuedChange) change() (Change, error) {
	if q.kept != nil {
		return *q.kept, nil
	}
	return decodeChange(q.id, q.lane, q.tx.Bucket(bucketQueue).Bucket([]byte(q.lane)).Get(encodeID(q.id)))
}

// eachQueued calls f with the queued changes behind an id, of all lanes in one
// order, until it returns false.
func (d *Disk) eachQueued(after uint64, f func(queuedChange) bool) error {
	kept := d.keptFrom("", after+1)
	more := true
	// before has f see what is kept in memory and comes before an id.
	before := func(id uint64) {
		for more && len(kept) > 0 && kept[0].ID < id {
			c := &kept[0]
			more = f(queuedChange{entry: entry{c.Lane, c.Alert, c.ID, len(c.Payload)}, kept: c})
			kept = kept[1:]
		}
	}
	err := d.view(func(tx *bolt.Tx) error {
		eachOnDisk(tx, after, func(q queuedChange) bool {
			before(q.id)
			_, removed := d.kept.done[q.id]
			// A commit that seemed to fail may be on the disk all the same.
			_, twice := d.kept.changes[q.id]
			if more && !removed && !twice {
				more = f(q)
			}
			return more
		})
		return nil
	})
	before(1<<64 - 1)
	return err
}

// eachOnDisk is eachQueued for what the database holds.
func eachOnDisk(tx *bolt.Tx, after uint64, f func(queuedChange) bool) {
	if after == 1<<64-1 {
		return
	}
	for at := range merged(tx, after+1) {
		if !f(queuedChange{entry: at, tx: tx}) {
			return
		}
	}
}

// lister makes a page of queued changes.
type lister struct {
	page Page
	size int
}

// add reports false once the page is full.
func (l *lister) add(q queuedChange, limit int, payload, inFlight bool) bool {
	if l.page.full(limit, l.size, q.size) {
		l.page.More = true
		return false
	}
	c, err := q.change()
	e := newEntry(c, payload)
	e.InFlight, e.InMemory = inFlight, q.kept != nil
	if err != nil {
		e.Problem = err.Error()
	}
	l.page.Entries = append(l.page.Entries, e)
	l.size += q.size
	return true
}

func newEntry(c Change, payload bool) Entry {
	e := Entry{
		ID: c.ID, Queued: cameAt(c.ID), AppKey: c.Lane, Alert: c.Alert, Level: c.Level, Time: c.Time,
		Size: len(c.Payload),
	}
	if payload && len(c.Payload) > 0 {
		e.Payload = c.Payload
		if !json.Valid(c.Payload) {
			e.Payload, _ = json.Marshal(string(c.Payload)) // a text never fails
		}
	}
	return e
}

func deadPage(tx *bolt.Tx, after uint64, limit int, payload bool) (page Page) {
	if after == 1<<64-1 {
		return page
	}
	size := 0
	c := tx.Bucket(bucketDead).Cursor()
	for k, v := c.Seek(encodeID(after + 1)); k != nil; k, v = c.Next() {
		if page.full(limit, size, len(v)) {
			page.More = true
			return page
		}
		size += len(v)
		id := decodeID(k)
		var letter DeadLetter
		err := json.Unmarshal(v, &letter)
		letter.ID = id
		e := newEntry(letter.Change, payload)
		e.Status, e.Answer = letter.Status, letter.Answer
		if err != nil {
			e.Size, e.Problem = len(v), errDamagedRecord.Error()
		} else {
			e.Died = time.Unix(letter.Died, 0).UTC()
		}
		page.Entries = append(page.Entries, e)
	}
	return page
}

// A levelPage is a piece of all levels. Keys are bytes: JSON texts would not
// keep what is no UTF-8.
type levelPage struct {
	Levels []wireLevel `json:"levels"`
	// Next is what to ask for the next page with; nil after the last.
	Next []byte `json:"next,omitempty"`
}

type wireLevel struct {
	Key   []byte `json:"key"`
	Time  int64  `json:"time"`
	Value []byte `json:"value"`
}

// levelsAfter returns a page of the levels, with what the disk refuses.
func (d *Disk) levelsAfter(after []byte) (page levelPage, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return page, ErrClosed
	}
	err = d.view(func(tx *bolt.Tx) error {
		page = pageOfLevels(tx, after, func(key string) bool {
			_, newer := d.kept.levels[key]
			return newer
		})
		return nil
	})
	if page.Next == nil {
		for _, l := range d.kept.levels {
			if l.Value != nil {
				page.Levels = append(page.Levels, wireLevel{[]byte(l.Key), l.Time, l.Value})
			}
		}
	}
	return page, err
}

// pageOfLevels returns a page of what the database holds, but for those levels
// that skip is true for.
func pageOfLevels(tx *bolt.Tx, after []byte, skip func(key string) bool) (page levelPage) {
	c := tx.Bucket(bucketLevels).Cursor()
	k, v := c.First()
	if after != nil {
		if k, v = c.Seek(after); slices.Equal(k, after) {
			k, v = c.Next()
		}
	}
	for n := 0; k != nil; k, v = c.Next() {
		if l, err := decodeLevel(v); err == nil && !skip(l.Key) {
			page.Levels = append(page.Levels, wireLevel{[]byte(l.Key), l.Time, l.Value})
		}
		if n++; n == maxPage {
			page.Next = slices.Clone(k)
			break
		}
	}
	return page
}
