package udf_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/influxdata/kapacitor/udf/agent"
)

const (
	second = time.Second
	minute = time.Minute
)

// One alert for each change of level, and none without.
func TestChanges(t *testing.T) {
	t.Parallel()
	crit := func(seconds float64) pt { return at(seconds, "id", "CRITICAL") }
	warn := func(seconds float64) pt { return at(seconds, "id", "WARNING") }
	note := func(seconds float64) pt { return at(seconds, "id", "INFO") }
	fine := func(seconds float64) pt { return at(seconds, "id", "OK") }
	back := func(seconds float64) pt { return recovery(seconds, "id") }
	resend := all(opt("resendAfter", 10*minute))

	for _, tt := range []struct {
		name    string
		options []*agent.Option
		points  []pt
		want    string
	}{
		{"up", nil, []pt{note(0), warn(10), crit(20)}, "INFO@0 WARNING@10 CRITICAL@20"},
		{"down", nil, []pt{crit(0), warn(10), note(20), fine(30)}, "CRITICAL@0 WARNING@10 INFO@20 OK@30"},
		{"up and down", nil, []pt{warn(0), crit(10), warn(20), crit(30), fine(40)}, "WARNING@0 CRITICAL@10 WARNING@20 CRITICAL@30 OK@40"},
		{"none without a change", nil, []pt{crit(0), crit(10), crit(20), fine(30), fine(40)}, "CRITICAL@0 OK@30"},
		{"open again", nil, []pt{crit(0), fine(10), crit(20), fine(30)}, "CRITICAL@0 OK@10 CRITICAL@20 OK@30"},

		{"OK of the unknown", nil, []pt{fine(0), fine(10)}, ""},
		{"recovery of the unknown", nil, []pt{back(0)}, "OK@0"},
		{"recovery of the unknown, once", nil, []pt{back(0), back(10), back(20)}, "OK@0"},
		{"recovery of no length", nil, []pt{fine(0).with("duration", 0)}, ""},
		{"recovery of negative length", nil, []pt{fine(0).with("duration", -1)}, ""},
		{"recovery of a nanosecond", nil, []pt{fine(0).with("duration", 1)}, "OK@0"},
		{"a duration with a fraction is not |alert()'s", nil, []pt{fine(0).with("duration", 1.5)}, ""},
		{"a duration as text is not |alert()'s", nil, []pt{fine(0).with("duration", "1s")}, ""},
		{"recovery by durationField", all(opt("durationField", "took")), []pt{fine(0).with("took", 5)}, "OK@0"},
		{"durationField alone counts", all(opt("durationField", "took")), []pt{back(0)}, ""},
		{"recovery after its own OK", nil, []pt{crit(0), fine(10), back(20)}, "CRITICAL@0 OK@10"},
		{"a duration makes no change of what is not OK", nil, []pt{crit(0), crit(10).with("duration", minute)}, "CRITICAL@0"},

		{"resent", resend, []pt{crit(0), crit(599), crit(600), crit(601), crit(1199), crit(1205), crit(1804)}, "CRITICAL@0 CRITICAL@600 CRITICAL@1205"},
		{"resent since its last change", resend, []pt{warn(0), crit(500), crit(700), crit(1100)}, "WARNING@0 CRITICAL@500 CRITICAL@1100"},
		{"resent only at its level", resend, []pt{crit(0), fine(700), fine(1400)}, "CRITICAL@0 OK@700"},
		{"resent INFO", resend, []pt{note(0), note(600)}, "INFO@0 INFO@600"},
		{"not resent for an old point", resend, []pt{crit(0), crit(-900)}, "CRITICAL@0"},
		{"not resent unless asked", nil, []pt{crit(0), crit(86400)}, "CRITICAL@0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.options...)
			changes := r.send(tt.points...)
			wantTold(t, changes, tt.want)
			if len(changes) > 0 {
				wantOneAlert(t, changes)
			}
		})
	}
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	crit := func(seconds float64) pt { return at(seconds, "id", "CRITICAL") }
	warn := func(seconds float64) pt { return at(seconds, "id", "WARNING") }
	fine := func(seconds float64) pt { return at(seconds, "id", "OK") }
	other := func(seconds float64) pt { return at(seconds, "other", "CRITICAL") }

	for _, tt := range []struct {
		name   string
		points []pt
		want   string
	}{
		{"the point's second", []pt{crit(7.999999999)}, "CRITICAL@7"},
		{"the second before the epoch", []pt{crit(-epoch - 0.5)}, fmt.Sprintf("CRITICAL@%d", -epoch-1)},
		{"the epoch", []pt{crit(-epoch)}, fmt.Sprintf("CRITICAL@%d", -epoch)},
		{"changes within a second", []pt{crit(1), warn(1.2), crit(1.4), fine(1.6)}, "CRITICAL@1 WARNING@2 CRITICAL@3 OK@4"},
		{"and what follows them at once", []pt{crit(1), warn(1.5), crit(2), fine(9)}, "CRITICAL@1 WARNING@2 CRITICAL@3 OK@9"},
		{"out of order", []pt{crit(100), warn(40), fine(50)}, "CRITICAL@100 WARNING@101 OK@102"},
		{"opened again within a second", []pt{crit(1), fine(1.3), crit(1.6), fine(1.9)}, "CRITICAL@1 OK@2 CRITICAL@3 OK@4"},
		{"opened again by an old point", []pt{crit(50), fine(60), crit(30)}, "CRITICAL@50 OK@60 CRITICAL@61"},
		{"remembered when later points of others have come", []pt{crit(0), fine(10), other(7000), crit(5)}, "CRITICAL@0 OK@10 CRITICAL@7000 CRITICAL@11"},
		{"counted from what was sent", []pt{crit(0), warn(0), crit(0), fine(0), other(7000), crit(1)}, "CRITICAL@0 WARNING@1 CRITICAL@2 OK@3 CRITICAL@7000 CRITICAL@4"},
		{"and from the last resolve", []pt{crit(0), fine(10), crit(40), fine(50), other(80), crit(45)}, "CRITICAL@0 OK@10 CRITICAL@40 OK@50 CRITICAL@80 CRITICAL@51"},
		{"points without a change make no difference", []pt{crit(0), fine(10), at(7000, "other", "OK"), crit(5)}, "CRITICAL@0 OK@10 CRITICAL@11"},
		{"nor do points without a level", []pt{crit(0), fine(10), at(7000, "other", ""), crit(5)}, "CRITICAL@0 OK@10 CRITICAL@11"},
		{"each alert has its own", []pt{crit(100), other(40), fine(100), at(40, "other", "OK")}, "CRITICAL@100 CRITICAL@40 OK@101 OK@41"},
		{"the last one of an alert that the series made before", []pt{
			crit(0).with("val", 95), fine(20).with("val", 95), crit(30).with("val", 96), fine(40).with("val", 96), crit(15).with("val", 95),
		}, "CRITICAL@0 OK@20 CRITICAL@30 OK@40 CRITICAL@21"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantTold(t, start(t, opt("secondaryProperty", "val")).send(tt.points...), tt.want)
		})
		// P10: how the input falls into pieces is chance, and differs between
		// the members of a pair.
		t.Run(tt.name+", one at a time", func(t *testing.T) {
			r := start(t, opt("secondaryProperty", "val"))
			for _, p := range tt.points {
				r.send(p)
			}
			wantTold(t, r.store.changes, tt.want)
		})
		t.Run(tt.name+", with a restart before each", func(t *testing.T) {
			r := start(t, opt("secondaryProperty", "val"))
			for _, p := range tt.points {
				r.h.Stop()
				r = r.restarted(opt("secondaryProperty", "val"))
				r.send(p)
			}
			wantTold(t, r.store.changes, tt.want)
		})
	}
}

