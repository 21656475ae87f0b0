package outbox

import (
	"fmt"
	"testing"
)

// A value is replaced where there is one that is to be, and makes its level no
// later.
func TestRefresh(t *testing.T) {
	dir := t.TempDir()
	r := openIn(t, dir)
	r.Append(nil, []Level{{Key: "a", Time: 7, Value: []byte("v")}, {Key: "b", Time: 8, Value: []byte("v")}, {Key: "d", Time: 6, Value: []byte("x")}})
	r.Append(nil, []Level{{Key: "b", Time: 9}})
	for range 2 {
		r.Refresh([]string{"a", "b", "c", "d"}, func(l Level) []byte {
			if string(l.Value) == "x" {
				return nil
			}
			return []byte(l.Key + "w")
		})
	}
	for range 2 {
		all, _, err := readAll(r)
		if got := fmt.Sprintf("%q", all); err != nil || got != `[{"d" '\x06' "x"} {"a" '\a' "aw"}]` {
			t.Errorf("levels: %s, %v", got, err)
		}
		r.close()
		r = openIn(t, dir)
	}
	r.close()
	r.Refresh([]string{"a"}, func(Level) []byte { return []byte("x") }) // it has been closed
}

func TestLevelsUntilNoMoreAreWanted(t *testing.T) {
	r := openIn(t, t.TempDir())
	var levels []Level
	for i := range 10 {
		levels = append(levels, Level{Key: fmt.Sprint("series", i), Time: 1, Value: []byte("{}")})
	}
	r.Append(nil, levels)
	seen := 0
	if _, err := r.Levels(func(Level) bool { seen++; return seen < 3 }); err != nil || seen != 3 {
		t.Errorf("%d levels, want 3: %v", seen, err)
	}
	if all, _, err := readAll(r); err != nil || len(all) != 10 {
		t.Errorf("then %d levels, want 10: %v", len(all), err)
	}
}
