package outbox_test

import (
	"fmt"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/outbox/outboxtest"
	"bigpanda-udf/test"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	outboxtest.Run(t, func(_ *testing.T, limit int64) outboxtest.Outbox { return outbox.NewMemory(limit) },
		outboxtest.Length{Seeds: outbox.Rounds(10, test.Volume(4, 2)), Steps: 500})
}

func TestMemoryIsAlwaysNew(t *testing.T) {
	t.Parallel()
	m := outbox.NewMemory(0)
	m.Append(nil, []outbox.Level{{Key: "a", Time: 1, Value: []byte("v")}})
	var levels []outbox.Level
	isNew, err := m.Levels(func(l outbox.Level) bool {
		levels = append(levels, l)
		return true
	})
	if len(levels) != 0 || !isNew || err != nil {
		t.Errorf("got %v, %v, %v", levels, isNew, err)
	}
}

// Nothing is kept of what was refused, but their number (P7).
func TestMemoryCountsTheDead(t *testing.T) {
	t.Parallel()
	m := outbox.NewMemory(0)
	for i := range 150 {
		m.Append([]outbox.Change{{Alert: "a", AppKey: "k", Payload: fmt.Append(nil, i)}}, nil)
		c, err := m.Next(t.Context(), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Dead(c[0], 400+i, fmt.Sprint("no ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Stats(); got != (outbox.Stats{Dead: 150}) || len(m.Undelivered()) > 0 {
		t.Errorf("stats: %+v", got)
	}
}

// What is put has its own numbers, leaves in their order whatever came first, and is not
// given up.
func TestMemoryPut(t *testing.T) {
	t.Parallel()
	m := outbox.NewMemory(10)
	put := func(id uint64, alert string) {
		m.Put(outbox.Change{ID: id, Alert: alert, AppKey: "k", Payload: []byte("more than the limit")})
	}
	put(20, "a")
	put(30, "a")
	put(5, "b")
	put(40, "a")
	if all := m.Undelivered(); len(all) != 2 || all[0].ID != 5 || all[1].ID != 40 || all[1].Alert != "a" {
		t.Errorf("undelivered are %+v", all)
	}
	got, err := m.Next(t.Context(), 10, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint64
	for _, c := range got {
		ids = append(ids, c.ID)
	}
	if fmt.Sprint(ids) != "[5 20 30 40]" {
		t.Errorf("got %v", ids)
	}
	if err := m.Ack(ids...); err != nil {
		t.Fatal(err)
	}
	if len(m.Undelivered()) > 0 || m.Stats() != (outbox.Stats{}) {
		t.Errorf("stats: %+v", m.Stats())
	}
}