// A clock that runs ahead dates nothing beyond this machine's.
func TestClocks(t *testing.T) {
	t.Parallel()
	crit := func(seconds float64) pt { return at(seconds, "id", "CRITICAL") }
	fine := func(seconds float64) pt { return at(seconds, "id", "OK") }
	const years = 50 * 365 * 86400
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		points  []pt
		want    string
		ahead   int
	}{
		{"minutes ahead", nil, []pt{crit(299), fine(300)}, "CRITICAL@299 OK@300", 0},
		{"more than five", nil, []pt{crit(301), fine(302)}, "CRITICAL@0 OK@1", 2},
		{"fifty years", nil, []pt{crit(years), fine(10)}, "CRITICAL@0 OK@10", 1},
		{"fifty years, of a point that changes nothing", nil, []pt{crit(0), fine(10), at(years, "other", "OK"), crit(8)}, "CRITICAL@0 OK@10 CRITICAL@11", 0},
		{"no resends of it", all(opt("resendAfter", 10*minute)), []pt{crit(years), crit(years + 1), crit(10), crit(600)}, "CRITICAL@0 CRITICAL@600", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.options...)
			r.frozen = true
			for _, p := range tt.points {
				if p.time == 10*minute {
					r.now = r.now.Add(p.time)
				}
				r.send(p)
			}
			wantTold(t, r.store.changes, tt.want)
			wantOneAlert(t, r.store.changes)
			r.wantLogged(min(tt.ahead, 1), "level=WARN", "ahead of this machine's clock")
			r.h.Stop()
			r.wantLogged(1, fmt.Sprintf("ahead=%d", tt.ahead))
		})
	}
	t.Run("what many alerts were resolved with is known after a restart", func(t *testing.T) {
		r := start(t)
		r.send(crit(0), at(9, "id", "OK"))
		for i := range 1500 {
			r.send(at(0, fmt.Sprint("other", i), "CRITICAL"), at(10, fmt.Sprint("other", i), "OK"))
		}
		r.h.Stop()
		r = r.restarted()
		r.send(at(11, "new", "OK"))
		if got := r.one(crit(8)); got.Time != epoch+10 {
			t.Errorf("it is told with %d, want one more than the 9 of its OK", got.Time-epoch)
		}
	})
	t.Run("in a batch", func(t *testing.T) {
		r := start(t)
		r.frozen = true
		b := stamped(years, "id", "CRITICAL", 1)
		begin, points, end := b.messages()
		r.begin(begin)
		r.message(points[0])
		r.end(end)
		r.h.Commit()
		wantTold(t, r.store.changes, "CRITICAL@0")
	})
	t.Run("seconds that were read as nanoseconds", func(t *testing.T) {
		r := start(t)
		r.send(at(-epoch+1.7, "id", "CRITICAL"), at(-epoch+1700, "id", "OK"))
		r.wantLogged(1, "level=WARN", "precision=s", "point_time=1970-01-01")
	})
}

