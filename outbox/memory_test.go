package outbox_test

import (
	"fmt"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/outbox/outboxtest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	outboxtest.Run(t, func(_ *testing.T, limit int64) outboxtest.Outbox { return outbox.NewMemory(limit) },
		outboxtest.Length{Seeds: outbox.Rounds(10, 4), Steps: 500})
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

func TestMemoryKeepsTheNewestDeadLetters(t *testing.T) {
	t.Parallel()
	m := outbox.NewMemory(0)
	for i := range 150 {
		m.Append([]outbox.Change{{Alert: "a", AppKey: "k", Payload: fmt.Append(nil, i)}}, nil)
		c, err := m.Next(t.Context(), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Dead(c[0].ID, 400+i, fmt.Sprint("no ", i)); err != nil {
			t.Fatal(err)
		}
	}
	letters := m.DeadLetters()
	if len(letters) != 100 {
		t.Fatalf("%d dead letters are kept", len(letters))
	}
	for i, d := range letters {
		i += 50
		if string(d.Payload) != fmt.Sprint(i) || d.Status != 400+i || d.Answer != fmt.Sprint("no ", i) {
			t.Fatalf("dead letter %d: got %+v", i, d)
		}
	}
	if got := m.Stats(); got != (outbox.Stats{Dead: 150}) {
		t.Errorf("stats: %+v", got)
	}
}
