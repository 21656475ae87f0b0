package outbox

import (
	"fmt"
	"testing"
)

// P7: what was delivered leaves nothing behind.
func TestMemoryForgetsAlerts(t *testing.T) {
	t.Parallel()
	m := NewMemory(0)
	for i := range 1000 {
		alert := fmt.Sprint(i)
		m.Append([]Change{{Alert: alert, AppKey: alert}, {Alert: alert, AppKey: alert}}, nil)
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
	if len(s.alerts) != 0 || len(s.inFlight) != 0 || len(s.ready) != 0 || len(m.changes) != 0 || m.bytes != 0 {
		t.Errorf("%d alerts, %d in flight, %d app keys, %d changes and %d bytes are left", len(s.alerts), len(s.inFlight), len(s.ready), len(m.changes), m.bytes)
	}
}
