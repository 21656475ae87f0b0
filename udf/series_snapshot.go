package udf

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bigpanda-udf/outbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

const (
	snapshotVersion = 1
	// maxSnapshot is about where a snapshot stops to take levels, in bytes:
	// Kapacitor keeps it in its database and sends it back in one frame.
	maxSnapshot = 8 << 20
)

// A snapshot is what Kapacitor keeps for the function, as JSON. It always has
// a version: Kapacitor does not save a snapshot of zero bytes, and would
// restore the one before it.
type snapshot struct {
	Version int              `json:"version"`
	Levels  []snapshotLevel  `json:"levels,omitempty"`
	Changes []snapshotChange `json:"changes,omitempty"` // not delivered, of a Forgetful store
}

type snapshotLevel struct {
	Key    string          `json:"key"`
	Record json.RawMessage `json:"record"`
}

type snapshotChange struct {
	Alert   string          `json:"alert"`
	AppKey  string          `json:"app_key"`
	Time    int64           `json:"time"`
	Level   string          `json:"level"`
	Payload json.RawMessage `json:"payload"`
}

// Snapshot returns the levels that BigPanda was told, and what it is still to
// be told where nothing else keeps that. An alert for which there is no room is
// left out whole, and so begins anew.
func (h *Handler) Snapshot() (*agent.SnapshotResponse, error) {
	s := snapshot{Version: snapshotVersion}
	if h.store == nil {
		return s.encode()
	}
	h.lock()
	defer h.mu.Unlock()
	h.commit() // the levels may be ahead of the store in the middle of a piece
	size, left := 0, 0
	fits := func(n int) bool {
		if size+n > maxSnapshot {
			left++
			return false
		}
		size += n
		return true
	}
	untold := make(map[string]bool) // by alert
	if store, ok := h.store.(Forgetful); ok {
		for _, c := range store.Undelivered() {
			if fits(len(c.Alert) + len(c.Payload)) {
				s.Changes = append(s.Changes, snapshotChange{c.Alert, c.AppKey, c.Time, c.Level, c.Payload})
			} else {
				untold[c.Alert] = true
			}
		}
	}
	seen := 0
	for l, alert := range h.state.records() {
		if seen++; untold[alert] {
			continue
		}
		if !fits(len(l.Key) + len(l.Value)) {
			if size < maxSnapshot/2 {
				continue // it is a large one
			}
			left += h.state.size() - seen // a million of them need not be looked at
			break
		}
		s.Levels = append(s.Levels, snapshotLevel{l.Key, l.Value})
	}
	slices.SortFunc(s.Levels, func(a, b snapshotLevel) int { return strings.Compare(a.Key, b.Key) })
	if left > 0 {
		h.once("snapshot", func() {
			h.log.Warn("more alerts are active than a snapshot holds: after a restart that only it survives, the rest is sent again", "left_out", left)
		})
	}
	return s.encode()
}

func (s snapshot) encode() (*agent.SnapshotResponse, error) {
	b, err := json.Marshal(s)
	return &agent.SnapshotResponse{Snapshot: b}, err
}

// Restore takes over a snapshot if the outbox is new: otherwise the outbox
// knows better. What cannot be read of it is logged and ignored.
func (h *Handler) Restore(r *agent.RestoreRequest) (*agent.RestoreResponse, error) {
	if err := h.restore(r.GetSnapshot()); err != nil {
		h.log.Error("the snapshot that Kapacitor kept cannot be read and is ignored: alerts that are open are sent again", "error", err)
	}
	return &agent.RestoreResponse{Success: true}, nil
}

func (h *Handler) restore(b []byte) error {
	if h.store == nil {
		return nil
	}
	h.lock()
	defer h.mu.Unlock()
	if !h.isNew {
		return nil
	}
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("decode snapshot: %w", err)
	}
	if s.Version != snapshotVersion {
		return fmt.Errorf("decode snapshot: version %d is not %d", s.Version, snapshotVersion)
	}
	var unreadable error
	for _, l := range s.Levels {
		if err := h.state.restore(outbox.Level{Key: l.Key, Value: l.Record}); err != nil {
			unreadable = err
		}
	}
	h.state.restored()
	h.noticeAppKey()
	for l := range h.state.records() {
		h.state.pending = append(h.state.pending, l)
	}
	for _, c := range s.Changes {
		h.changes = append(h.changes, outbox.Change{Alert: c.Alert, AppKey: c.AppKey, Time: c.Time, Level: c.Level, Payload: c.Payload})
	}
	return unreadable
}
