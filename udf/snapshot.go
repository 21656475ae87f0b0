package udf

import (
	"encoding/json"
	"fmt"

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
	Version int             `json:"version"`
	Levels  []snapshotLevel `json:"levels,omitempty"`
}

type snapshotLevel struct {
	Key    string          `json:"key"`
	Record json.RawMessage `json:"record"`
}

// Snapshot returns the levels that BigPanda was told.
func (h *Handler) Snapshot() (*agent.SnapshotResponse, error) {
	s := snapshot{Version: snapshotVersion}
	size := 0
	records := h.state.records()
	for i, l := range records {
		if size += len(l.Key) + len(l.Value); size > maxSnapshot {
			h.once("snapshot", func() {
				h.log.Warn("more alerts are active than a snapshot holds: the rest is only in the outbox",
					"in_snapshot", i, "active", len(records))
			})
			break
		}
		s.Levels = append(s.Levels, snapshotLevel{l.Key, l.Value})
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	return &agent.SnapshotResponse{Snapshot: b}, nil
}

// Restore takes over a snapshot's levels if the outbox is new: otherwise the
// outbox knows better. A snapshot that cannot be read is logged and ignored.
func (h *Handler) Restore(r *agent.RestoreRequest) (*agent.RestoreResponse, error) {
	if err := h.restore(r.GetSnapshot()); err != nil {
		h.log.Error("the snapshot that Kapacitor kept cannot be read and is ignored: alerts that are open are sent again", "error", err)
	}
	return &agent.RestoreResponse{Success: true}, nil
}

func (h *Handler) restore(b []byte) error {
	if h.store == nil || !h.isNew {
		return nil
	}
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("decode snapshot: %w", err)
	}
	if s.Version != snapshotVersion {
		return fmt.Errorf("decode snapshot: version %d is not %d", s.Version, snapshotVersion)
	}
	levels := make([]outbox.Level, len(s.Levels))
	for i, l := range s.Levels {
		levels[i] = outbox.Level{Key: l.Key, Value: []byte(l.Record)}
	}
	err := h.state.restore(levels)
	h.state.pending = append(h.state.pending, h.state.records()...)
	return err
}
