package udf_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Kapacitor makes the group of a point anew from the tags into which |alert()
// writes its level and its id: it is one series all the same.
func TestGroupHoldsTheLevel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		point   func(p pt, level string) pt
	}{
		{"the level in its usual tag", nil, func(p pt, level string) pt {
			delete(p.fields, "level")
			return p.tagged("level", level).groupedBy("host", "level", "alertID")
		}},
		{"the level in a tag of another name", all(opt("levelTag", "severity")), func(p pt, level string) pt {
			return p.tagged("severity", level).groupedBy("host", "severity")
		}},
		{"the level in a tag, and read off a field", all(opt("levelField", "level")), func(p pt, level string) pt {
			return p.tagged("level", level).groupedBy("level")
		}},
		{"a source's tag of that name beside a field", all(opt("levelField", "level")), func(p pt, level string) pt {
			return p.tagged("level", "error").groupedBy("level")
		}},
		{"the id in a tag of another name", all(opt("idTag", "rule")), func(p pt, level string) pt {
			return p.tagged("rule", "cpu").groupedBy("host", "rule")
		}},
		{"an id of the function's own", all(opt("id", "{{ .Name }}/{{ .Group }}")), func(p pt, level string) pt {
			return p.tagged("level", level).groupedBy("host", "level")
		}},
		{"the default id", nil, func(p pt, level string) pt {
			delete(p.tags, "alertID")
			return p.tagged("level", level).groupedBy("host", "level")
		}},
	} {
		for _, byName := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by name %v", tt.name, byName), func(t *testing.T) {
				r := start(t, tt.options...)
				for i, level := range []string{"CRITICAL", "OK", "CRITICAL", "WARNING", "OK"} {
					p := tt.point(at(float64(i*60), "id", level), level)
					p.byName = byName
					r.send(p)
				}
				wantTold(t, r.store.changes, "CRITICAL@0 OK@60 CRITICAL@120 WARNING@180 OK@240")
				wantOneAlert(t, r.store.changes)
				r.wantLogged(0, "two series")
			})
		}
	}
	t.Run("templates see the group that |alert() had", func(t *testing.T) {
		for group, by := range map[string][]string{"host=a": {"host", "level", "alertID"}, "nil": {"level"}} {
			p := at(0, "id", "CRITICAL").tagged("level", "CRITICAL").groupedBy(by...)
			if got := start(t, opt("id", "{{ .Group }}")).one(p).properties["check"]; got != group {
				t.Errorf("grouped by %v the id is %q, want %q", by, got, group)
			}
		}
	})
	t.Run("a source's tag called level tells series apart where the level is a field", func(t *testing.T) {
		r := start(t, opt("id", "same"), opt("primaryProperty", "level"))
		for i := range 2 {
			for _, source := range []string{"error", "notice"} {
				p := at(float64(i), "", "CRITICAL").tagged("level", source).groupedBy("level")
				r.send(p)
			}
		}
		wantTold(t, r.store.changes, "CRITICAL@0 CRITICAL@0")
	})
	t.Run("also where its values are levels, and the field has another name", func(t *testing.T) {
		r := start(t, opt("levelField", "state"), opt("id", "{{ .Group }}"))
		log := func(seconds float64, source, state string) pt {
			return at(seconds, "", "").with("state", state).tagged("level", source).groupedBy("host", "level")
		}
		r.send(log(0, "CRITICAL", "CRITICAL"), log(5, "WARNING", "CRITICAL"), log(10, "CRITICAL", "WARNING"), log(20, "CRITICAL", "OK"),
			log(30, "CRITICAL", "CRITICAL"), log(40, "WARNING", "WARNING"), log(50, "CRITICAL", "OK"))
		wantTold(t, r.store.changes, "CRITICAL@0 CRITICAL@5 WARNING@10 OK@20 CRITICAL@30 WARNING@40 OK@50")
	})
	t.Run("a level in a tag that was not named makes series of one alert: the log says which", func(t *testing.T) {
		r := start(t)
		for i, level := range []string{"CRITICAL", "WARNING"} {
			r.send(at(float64(i*60), "id", level).tagged("severity", level).groupedBy("host", "severity"))
		}
		r.wantLogged(1, "level=WARN", "two series make one BigPanda alert", ".levelTag('severity') on @bigpanda() too")
	})
	t.Run("and what to say where the level is read off a field", func(t *testing.T) {
		r := start(t, opt("levelField", "state"))
		for i, level := range []string{"CRITICAL", "WARNING"} {
			r.send(at(float64(i*60), "id", "").with("state", level).tagged("severity", level).groupedBy("host", "severity"))
		}
		r.wantLogged(1, "level=WARN", "two series make one BigPanda alert", ".levelTag('severity') on @bigpanda() in the place of .levelField()")
	})
}

