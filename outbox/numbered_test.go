package outbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// P5: two processes of one use of the function, and what the next one starts
// from: the later change of each series, whichever of the two told it, and
// nothing that one of them has forgotten.
func TestLevelsOfTwoProcesses(t *testing.T) {
	put := func(key string, time int64, value string) Level {
		return Level{Key: key, Time: time, Value: []byte(value)}
	}
	forget := func(key string, time int64) Level { return Level{Key: key, Time: time} }
	for _, tt := range []struct {
		name                  string
		before, first, second []Level // appended by the first alone, then by both
		want                  string
	}{
		{"nothing changes", []Level{put("a", 1, "crit")}, nil, nil, "a=crit"},
		{"the first resolves", []Level{put("a", 1, "crit")}, []Level{put("a", 2, "ok")}, nil, "a=ok"},
		{"the first resolves and forgets", []Level{put("a", 1, "crit")}, []Level{put("a", 2, "ok"), forget("a", 2)}, nil, ""},
		{"the second resolves", []Level{put("a", 1, "crit")}, nil, []Level{put("a", 2, "ok")}, "a=ok"},
		{"the second resolves and forgets", []Level{put("a", 1, "crit")}, nil, []Level{put("a", 2, "ok"), forget("a", 2)}, ""},
		{"the second opens", nil, nil, []Level{put("b", 1, "crit")}, "b=crit"},
		{"the later change wins", []Level{put("a", 1, "crit")}, []Level{put("a", 3, "warn")}, []Level{put("a", 2, "ok")}, "a=warn"},
		{"opened again after it was forgotten", []Level{put("a", 1, "crit")}, []Level{put("a", 3, "crit")}, []Level{put("a", 2, "ok"), forget("a", 2)}, "a=crit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := memoryDir(t)
			first := openIn(t, dir)
			first.Append(nil, tt.before)
			second := openIn(t, dir)
			if got, want := text(t, second), text(t, first); got != want {
				t.Errorf("the second starts from %q, want %q", got, want)
			}
			first.Append(nil, tt.first)
			second.Append(nil, tt.second)
			// The second goes last, so that somebody else takes its levels over.
			first.close()
			second.close()
			if got := text(t, openIn(t, dir).adopted()); got != tt.want {
				t.Errorf("the next starts from %q, want %q", got, tt.want)
			}
			if left := files(t, dir, "*~*"); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// text lists the levels of an outbox.
func text(t *testing.T, r *rig) string {
	t.Helper()
	levels, _, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range levels {
		all = append(all, fmt.Sprintf("%s=%s", l.Key, l.Value))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
