package retry

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestIsolatedIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewIsolated[uint64](new(Wakeup))
		one := func(id uint64) *Alert[uint64] {
			return &Alert[uint64]{Change: id, Backoff: NewBackoff(FailureInitial, FailureMax)}
		}
		for id := range uint64(MaxIsolated) {
			if !s.Add(one(id), 0) {
				t.Fatalf("there is no place for number %d", id)
			}
		}
		if s.Add(one(MaxIsolated), 0) {
			t.Error("there is always a place")
		}
		if s.Take() != nil {
			t.Error("one is due at once")
		}
		time.Sleep(2 * FailureInitial)
		if s.Take() == nil {
			t.Error("none is due")
		}
		if s.Take() != nil {
			t.Error("there are two at once")
		}
		s.Done(time.Second, true)
		time.Sleep(time.Second - 1)
		if s.Take() != nil {
			t.Error("there is no cooldown")
		}
		synctest.Wait()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s.Take() == nil {
			t.Error("the cooldown does not end")
		}
		if n := len(s.Empty()); n != MaxIsolated-2 {
			t.Errorf("%d are left", n)
		}
	})
}
