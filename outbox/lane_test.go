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
	if len(m.alerts) != 0 || len(m.flying) != 0 || len(m.lanes) != 0 || m.bytes != 0 {
		t.Errorf("%d alerts, %d in flight, %d lanes and %d bytes are left", len(m.alerts), len(m.flying), len(m.lanes), m.bytes)
	}
}

// An array must not keep what has left a line.
func TestLinePopsWhole(t *testing.T) {
	l := line{queued: []Change{{ID: 1, Payload: []byte("p")}, {ID: 2}}}
	array := l.queued
	if c := l.pop(); c.ID != 1 || array[0].Payload != nil {
		t.Errorf("popped %v, and the array keeps %v", c, array[0])
	}
}