// An OK that never comes must not silence an alert for ever: |alert() tells of a
// new incident by a duration of 0.
func TestIncidents(t *testing.T) {
	t.Parallel()
	crit := func(seconds float64, lasts time.Duration) pt {
		return at(seconds, "id", "CRITICAL").with("duration", lasts)
	}
	fine := func(seconds float64, lasts time.Duration) pt { return at(seconds, "id", "OK").with("duration", lasts) }
	const day, logged = 86400, "name another one with .durationField"
	var always, apart, zeroOK, ids []pt
	for i := range 1000 {
		apart = append(apart, crit(float64(i*60), 0))
		always = append(always, crit(float64(i), 0))
		zeroOK = append(zeroOK, crit(float64(i*600), 0))
	}
	zeroOK = append([]pt{crit(-20, 0), fine(-10, 0)}, zeroOK...)
	for i := range 3 {
		ids = append(ids, crit(float64(i*day), 0), at(float64(i*day), "other", "OK").with("duration", 0))
	}
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		points  []pt
		want    string
		logged  int
	}{
		{"one a day, of several points", nil, []pt{crit(0, 0), crit(900, 900*second), crit(day, 0), crit(day+900, 900*second), crit(2*day, 0)}, "CRITICAL@0 CRITICAL@86400 CRITICAL@172800", 0},
		{"one a day, of one point", nil, []pt{crit(0, 0), crit(day, 0), crit(2*day, 0)}, "CRITICAL@0 CRITICAL@86400 CRITICAL@172800", 0},
		{"soon after a longer one", nil, []pt{crit(0, 0), crit(10, 10*second), crit(20, 20*second), crit(30, 0), crit(40, 10*second)}, "CRITICAL@0 CRITICAL@30", 0},
		{"that is told and recovers", nil, []pt{crit(0, 0), crit(day, 0), fine(day+5, 5*second), crit(2*day, 0)}, "CRITICAL@0 CRITICAL@86400 OK@86405 CRITICAL@172800", 0},
		{"after a level in between", nil, []pt{crit(0, 0), at(10, "id", "WARNING").with("duration", 10*second), at(20, "id", "WARNING").with("duration", 0)},
			"CRITICAL@0 WARNING@10 WARNING@20", 0},
		{"an old point begins none", nil, []pt{crit(0, 0), crit(10, 10*second), crit(-day, 0)}, "CRITICAL@0", 0},
		{"no duration begins none", nil, []pt{at(0, "id", "CRITICAL"), at(day, "id", "CRITICAL")}, "CRITICAL@0", 0},
		{"another field", all(opt("durationField", "took")), []pt{crit(0, 0).with("took", 0), crit(day, 0).with("took", 5), crit(2*day, 0).with("took", 0)},
			"CRITICAL@0 CRITICAL@172800", 0},
		{"always 0 is not |alert()'s", nil, always, "CRITICAL@0", 1},
		{"nor where points are further apart", nil, apart, "CRITICAL@0 CRITICAL@60 CRITICAL@120 CRITICAL@180 CRITICAL@240 CRITICAL@300", 1},
		{"but an hour later it may be again", nil, append(apart[:9:9], crit(day, 0)),
			"CRITICAL@0 CRITICAL@60 CRITICAL@120 CRITICAL@180 CRITICAL@240 CRITICAL@300 CRITICAL@86400", 1},
		{"the OK of another id in the group says nothing", nil, ids, "CRITICAL@0 CRITICAL@86400 CRITICAL@172800", 0},
		{"nor is one that is 0 on an OK", nil, zeroOK, "CRITICAL@-20 OK@-10 CRITICAL@0", 1},
		{"nor one that does not reach back", nil, []pt{crit(0, 0), crit(5, 250), crit(10, 0), crit(15, 250), crit(20, 0)}, "CRITICAL@0", 1},
		{"but it is once it has grown", nil, []pt{crit(0, 0), fine(1, 0), crit(5, 0), crit(10, 5*second), crit(15, 0)}, "CRITICAL@0 OK@1 CRITICAL@5 CRITICAL@15", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.options...)
			r.send(tt.points...)
			wantTold(t, r.store.changes, tt.want)
			wantOneAlert(t, r.store.changes)
			r.wantLogged(tt.logged, "level=WARN", logged)
		})
	}
	t.Run("told after a restart too", func(t *testing.T) {
		r := start(t)
		r.send(crit(0, 0), crit(900, 900*second))
		wantTold(t, r.restarted().send(crit(day, 0)), "CRITICAL@86400")
	})
	t.Run("is said once", func(t *testing.T) {
		r := start(t)
		r.send(crit(0, 0), crit(day, 0), crit(2*day, 0))
		r.wantLogged(1, "level=INFO", "a new incident of an alert whose OK never came")
	})
	t.Run("is since its first point", func(t *testing.T) {
		r, _, c := aDisk(t)
		r.send(crit(0, 0), crit(day, 0))
		if since := active(t, c)[0].Since.Unix(); since != epoch+day {
			t.Errorf("it is since %d, want %d", since, epoch+day)
		}
	})
}

