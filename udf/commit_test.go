package udf_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// P1: nothing about a point ends the process.
func TestPointSurvives(t *testing.T) {
	t.Parallel()
	t.Run("a panic in handling it", func(t *testing.T) {
		broken := false
		r := newRig(t, func(c *udf.Config) {
			now := c.Now
			c.Now = func() time.Time {
				if broken {
					panic("the clock broke")
				}
				return now()
			}
		}).init(opt("maxAge", time.Hour))
		broken = true
		wantTold(t, r.send(at(0, "id", "CRITICAL"), at(1, "id", "CRITICAL")), "")
		r.wantLogged(1, "level=ERROR", "handling a point failed", "please report this", "the clock broke", "(*Handler).arrived")
		broken = false
		wantTold(t, r.send(at(2, "id", "CRITICAL")), "CRITICAL@2")
		r.h.Stop()
		r.wantLogged(1, "input ended", "points=3", "changes=1", "panics=2")
	})
	t.Run("a panic of the store, and the changes are stored later", func(t *testing.T) {
		r := start(t)
		r.store.panics = 2
		wantTold(t, r.send(at(0, "id", "CRITICAL")), "")
		wantTold(t, r.send(), "")
		wantTold(t, r.send(at(1, "id", "OK")), "CRITICAL@0 OK@1")
		r.wantLogged(1, "level=ERROR", "storing changes failed", "the store broke")
	})
	t.Run("a point with nothing in it", func(t *testing.T) {
		r := start(t)
		for _, p := range []*agent.Point{{}, {FieldsString: map[string]string{"level": "CRITICAL"}}, nil} {
			if err := r.h.Point(p); err != nil {
				t.Error(err)
			}
		}
		r.h.Commit()
		wantTold(t, r.store.changes, fmt.Sprintf("CRITICAL@%d", -epoch))
	})
	t.Run("times at the ends of the world", func(t *testing.T) {
		r := start(t, opt("resendAfter", minute), opt("maxAge", minute))
		for _, ns := range []int64{math.MinInt64, math.MaxInt64, 0, math.MinInt64, math.MaxInt64} {
			for _, level := range []string{"CRITICAL", "OK"} {
				p := at(0, "id", level).message()
				p.Time = ns
				if err := r.h.Point(p); err != nil {
					t.Error(err)
				}
				r.h.Commit()
			}
		}
		r.wantLogged(0, "please report this")
	})
	for _, text := range []string{
		"{{ .Time.Format 1 }}", "{{ .Time.Nothing }}", "{{ .Name.x }}", "{{ len 1 }}", "{{ index .Tags 1 }}",
		"{{ slice .Name 5 1 }}", "{{ index .Tags.host 99 }}", "{{ call .Name }}", "{{ .Fields.value.x.y }}",
		`{{ template "gone" . }}`, "{{ lt 1 .Name }}", "{{ range .Name.x }}{{ end }}",
		`{{ range 1000000000 }}{{ printf "%1000d" 1 }}{{ end }}`,
		`{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}`,
	} {
		t.Run("template "+text, func(t *testing.T) {
			r := start(t, opt("message", text))
			c := r.one(at(0, "id", "CRITICAL").with("value", 1))
			if got := c.properties["description"]; got != "id is CRITICAL" {
				t.Errorf("description is %.100q", got)
			}
			r.wantLogged(1, "level=ERROR", "a template failed", "option=message", "mend the template")
			r.wantLogged(0, "please report this")
		})
	}
}

