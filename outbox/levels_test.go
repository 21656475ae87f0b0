package outbox

import (
	"fmt"
	"testing"
)

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