// An app key that was corrected: what is open under the old one ends there, and is told anew.
func TestAppKeyChanges(t *testing.T) {
	t.Parallel()
	crit := func(seconds float64) pt { return at(seconds, "id", "CRITICAL") }
	fine := func(seconds float64) pt { return at(seconds, "id", "OK") }
	keyed := func(changes []change) (s string) {
		for _, c := range changes {
			s += fmt.Sprintf(" %s:%s@%d", c.AppKey, c.Level, c.Time-epoch)
		}
		return s
	}
	for _, tt := range []struct {
		name          string
		before, after []pt
		want          string
	}{
		{"with the next point of the same level", []pt{crit(0)}, []pt{crit(10), crit(20), fine(30)}, " wrong:OK@9 right:CRITICAL@10 right:OK@30"},
		{"and of another one", []pt{crit(0)}, []pt{at(10, "id", "WARNING"), crit(20)}, " wrong:OK@9 right:WARNING@10 right:CRITICAL@20"},
		{"an OK is all that the old one needs", []pt{crit(0)}, []pt{fine(10), crit(20)}, " wrong:OK@10 right:CRITICAL@20"},
		{"what is resolved is not told again", []pt{crit(0), fine(5)}, []pt{fine(10), crit(20)}, " right:CRITICAL@20"},
		{"the OK is later than what was told under the old one", []pt{crit(0), crit(0).with("level", "WARNING")}, []pt{crit(0)}, " wrong:OK@2 right:CRITICAL@0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, opt("appKey", "wrong"))
			r.send(tt.before...)
			n := len(r.store.changes)
			for range 2 { // the second restart changes nothing
				r.h.Stop()
				r = r.restarted(opt("appKey", "right"))
				r.send(tt.after...)
				tt.after = nil
			}
			if got := keyed(r.store.changes[n:]); got != tt.want {
				t.Errorf("told are%s, want%s", got, tt.want)
			}
		})
	}
	t.Run("what was left is known, resolved or not", func(t *testing.T) {
		r := start(t, opt("appKey", "wrong"))
		r.send(crit(0), fine(5))
		for range 2 {
			r.h.Stop()
			r = r.restarted(opt("appKey", "right"))
			r.send(crit(10))
			if !r.use.HasLeft("wrong") || r.use.HasLeft("right") || r.use.HasLeft("another") {
				t.Error("the app keys that were left are not known")
			}
		}
	})
	t.Run("is said", func(t *testing.T) {
		r := start(t, opt("appKey", "wrong"))
		r.send(crit(0), at(1, "other", "CRITICAL"))
		r.h.Stop()
		r = r.restarted(opt("appKey", "right"))
		r.send(crit(10))
		r.wantLogged(1, "level=WARN", "the app key has changed", "app_key=right", "was=wrong", "open=2")
	})
	t.Run("the OK does not end what another node tells with the same point", func(t *testing.T) {
		// Two nodes behind one |alert() that an edit has numbered anew: one takes over
		// the levels of both.
		r, other := start(t, opt("appKey", "wrong")), start(t, opt("appKey", "wrong"))
		r.send(crit(0))
		told := r.restarted(opt("appKey", "right")).send(crit(10))
		beside := other.one(crit(10))
		if told[0].Alert != beside.Alert || told[0].Time >= beside.Time {
			t.Errorf("the OK is of %d, and what the other node tells of %d", told[0].Time, beside.Time)
		}
	})
	t.Run("by a snapshot, where the outbox is new", func(t *testing.T) {
		r := start(t, opt("appKey", "wrong"))
		r.send(crit(0))
		r = start(t, opt("appKey", "right")).restore(r.snapshot())
		if got := keyed(r.send(crit(10))); got != " wrong:OK@9 right:CRITICAL@10" {
			t.Errorf("told are%s", got)
		}
	})
}

// Whatever else makes up an alert stays as it was when it opened, until its OK,
// when an edit of the task changes it.
func TestIdentityOptionsChange(t *testing.T) {
	t.Parallel()
	for _, edit := range []*agent.Option{
		opt("primaryProperty", "rack"), opt("secondaryProperty", "rack"), opt("host", "other"), opt("incidentIdentifier", "{{ .ID }}"),
	} {
		t.Run(edit.Name, func(t *testing.T) {
			r := start(t)
			r.send(at(0, "id", "WARNING").tagged("rack", "r1"))
			r.h.Stop()
			r = r.restarted(edit)
			r.send(at(10, "id", "CRITICAL").tagged("rack", "r1"), at(20, "id", "OK").tagged("rack", "r1"))
			wantTold(t, r.store.changes, "WARNING@0 CRITICAL@10 OK@20")
			wantOneAlert(t, r.store.changes)
			before := r.store.changes[0].Alert
			if again := r.one(at(30, "id", "CRITICAL").tagged("rack", "r1")); again.Alert == before {
				t.Error("the edit does not hold for the incident after it")
			}
		})
	}
}
