package udf_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

func TestParseLevel(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]udf.Level{
		"OK": udf.OK, "ok": udf.OK, "Ok": udf.OK,
		"INFO": udf.Info, "info": udf.Info,
		"WARNING": udf.Warning, "warning": udf.Warning, "WARN": udf.Warning, "Warn": udf.Warning,
		"CRITICAL": udf.Critical, "critical": udf.Critical, "CRIT": udf.Critical, "crit": udf.Critical,
	} {
		if got, ok := udf.ParseLevel(word); !ok || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v, want %v", word, got, ok, want)
		}
	}
	for _, word := range []string{"", " OK", "INFORMATION", "CRITICALLY", "SEVERE", "3", "OKINFO"} {
		if got, ok := udf.ParseLevel(word); ok {
			t.Errorf("ParseLevel(%q) = %v, want none", word, got)
		}
	}
	for level, want := range map[udf.Level]string{udf.OK: "OK", udf.Info: "INFO", udf.Warning: "WARNING", udf.Critical: "CRITICAL"} {
		if got := level.String(); got != want {
			t.Errorf("%d is called %q, want %q", level, got, want)
		}
	}
}

func TestLevelOfAPoint(t *testing.T) {
	t.Parallel()
	type tags = map[string]string
	type fields = map[string]any
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		tags    tags
		fields  fields
		want    string // "" for no alert
	}{
		{"field level", nil, nil, fields{"level": "CRITICAL"}, "CRITICAL"},
		{"tag level", nil, tags{"level": "WARNING"}, nil, "WARNING"},
		{"field before tag", nil, tags{"level": "WARNING"}, fields{"level": "CRITICAL"}, "CRITICAL"},
		{"a field that is no level hides the tag", nil, tags{"level": "WARNING"}, fields{"level": 7}, ""},
		{"neither", nil, tags{"severity": "CRITICAL"}, fields{"severity": "CRITICAL"}, ""},
		{"empty", nil, nil, fields{"level": ""}, ""},

		{"levelField", all(opt("levelField", "severity")), nil, fields{"severity": "CRITICAL", "level": "INFO"}, "CRITICAL"},
		{"levelField alone counts", all(opt("levelField", "severity")), tags{"level": "INFO", "severity": "INFO"}, fields{"level": "INFO"}, ""},
		{"levelTag", all(opt("levelTag", "severity")), tags{"severity": "CRITICAL", "level": "INFO"}, fields{"level": "INFO"}, "CRITICAL"},
		{"levelTag alone counts", all(opt("levelTag", "severity")), tags{"level": "INFO"}, fields{"level": "INFO", "severity": "INFO"}, ""},

		{"lower case", nil, nil, fields{"level": "critical"}, "CRITICAL"},
		{"mixed case", nil, nil, fields{"level": "Info"}, "INFO"},
		{"WARN", nil, nil, fields{"level": "WARN"}, "WARNING"},
		{"crit", nil, nil, fields{"level": "crit"}, "CRITICAL"},

		{"a word of one's own", all(opt("level", "SEVERE", "CRITICAL")), nil, fields{"level": "SEVERE"}, "CRITICAL"},
		{"in another case", all(opt("level", "Severe", "crit")), nil, fields{"level": "sEVERE"}, "CRITICAL"},
		{"beside Kapacitor's", all(opt("level", "SEVERE", "CRITICAL")), nil, fields{"level": "warn"}, "WARNING"},
		{"over Kapacitor's", all(opt("level", "warning", "CRITICAL")), nil, fields{"level": "WARNING"}, "CRITICAL"},
		{"a whole number", all(opt("level", "2", "CRITICAL")), nil, fields{"level": 2}, "CRITICAL"},
		{"a whole number as an option", all(opt("level", 2, "CRITICAL")), nil, fields{"level": 2}, "CRITICAL"},
		{"a number with a fraction", all(opt("level", "2.5", "CRITICAL")), nil, fields{"level": 2.5}, "CRITICAL"},
		{"a bool", all(opt("level", "TRUE", "CRITICAL")), nil, fields{"level": true}, "CRITICAL"},
		{"a word with spaces and letters of any kind", all(opt("level", "très grave", "CRITICAL")), nil, fields{"level": "TRÈS GRAVE"}, "CRITICAL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes := start(t, tt.options...).send(pt{tags: tt.tags, fields: tt.fields})
			want := tt.want
			if want != "" {
				want += "@0"
			}
			wantTold(t, changes, want)
		})
	}
}