func TestSeries(t *testing.T) {
	t.Parallel()
	t.Run("one id in several groups", func(t *testing.T) {
		r := start(t, opt("id", "same"))
		a := at(0, "", "CRITICAL").grouped("host=a")
		b := at(1, "", "CRITICAL").grouped("host=b").tagged("host", "b")
		wantTold(t, r.send(a, b, a, b), "CRITICAL@0 CRITICAL@1")
		a, b = at(2, "", "OK").grouped("host=a"), b.with("level", "WARNING")
		wantTold(t, r.send(a, b), "OK@2 WARNING@2")
		r.wantLogged(0, "two series")
	})
	t.Run("several ids in one group", func(t *testing.T) {
		r := start(t)
		wantTold(t, r.send(
			at(0, "x", "CRITICAL").grouped("g"), at(0, "y", "WARNING").grouped("g"),
			at(1, "x", "CRITICAL").grouped("g"), at(1, "y", "OK").grouped("g"),
		), "CRITICAL@0 WARNING@0 OK@1")
	})
	t.Run("group and id are not joined", func(t *testing.T) {
		r := start(t)
		wantTold(t, r.send(at(0, "bc", "CRITICAL").grouped("a"), at(0, "c", "CRITICAL").grouped("ab")), "CRITICAL@0 CRITICAL@0")
	})
	t.Run("two that make one alert are logged once", func(t *testing.T) {
		r := start(t, opt("primaryProperty", "task"), opt("secondaryProperty", "task"))
		changes := r.send(at(0, "x", "CRITICAL"), at(0, "y", "CRITICAL"), at(0, "z", "CRITICAL"), at(0, "x", "OK"), at(0, "x", "WARNING"))
		wantTold(t, changes, "CRITICAL@0 CRITICAL@1 CRITICAL@2 OK@3 WARNING@4")
		wantOneAlert(t, changes)
		r.wantLogged(1, "level=WARN", "two series make one BigPanda alert", ".incidentIdentifier('…')", "id=y")
	})
	t.Run("one after the other is no matter", func(t *testing.T) {
		r := start(t, opt("primaryProperty", "task"), opt("secondaryProperty", "task"))
		changes := r.send(at(0, "x", "CRITICAL"), at(0, "x", "OK"), at(0, "y", "CRITICAL"))
		wantTold(t, changes, "CRITICAL@0 OK@1 CRITICAL@2")
		wantOneAlert(t, changes)
		r.wantLogged(0, "two series")
	})
	t.Run("an incident identifier makes one alert of any host", func(t *testing.T) {
		r := start(t, opt("incidentIdentifier", "{{ .Name }}"))
		changes := r.send(at(0, "x", "CRITICAL"), at(0, "y", "CRITICAL").tagged("host", "b"))
		wantTold(t, changes, "CRITICAL@0 CRITICAL@1")
		wantOneAlert(t, changes)
		r.wantLogged(1, "two series")
	})
	t.Run("app keys make several alerts of one", func(t *testing.T) {
		one, two := start(t).one(at(0, "x", "CRITICAL")), start(t, opt("appKey", "other")).one(at(0, "x", "CRITICAL"))
		if one.Alert == two.Alert || one.AppKey != "key" || two.AppKey != "other" {
			t.Errorf("alerts %q and %q of app keys %q and %q", one.Alert, two.Alert, one.AppKey, two.AppKey)
		}
	})
}

