package outbox

import (
	"fmt"
	"testing"
)

// P7: what was delivered leaves nothing behind.
func TestMemoryForgetsAlerts(t *testing.T) {
	m := NewMemory(0)
	for i := range 1000 {
		alert := fmt.Sprint(i)
		m.Append([]Change{{Alert: alert, Lane: alert}, {Alert: alert, Lane: alert}}, nil)
	}
	for m.Stats().Queued > 0 {
		taken, err := m.Next(t.Context(), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Ack(taken[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	s := m.schedule
	if len(s.alerts) != 0 || len(s.flying) != 0 || len(s.lanes) != 0 || len(m.changes) != 0 || m.bytes != 0 {
		t.Errorf("%d alerts, %d in flight, %d lanes, %d changes and %d bytes are left", len(s.alerts), len(s.flying), len(s.lanes), len(m.changes), m.bytes)
	}
}