func TestStatusOfALevel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		level, infoStatus, want string
	}{
		{"INFO", "", "ok"},
		{"INFO", "warning", "warning"},
		{"INFO", "unknown", "unknown"},
		{"WARNING", "unknown", "warning"},
		{"CRITICAL", "unknown", "critical"},
		{"OK", "unknown", "ok"},
	} {
		t.Run(tt.level+" with infoStatus "+tt.infoStatus, func(t *testing.T) {
			var options []*agent.Option
			if tt.infoStatus != "" {
				options = all(opt("infoStatus", tt.infoStatus))
			}
			p := at(0, "id", tt.level)
			if tt.level == "OK" {
				p = recovery(0, "id")
			}
			if got := start(t, options...).one(p).properties["status"]; got != tt.want {
				t.Errorf("status %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnknownWordsAreLoggedOnceEach(t *testing.T) {
	t.Parallel()
	r := start(t)
	for range 3 {
		r.send(at(0, "id", "SEVERE"), at(0, "id", "TERRIBLE"))
	}
	r.wantLogged(1, "level=ERROR", ".level('WORD', 'CRITICAL')", "word=SEVERE", "field=level")
	r.wantLogged(1, "level=ERROR", "word=TERRIBLE")
	r.wantLogged(2)

	t.Run("but not without end", func(t *testing.T) {
		for i := range 1000 {
			r.send(at(0, "id", fmt.Sprint("word ", i)))
		}
		r.wantLogged(20)
	})
	t.Run("also one that is cut within a letter", func(t *testing.T) {
		r := start(t)
		for range 3 {
			r.send(at(0, "id", "x"+strings.Repeat("é", 120)))
		}
		r.wantLogged(1, "level=ERROR", "word=xéé")
	})
	t.Run("whatever else was logged", func(t *testing.T) {
		var options []*agent.Option
		for i := range 30 {
			options = append(options, opt("attribute", fmt.Sprint("a", i), "{{ len 1 }}"))
		}
		r := start(t, options...)
		r.send(at(0, "id", "CRITICAL"), at(0, "id", "SEVERE"))
		r.wantLogged(30, "template")
		r.wantLogged(1, "word=SEVERE")
	})
	t.Run("and counted", func(t *testing.T) {
		r.h.Stop()
		r.wantLogged(1, "unknown_level=1006", "points=1006", "no_level=0", "changes=0")
	})
}

// The commonest mistake: |alert() without levelField or levelTag.
func TestNoLevelIsAnError(t *testing.T) {
	t.Parallel()
	none := at(0, "id", "")
	some := at(0, "id", "OK")
	const hint = ".levelField('level').idTag('alertID').messageField('message').durationField('duration')"

	t.Run("after 1,000 points", func(t *testing.T) {
		r := start(t)
		for range 999 {
			r.send(none)
		}
		r.wantLogged(0)
		r.send(none)
		r.wantLogged(1, "level=ERROR", hint, "points=1000")
	})
	t.Run("or a minute", func(t *testing.T) {
		r := start(t)
		r.send(none)
		r.now = r.now.Add(59 * time.Second)
		r.send(none)
		r.wantLogged(0)
		r.now = r.now.Add(time.Second)
		r.send(none)
		r.wantLogged(1, "level=ERROR", hint, "points=3")
	})
	t.Run("or a minute after the only point", func(t *testing.T) {
		r := start(t)
		r.send(none)
		r.now = r.now.Add(time.Minute)
		r.h.Commit() // a keepalive ends a piece of input, too
		r.wantLogged(1, "level=ERROR", hint, "points=1")
	})
	t.Run("or at the end of the input", func(t *testing.T) {
		r := start(t)
		r.send(none)
		r.h.Stop()
		r.wantLogged(1, "level=ERROR", hint, "points=1")
	})
	t.Run("and again every 10 minutes", func(t *testing.T) {
		r := start(t)
		for range 1000 {
			r.send(none)
		}
		for minute := 1; minute <= 35; minute++ {
			r.now = r.now.Add(time.Minute)
			r.send(none)
			r.wantLogged(1+minute/10, hint)
		}
		r.wantLogged(4)
	})
	t.Run("but not when any point has one", func(t *testing.T) {
		r := start(t)
		for range 10 {
			for range 999 {
				r.send(none)
			}
			r.now = r.now.Add(59 * time.Second)
			r.send(some)
		}
		r.wantLogged(0)
	})
	t.Run("nor for a silence between two points", func(t *testing.T) {
		r := start(t)
		r.send(some)
		r.now = r.now.Add(time.Hour)
		r.send(none)
		r.wantLogged(0)
	})
	t.Run("and the points are counted", func(t *testing.T) {
		r := start(t)
		r.send(none, none, some)
		r.h.Stop()
		r.wantLogged(1, "level=INFO", "input ended", "points=3", "no_level=2", "unknown_level=0")
	})
}