// maxAge goes by the wall clock: a change that is too old is not sent and does
// not count as told.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	maxAge := opt("maxAge", minute)
	t.Run("just young enough", func(t *testing.T) {
		r := start(t, maxAge)
		r.now = r.now.Add(minute)
		wantTold(t, r.send(at(0, "id", "CRITICAL")), "CRITICAL@0")
	})
	t.Run("just too old", func(t *testing.T) {
		r := start(t, maxAge)
		r.now = r.now.Add(minute + 1)
		wantTold(t, r.send(at(0, "id", "CRITICAL")), "")
		r.wantLogged(1, "level=WARN", "older than maxAge", "id=id", "to=CRITICAL")
		r.h.Stop()
		r.wantLogged(1, "too_old=1", "changes=0")
	})
	t.Run("of the future", func(t *testing.T) {
		wantTold(t, start(t, maxAge).send(at(299, "id", "CRITICAL")), "CRITICAL@299")
	})
	t.Run("the first young point that differs is sent", func(t *testing.T) {
		r := start(t, maxAge)
		wantTold(t, r.send(at(0, "id", "WARNING")), "WARNING@0")
		r.now = r.now.Add(10 * minute)
		wantTold(t, r.send(at(100, "id", "CRITICAL"), at(200, "id", "CRITICAL"), at(300, "id", "OK")), "")
		wantTold(t, r.send(at(600, "id", "WARNING")), "")
		wantTold(t, r.send(at(601, "id", "CRITICAL")), "CRITICAL@601")
		r.now = r.now.Add(10 * minute)
		wantTold(t, r.send(at(700, "id", "OK")), "")
		wantTold(t, r.send(at(1200, "id", "CRITICAL")), "")
		wantTold(t, r.send(at(1201, "id", "OK")), "OK@1201")
		r.wantLogged(1, "older than maxAge")
	})
	t.Run("a resend is sent by the next point", func(t *testing.T) {
		r := start(t, maxAge, opt("resendAfter", 10*minute))
		r.send(at(0, "id", "CRITICAL"))
		r.now = r.now.Add(20 * minute)
		wantTold(t, r.send(at(600, "id", "CRITICAL"), at(1199, "id", "CRITICAL")), "CRITICAL@1199")
	})
	t.Run("an old recovery is not told, a young one is", func(t *testing.T) {
		r := start(t, maxAge)
		r.now = r.now.Add(10 * minute)
		wantTold(t, r.send(recovery(0, "id"), recovery(600, "id")), "OK@600")
	})
	t.Run("any age unless asked", func(t *testing.T) {
		r := start(t)
		r.now = r.now.AddDate(10, 0, 0)
		wantTold(t, r.send(at(0, "id", "CRITICAL")), "CRITICAL@0")
	})
}

