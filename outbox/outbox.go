// Package outbox keeps what is still to be delivered, and beside it the levels
// that were told.
//
// It owns the order: the changes of one alert leave in the order in which they
// came, one piece at a time, whatever happens to other alerts. It knows
// neither what an alert means nor where it goes: a key, an app key and a payload
// are all it sees.
//
//	 handler (Owner)              sender                a person, another process
//	    │ Append, Levels            │ Next, Ack, Dead,      │ Control
//	    │                           │ Release, Postpone     ▼
//	    ▼                           ▼                    control.sock, or the file
//	┌─ Disk ── memory, behind Disk.mu ────────────────┐  itself when no process
//	│ window   schedule of the oldest changes         │  works on it
//	│ pending  what has still to be written           │◀─ controlServer: run, of one
//	│ store    the database that is open, the lock    │     table of operations
//	└──────┬───────────────────────────────┬──────────┘◀─ worker: run, home, locked,
//	       ▼ one commit                    ▼ flock, for its life    Count
//	<folder>/outbox.db (bbolt)         <folder>/lock        │ idle: a piece at a time
//	queue, levels, again, dead, meta                        ▼
//	                                   <other folder>/outbox.db, lock: of a process
//	                                   that is gone (an orphan)
//
// Disk is the queue. What Append, Ack and Dead are given is on disk, synced, when they
// return; changes and levels of one Append are there together or not at all. Disk.mu is
// held over a commit, and never over the network. Append has no error: what the disk
// refuses is pending. An Ack that failed is written later; until then a kill has
// the change sent again.
//
// pending holds, while the disk refuses, the newest change of each alert and all
// levels. It is written, as one, with the next commit that works, and lost with the
// process before that. The log says when it begins and ends.
//
// window knows of each app key the oldest changes by ID, alert and size; payloads stay
// on disk until Next. It reads on as they leave, and can be rewound at any time: what
// is in flight stays so. It and the schedule have no lock of their own.
//
// store. A transaction without an error is on disk. Of a full disk the same database
// is used again; after any other failure it is opened anew, since what the file holds
// is what counts. A file that cannot be read is put aside under a telling name, and
// a new one begun; one that was deleted, moved or replaced under the process is written
// anew from the open one; one that was written over in place cannot be, as the old
// pages are gone: what it holds now counts, and its levels are to be told again. Each
// is an error in the log, at the next commit. A newer format is left alone
// (errNewerFormat).
//
// Operations are each one transaction. Those that change something, or must see all
// levels, run while the Owner, who has the levels in its memory, changes nothing: it
// is asked before Disk.mu is taken. While the disk refuses they change nothing.
// What all share is operation.go; cli/outbox_*.go asks for them. The controlServer
// keeps nothing: each request is one call of Disk.run, by a goroutine of its own.
//
// worker. The folder belongs to who holds its flock, for an orphan as well: there a
// piece at a time, so that its own process can have it back. A change is written here
// before it is removed there: a kill in between leaves it in both, under one ID. One
// goroutine owns the worker and what it has seen, without a lock. Locks are taken in
// this order: an orphan's flock, the Owner's turn, Disk.mu. What fails is in the log,
// and tried again at the next look.
//
// Memory has the same order and limit, and no more: nothing of it outlasts the process,
// so it begins without levels, whatever the URL was before.
//
// What every kind of outbox must do is written down in package outboxtest.
package outbox

import (
	"errors"
	"time"
)

// ErrClosed is the error of what an outbox does not do any more: it was closed.
var ErrClosed = errors.New("outbox is closed")

// MaxBatchBytes is where Next stops adding to a piece: payloads of together
// more than this make a request that the Alerts API, whose limit is 6 MB
// (BigPanda, reference/alerts), would refuse whole.
const MaxBatchBytes = 4 << 20

// A Change is one queued alert, complete in itself.
type Change struct {
	// ID is given by Append, ascending in the order of change, never used twice.
	ID uint64
	// Alert names what the change is about. Changes with equal Alert are
	// delivered in the order of their IDs.
	Alert string
	// AppKey names what may share a request. Dead letters are stored with the name
	// that it had before.
	AppKey string `json:"Lane"`
	// Time is the alert's timestamp in Unix seconds.
	Time int64
	// Level is the level that the alert changed to, for people to read.
	Level string
	// Payload is what is sent. It is never changed after Append.
	Payload []byte
	// Postponed is set by Next: the change is of an alert that was postponed. It
	// is not stored.
	Postponed bool
	// Came is when the function had what the change is made of; zero: it is not
	// counted how long that took to be on disk. It is not stored.
	Came time.Time `json:"-"`
}

// A Level is what was last told about one series.
type Level struct {
	// Key is the series.
	Key string
	// Time is the timestamp of the change, in Unix seconds: of two records of
	// one series the later one is right.
	Time int64
	// Value belongs to whoever appended it, and is not empty; nil forgets the
	// series.
	Value []byte
	// Again says that it is to be told again: what BigPanda was told, it was told
	// at another URL, or by another process. It is so until the series is appended
	// anew.
	Again bool
	// Seen is when the last point of the series came, in Unix seconds, as the
	// process knows it that works on the outbox; 0: that is not known.
	Seen int64
}

// Stats counts what an outbox holds and what went through it since it was
// opened.
type Stats struct {
	Queued   int // waiting or in flight
	InFlight int // returned by Next, and not yet acknowledged, dead or released
	Dead     int // refused for good
	GivenUp  int // intermediate changes dropped at the size limit
}

// A DeadLetter is a change that was refused for good, and the answer.
type DeadLetter struct {
	Change
	Status int    // of the HTTP answer
	Answer string // its body
	Died   int64  // when, in Unix seconds
}
