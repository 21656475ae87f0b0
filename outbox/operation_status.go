package outbox

import (
	"context"
	"os"
	"time"

	"bigpanda-udf/boltfile"
)

// Status is the state of one outbox, for people and for monitors.
type Status struct {
	Folder string `json:"folder"`
	Task   string `json:"task"`
	Node   string `json:"node"`
	URL    string `json:"url"`
	Format int    `json:"format_version"`
	// Process is the one that works on the outbox; 0 if there is none.
	Process int `json:"process"`

	Queued   int   `json:"queued"`    // waiting or in flight
	InFlight int   `json:"in_flight"` // on their way
	Bytes    int64 `json:"bytes"`     // of the payloads that are queued
	// Oldest is when the oldest queued change came; zero when none is queued.
	Oldest time.Time `json:"oldest,omitzero"`
	Dead   int       `json:"dead"` // letters that are kept
	// GivenUp counts intermediate changes dropped at the size limit, since the
	// process began.
	GivenUp int `json:"given_up"`
	// KeptInMemory counts changes that the disk refuses.
	KeptInMemory int  `json:"kept_in_memory"`
	DiskRefuses  bool `json:"disk_refuses"`
	// Damaged names the databases that were put aside, beside this one: they could
	// not be read, or stood in its place.
	Damaged []string `json:"damaged,omitempty"`
	// LeftBehind is since when the outbox is an orphan: others deliver what was
	// queued, and its levels are nobody's. Zero: it is none.
	LeftBehind time.Time `json:"left_behind,omitzero"`

	Delivery
}

// Delivery is how delivery goes. It belongs to whoever delivers, and is empty
// when no process does.
type Delivery struct {
	Held          []Held    `json:"held,omitempty"`
	LastSuccess   time.Time `json:"last_success,omitzero"`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`
}

// Held is what keeps changes from being sent until somebody sees to it.
type Held struct {
	AppKey string    `json:"app_key"` // "" for all
	Reason string    `json:"reason"`
	Cause  string    `json:"cause,omitempty"` // a bigpanda.Reason
	Since  time.Time `json:"since,omitzero"`
}

// Report sets where the status has it from how delivery goes. The source is called
// with no lock of the outbox held, also at the same time by several.
func (d *Disk) Report(source func() Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report = source
}

// Status returns the state of the outbox. What a process can tell without its disk
// it tells also when that fails.
func (c *Control) Status(ctx context.Context) (Status, error) {
	s, err := readStatus.ask(ctx, c, struct{}{})
	s.Folder = c.folder // a process in a container may see another
	return s, err
}

var readStatus = define("status", "read the outbox", reports, func(t *target, _ struct{}) (Status, error) {
	return t.status(), nil
})

func (t *target) status() Status {
	s := Status{Folder: t.folder, Damaged: putAside(t.folder), Format: formatVersion, Delivery: t.delivery}
	if t.tx != nil {
		meta := t.tx.Bucket(bucketMeta)
		s.Task, s.Node, s.URL = string(meta.Get(keyTask)), string(meta.Get(keyNode)), string(meta.Get(keyURL))
		s.Format = int(boltfile.Number(meta.Get(keyVersion)))
		s.Queued, s.Bytes = int(boltfile.Number(meta.Get(keyQueued))), boltfile.Number(meta.Get(keyBytes))
		s.Dead = countDead(t.tx)
		if since := boltfile.Number(meta.Get(keyOrphan)); since > 0 {
			s.LeftBehind = time.Unix(since, 0).UTC()
		}
		for e := range merged(t.tx, 0) {
			s.Oldest = cameAt(e.ID)
			break
		}
	}
	if d := t.live; d != nil {
		s.Process = os.Getpid()
		s.Task, s.Node, s.URL = d.options.Task, d.options.Node, d.options.URL
		s.Queued, s.InFlight, s.Bytes = d.queued, len(d.schedule.inFlight), d.bytes
		s.Dead += len(d.pending.dead)
		s.GivenUp = d.stats.GivenUp
		s.KeptInMemory, s.DiskRefuses = len(d.pending.changes), d.writeFailed != nil
		for id := range d.pending.changes {
			if at := cameAt(id); s.Oldest.IsZero() || at.Before(s.Oldest) {
				s.Oldest = at
			}
		}
	}
	return s
}

// cameAt is when Append got a change: its ID are the Unix nanoseconds of that.
func cameAt(id uint64) time.Time { return time.Unix(0, int64(id)).UTC() }
