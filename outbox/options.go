package outbox

import (
	"cmp"
	"log/slog"
	"time"
)

const (
	// DefaultMaxSize is how large the queue may be, in bytes, before
	// intermediate changes are given up: some days of a storm, and less than
	// what a root file system can spare.
	DefaultMaxSize = 4 << 30

	databaseName = "outbox.db"
	lockName     = "lock"
	controlName  = "control.sock"
)

// Options say whose outbox it is and how it behaves.
type Options struct {
	// Task and Node are the use of the function that the outbox belongs to.
	Task, Node string
	// URL is where its alerts go, and Fingerprint makes a keyed hash of the
	// token that they go with: others with the same two may deliver them. The URL
	// is kept and shown without its query.
	URL         string
	Fingerprint func(key []byte) []byte
	// LeaveOrphans says that somebody else delivers what other uses have left
	// behind, such as the daemon.
	LeaveOrphans bool
	// MaxSize is the limit of the queue in bytes; 0 means DefaultMaxSize.
	MaxSize int64
	// Wait is how long Open waits for another process to leave.
	Wait time.Duration
	// Times are how long an outbox waits for others.
	Times Times
	// Version is that of the program, for those who ask.
	Version string
	// Log gets what an operator should know. Required.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	noControl bool // nothing waits for the network, as a fake clock needs it
}

// TopicNode is the node of a use that is a handler of a topic, and no node of a task:
// the names of those end with a number.
const TopicNode = "topic"

// Times are how long an outbox waits for what others do. The zero value of each
// means its default.
type Times struct {
	// Settle (3 s) is how long a use that has no folder watches the one folder of
	// its task that nobody works in before it takes that for its own: processes of
	// a task start together, and after 1 s a late one has lost its folder.
	Settle time.Duration
	// Meet (500 ms) is how long other processes of the use may take to say what they
	// have told: points wait meanwhile.
	Meet time.Duration
	// Look (1 min) is how often an outbox looks for what processes that are gone
	// have left behind. What is another use's is taken at the second look.
	Look time.Duration
	// Rest (50 ms) is how long an orphan's lock is free between two pieces of its
	// queue: its owner may be waiting for it.
	Rest time.Duration
	// Retry (1 s) is how long what the disk refused waits to be tried again.
	Retry time.Duration
}

func (t Times) withDefaults() Times {
	return Times{
		Settle: cmp.Or(t.Settle, 3*time.Second),
		Meet:   cmp.Or(t.Meet, 500*time.Millisecond),
		Look:   cmp.Or(t.Look, time.Minute),
		Rest:   cmp.Or(t.Rest, 50*time.Millisecond),
		Retry:  cmp.Or(t.Retry, time.Second),
	}
}