// P4: one Append for each piece of input, with its changes and levels together,
// and none without.
func TestCommit(t *testing.T) {
	t.Parallel()
	t.Run("changes and levels together", func(t *testing.T) {
		r := start(t)
		r.send(at(0, "x", "CRITICAL"), at(0, "y", "WARNING"), at(1, "x", "OK"), at(2, "z", "OK"))
		if len(r.store.commits) != 1 {
			t.Fatalf("%d Appends for one piece of input", len(r.store.commits))
		}
		c := r.store.commits[0]
		if len(c.changes) != 3 || len(c.levels) != 3 {
			t.Fatalf("%d changes with %d levels, want 3 of each", len(c.changes), len(c.levels))
		}
		for i, l := range c.levels {
			if l.Time != c.changes[i].Time || !json.Valid(l.Value) {
				t.Errorf("level %d is %q of %d beside a change of %d", i, l.Value, l.Time, c.changes[i].Time)
			}
		}
		if c.levels[0].Key != c.levels[2].Key || c.levels[0].Key == c.levels[1].Key {
			t.Errorf("levels of series %q, %q and %q", c.levels[0].Key, c.levels[1].Key, c.levels[2].Key)
		}
	})
	t.Run("nothing before Commit", func(t *testing.T) {
		r := start(t)
		r.point(at(0, "x", "CRITICAL"))
		if len(r.store.commits) > 0 {
			t.Error("stored before its piece was over")
		}
	})
	t.Run("nothing without changes", func(t *testing.T) {
		r := newRig(t)
		r.h.Commit() // a piece with only an Info request
		r.init()
		r.h.Commit()
		r.send(at(0, "x", "OK"), at(0, "x", ""), at(0, "x", "SEVERE"))
		r.send(at(0, "x", "CRITICAL"))
		r.send(at(1, "x", "CRITICAL"))
		r.send()
		if len(r.store.commits) != 1 {
			t.Errorf("%d Appends, want 1", len(r.store.commits))
		}
	})
	t.Run("a change is stored once", func(t *testing.T) {
		r := start(t)
		r.send(at(0, "x", "CRITICAL"))
		wantTold(t, r.send(at(1, "y", "CRITICAL")), "CRITICAL@1")
		if n := len(r.store.commits[1].levels); n != 1 {
			t.Errorf("%d levels beside it, want 1", n)
		}
	})
	t.Run("a resolved alert is forgotten", func(t *testing.T) {
		r := start(t)
		var points []pt
		for i := range 1001 { // of so many the outbox keeps the last timestamp
			points = append(points, recovery(0, fmt.Sprint(i)))
		}
		r.send(points...)
		r.send(at(59, "y", "OK"))
		if len(r.store.commits) != 1 || len(r.store.kept) != 1001 {
			t.Fatalf("%d Appends, %d levels kept after 59 s", len(r.store.commits), len(r.store.kept))
		}
		r.send(at(60, "y", "OK"))
		if len(r.store.commits) != 2 || len(r.store.kept) != 1000 {
			t.Fatalf("%d Appends, %d levels kept after 60 s", len(r.store.commits), len(r.store.kept))
		}
		if c := r.store.commits[1]; len(c.changes) != 0 || len(c.levels) != 1 || c.levels[0].Value != nil {
			t.Errorf("forgotten with %d changes and levels %v", len(c.changes), c.levels)
		}
	})
	t.Run("one that opened again is not", func(t *testing.T) {
		r := start(t)
		r.send(at(0, "x", "CRITICAL"), at(1, "x", "OK"), at(2, "x", "CRITICAL"))
		r.send(at(100, "y", "OK"))
		if len(r.store.commits) != 1 || len(r.store.kept) != 1 {
			t.Errorf("%d Appends, %d levels kept", len(r.store.commits), len(r.store.kept))
		}
	})
}

// P8: levels that are still read when the input ends hold up nobody.
func TestStopEndsTheReadingOfLevels(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	store := &endless{Store: r.store, ended: make(chan struct{})}
	h := udf.New(udf.Config{
		Defaults: udf.Defaults{AppKey: "key"},
		Enabled:  true,
		Open:     func(udf.Use) (udf.Store, error) { return store, nil },
		Log:      slog.New(slog.DiscardHandler),
	})
	if res, err := h.Init(&agent.InitRequest{}); err != nil || !res.Success {
		t.Fatal(res, err)
	}
	h.Stop()
	select {
	case <-store.ended:
	default:
		t.Error("they are still read, and the store is about to be closed")
	}
}

// endless is a store that never runs out of levels.
type endless struct {
	udf.Store
	ended chan struct{}
}

func (e *endless) Levels(each func(outbox.Level) bool) (bool, error) {
	defer close(e.ended)
	for each(outbox.Level{Key: "a", Value: []byte("{}")}) {
	}
	return false, nil
}
