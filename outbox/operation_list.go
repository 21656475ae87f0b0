package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"bigpanda-udf/boltfile"
)

// The kinds of what an outbox lists and drops.
const (
	KindDead   = "dead"
	KindQueued = "queued"
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
	Problem  string    `json:"problem,omitempty"` // why it cannot be read

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
	size    int     // of the payloads
}

// pageQuery asks for entries behind an ID. A page has an upper bound of its own.
type pageQuery struct {
	After   uint64 `json:"after"`
	Limit   int    `json:"limit"`
	Payload bool   `json:"payload"`
}

// add takes an entry in. It reports false when the page is full.
func (p *Page) add(q pageQuery, size int, e Entry) bool {
	if len(p.Entries) >= min(max(q.Limit, 1), maxPage) || len(p.Entries) > 0 && p.size+size > maxPageBytes {
		p.More = true
		return false
	}
	p.Entries = append(p.Entries, e)
	p.size += size
	return true
}

// Queued returns up to limit queued changes behind an ID, in the order of their
// IDs. What the disk refuses, and a process has in its memory, is not among them.
func (c *Control) Queued(ctx context.Context, after uint64, limit int, payload bool) (Page, error) {
	return listQueued.ask(ctx, c, pageQuery{after, limit, payload})
}

var listQueued = define("queued", "read the outbox", reads, func(t *target, q pageQuery) (page Page, err error) {
	if q.After == 1<<64-1 {
		return page, nil
	}
	for c, err := range merged(t.tx, q.After+1) {
		e := newEntry(c, q.Payload)
		e.InFlight = t.inFlight(c.ID)
		if err != nil {
			e.Problem = err.Error()
		}
		if !page.add(q, e.Size, e) {
			break
		}
	}
	return page, nil
})

// DeadLetters returns up to limit dead letters behind an ID, as Queued does.
func (c *Control) DeadLetters(ctx context.Context, after uint64, limit int, payload bool) (Page, error) {
	return listDead.ask(ctx, c, pageQuery{after, limit, payload})
}

var listDead = define("dead", "read the outbox", reads, func(t *target, q pageQuery) (page Page, err error) {
	c := t.tx.Bucket(bucketDead).Cursor()
	for k, v := c.Seek(behind(boltfile.EncodeID(q.After))); k != nil; k, v = c.Next() {
		var letter DeadLetter
		err := json.Unmarshal(v, &letter)
		letter.ID = boltfile.DecodeID(k)
		e := newEntry(letter.Change, q.Payload)
		e.Status, e.Answer = letter.Status, letter.Answer
		if err != nil {
			e.Size, e.Problem = len(v), boltfile.ErrDamagedRecord.Error()
		} else {
			e.Died = time.Unix(letter.Died, 0).UTC()
		}
		if !page.add(q, len(v), e) {
			break
		}
	}
	return page, nil
})

// behind is the first key that may follow one.
func behind(key []byte) []byte { return append(key[:len(key):len(key)], 0) }

func newEntry(c Change, payload bool) Entry {
	e := Entry{
		ID: c.ID, Queued: cameAt(c.ID), AppKey: c.AppKey, Alert: c.Alert, Level: c.Level, Time: c.Time,
		Size: len(c.Payload),
	}
	if payload && len(c.Payload) > 0 {
		e.Payload = bytes.Clone(c.Payload)
		if !json.Valid(c.Payload) {
			e.Payload, _ = json.Marshal(string(c.Payload)) // a text never fails
		}
	}
	return e
}

// A levelPage is a piece of all levels.
type levelPage struct {
	Levels []levelEntry `json:"levels"`
	// Next is what to ask for the next page with; nil after the last.
	Next []byte `json:"next,omitempty"`
}

// A levelEntry is a level whose key is bytes: a text of JSON would not keep what is no
// UTF-8.
type levelEntry struct {
	Level
	Key []byte
}

// Levels calls each with the level of every series, in no order. Those that the
// disk refuses, and a process has in its memory, are not among them.
func (c *Control) Levels(ctx context.Context, each func(Level)) error {
	for after, more := []byte(nil), true; more; {
		page, err := listLevels.ask(ctx, c, after)
		if err != nil {
			return err
		}
		for _, l := range page.Levels {
			l.Level.Key = string(l.Key)
			each(l.Level)
		}
		after, more = page.Next, page.Next != nil
	}
	return nil
}

var listLevels = define("levels", "read the outbox", asks, func(t *target, after []byte) (page levelPage, err error) {
	c := t.tx.Bucket(bucketLevels).Cursor()
	n := 0
	for k, v := c.Seek(behind(after)); k != nil; k, v = c.Next() {
		if l, err := decodeLevel(v); err == nil && len(l.Value) > 0 {
			l.Value = bytes.Clone(l.Value)
			if t.known != nil {
				l.Seen = t.known.Seen(l.Key)
			}
			page.Levels = append(page.Levels, levelEntry{l, []byte(l.Key)})
		}
		if n++; n == maxPage {
			page.Next = slices.Clone(k)
			break
		}
	}
	return page, nil
})