// What makes up an alert's identity stays as it was until its ok: otherwise a
// second alert opens that nobody resolves.
func TestIdentityStaysUntilOK(t *testing.T) {
	t.Parallel()
	point := func(seconds float64, level string, value int, host string) pt {
		return pt{
			time: time.Duration(seconds * float64(second)), group: "g",
			tags: map[string]string{"host": host}, fields: map[string]any{"level": level, "value": value},
		}
	}
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		hosts   [3]string
	}{
		{"host template", all(opt("host", "{{ .Fields.value }}")), [3]string{"a", "a", "a"}},
		{"incident identifier", all(opt("incidentIdentifier", "{{ .Tags.host }}")), [3]string{"a", "b", "c"}},
		{"incident identifier that comes", all(opt("incidentIdentifier", "{{ .Tags.host }}")), [3]string{"", "b", "c"}},
		{"incident identifier that goes", all(opt("incidentIdentifier", "{{ .Tags.host }}"), opt("primaryProperty", "task")), [3]string{"a", "", ""}},
		{"host tag", nil, [3]string{"a", "b", "c"}},
		{"host tag that comes", nil, [3]string{"", "b", "c"}},
		{"host tag that goes", nil, [3]string{"a", "", ""}},
		{"primary property is a field", all(opt("primaryProperty", "value")), [3]string{"a", "b", "c"}},
		{"secondary property is a field", all(opt("secondaryProperty", "value")), [3]string{"a", "a", "a"}},
		{"check is an attribute", all(opt("attribute", "check", "{{ .Fields.value }}")), [3]string{"a", "a", "a"}},
		{"primary property is an attribute", all(opt("attribute", "primary_property", "p{{ .Fields.value }}")), [3]string{"a", "b", "c"}},
		{"primary property is made to be the status", all(opt("attribute", "primary_property", `{{ "status" }}`)), [3]string{"a", "a", "a"}},
		{"primary property is made to be the timestamp", all(opt("attribute", "primary_property", `{{ "timestamp" }}`)), [3]string{"a", "a", "a"}},
		{"secondary property is made to be the timestamp", all(opt("attribute", "secondary_property", `{{ "timestamp" }}`)), [3]string{"a", "a", "a"}},
		{"a template that fails later", all(opt("host", "{{ index .Tags.host 0 }}")), [3]string{"a", "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.options...)
			changes := r.send(
				point(0, "WARNING", 1, tt.hosts[0]), point(0, "CRITICAL", 2, tt.hosts[1]), point(20, "OK", 3, tt.hosts[2]))
			wantTold(t, changes, "WARNING@0 CRITICAL@1 OK@20")
			wantOneAlert(t, changes)

			// The next alert of the series is made of what is there then.
			fresh := start(t, tt.options...).one(point(40, "CRITICAL", 3, tt.hosts[2]))
			again := r.one(point(40, "CRITICAL", 3, tt.hosts[2]))
			if string(again.Payload) != string(fresh.Payload) {
				t.Errorf("opened again it is\n%s, opened first\n%s", again.Payload, fresh.Payload)
			}
			wantOneAlert(t, append([]change{again}, r.send(point(40, "OK", 4, ""))...))
		})
	}
	t.Run("over a restart, with other options", func(t *testing.T) {
		r := start(t)
		opened := r.one(point(0, "CRITICAL", 1, "a"))
		after := r.restarted(opt("appKey", "edited"), opt("host", "elsewhere"), opt("primaryProperty", "value"))
		wantOneAlert(t, []change{opened, after.one(point(1, "OK", 2, "b"))})
	})
}
