package udf_test

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// alive lets time pass, step by step, with a point of another series at each.
func (r *rig) alive(d, step time.Duration) []change {
	r.t.Helper()
	before := len(r.store.changes)
	for ; d > 0; d -= step {
		r.now = r.now.Add(step)
		r.send(at(r.now.Sub(time.Unix(epoch, 0)).Seconds(), "alive", "OK"))
	}
	return r.store.changes[before:]
}

// silent lets time pass with nothing but keepalives.
func (r *rig) silent(d, step time.Duration) []change {
	r.t.Helper()
	before := len(r.store.changes)
	for ; d > 0; d -= step {
		r.now = r.now.Add(step)
		r.h.Commit()
	}
	return r.store.changes[before:]
}

// seen sends a point of an alert with the time of the clock.
func (r *rig) seen(id, level string) []change {
	r.t.Helper()
	return r.send(at(r.now.Sub(time.Unix(epoch, 0)).Seconds(), id, level))
}

func TestResolveAfter(t *testing.T) {
	t.Parallel()
	resolveAfter := opt("resolveAfter", 10*minute)
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		run     func(r *rig)
		want    string
	}{
		{"an alert that is not seen", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(12*minute, 10*second)
		}, "CRITICAL@0 OK@660"},
		{"not before its time", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(10*minute, 10*second)
		}, "CRITICAL@0"},
		{"once", all(resolveAfter), func(r *rig) {
			r.seen("id", "WARNING")
			r.alive(time.Hour, 10*second)
		}, "WARNING@0 OK@660"},
		{"any level", all(resolveAfter), func(r *rig) {
			r.seen("id", "INFO")
			r.alive(12*minute, 10*second)
		}, "INFO@0 OK@660"},
		{"not one that is seen", all(resolveAfter), func(r *rig) {
			for range 20 {
				r.seen("id", "CRITICAL")
				r.alive(9*minute, 10*second)
			}
		}, "CRITICAL@0"},
		{"not one that is seen, though too old to be told", all(resolveAfter, opt("maxAge", minute)), func(r *rig) {
			r.seen("id", "CRITICAL")
			for range 4 {
				r.alive(9*minute, 10*second)
				r.send(at(1, "id", "WARNING"))
			}
		}, "CRITICAL@0"},
		{"counted since it was seen last, not since its change", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(5*minute, 10*second)
			r.seen("id", "CRITICAL")
			r.alive(14*minute, 10*second)
		}, "CRITICAL@0 OK@960"},
		{"opened again when it comes back", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(15*minute, 10*second)
			r.seen("id", "CRITICAL")
			r.seen("id", "OK")
		}, "CRITICAL@0 OK@660 CRITICAL@900 OK@901"},
		{"its recovery is not told twice", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(11*minute, 10*second)
			r.send(recovery(670, "id"))
		}, "CRITICAL@0 OK@660"},
		{"while nothing comes, nothing is resolved", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.silent(24*time.Hour, 5*second)
		}, "CRITICAL@0"},
		{"nor by the first points after it", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.silent(24*time.Hour, 5*second)
			r.alive(10*second, second)
			r.seen("id", "CRITICAL")
			r.alive(9*minute, 10*second)
		}, "CRITICAL@0"},
		{"a pause counts for a quarter", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(5*minute, 10*second)
			r.silent(time.Hour, 5*second)
			r.alive(4*minute, 10*second) // of which the first point ends the pause
		}, "CRITICAL@0 OK@4120"},
		{"one in a thousand points counts as well", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(12*minute, 2*minute)
		}, "CRITICAL@0 OK@720"},
		{"with rare points it takes longer", all(resolveAfter), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(25*minute, 5*minute)
		}, "CRITICAL@0 OK@1500"},
		{"a second is enough", all(opt("resolveAfter", time.Second)), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(4*second, 100*time.Millisecond)
		}, "CRITICAL@0 OK@2"},
		{"the longest duration there is", all(opt("resolveAfter", time.Duration(math.MaxInt64))), func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(24*time.Hour, minute)
		}, "CRITICAL@0"},
		{"not later than the newest point", all(resolveAfter), func(r *rig) {
			r.send(at(-86400, "id", "CRITICAL"))
			for range 80 {
				r.now = r.now.Add(10 * second)
				r.send(at(-86000, "alive", "OK"))
			}
		}, "CRITICAL@-86400 OK@-86000"},
		{"not later than now", all(resolveAfter), func(r *rig) {
			r.send(at(0, "id", "CRITICAL"), at(1e8, "future", "OK"))
			r.alive(11*minute, 10*second)
		}, "CRITICAL@0 OK@660"},
		{"later than what was told, whatever the clocks say", all(opt("resolveAfter", minute)), func(r *rig) {
			r.send(at(290, "id", "WARNING"), at(290, "id", "CRITICAL"))
			r.alive(2*minute, 10*second)
		}, "WARNING@290 CRITICAL@291 OK@292"},
		{"off", nil, func(r *rig) {
			r.seen("id", "CRITICAL")
			r.alive(24*time.Hour, minute)
		}, "CRITICAL@0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.options...)
			r.frozen = true
			tt.run(r)
			wantTold(t, r.store.changes, tt.want)
			wantOneAlert(t, r.store.changes)
			r.wantLogged(0, "please report this")
		})
	}

	t.Run("not while another series of the same alert is seen", func(t *testing.T) {
		r := start(t, resolveAfter)
		group := func(name, level string) pt {
			p := at(r.now.Sub(time.Unix(epoch, 0)).Seconds(), "id", level)
			p.group = name
			return p
		}
		r.send(group("old", "CRITICAL")) // and then the groups of the task are changed
		for range 20 {
			r.now = r.now.Add(minute)
			r.send(group("new", "CRITICAL"))
		}
		wantTold(t, r.store.changes, "CRITICAL@0 CRITICAL@60")
		r.send(group("new", "OK"))
		r.alive(12*minute, 10*second)
		for _, c := range r.store.changes {
			if c.Level == "OK" {
				return
			}
		}
		t.Errorf("not resolved by %q", told(r.store.changes))
	})
	t.Run("its levels are in the outbox with it", func(t *testing.T) {
		r := start(t, resolveAfter)
		r.seen("id", "CRITICAL")
		r.alive(11*minute, 10*second)
		last := r.store.commits[len(r.store.commits)-1]
		if len(last.changes) != 1 || len(last.levels) != 1 {
			t.Errorf("%d changes with %d levels in the last commit", len(last.changes), len(last.levels))
		}
		wantTold(t, r.restarted().send(at(700, "id", "CRITICAL")), "CRITICAL@700")
	})
	t.Run("those of a process before count from the start", func(t *testing.T) {
		old := start(t)
		old.seen("id", "CRITICAL")
		snapshot := old.snapshot()
		for name, r := range map[string]*rig{"outbox": old.restarted(resolveAfter), "snapshot": start(t, resolveAfter).restore(snapshot)} {
			r.now = r.now.Add(48 * time.Hour) // before the first point
			if changes := r.alive(12*minute, 10*second); told(changes) == "" || changes[0].Time < epoch+48*3600+450 {
				t.Errorf("%s: resolved by %q", name, told(changes))
			}
		}
	})
	t.Run("many at once, a part in each commit", func(t *testing.T) {
		stored := new(counter)
		r := newRig(t, func(c *udf.Config) {
			c.Open = func(udf.Use) (udf.Store, error) { return stored, nil }
		}).init(resolveAfter)
		for i := range 25_000 {
			r.point(at(0, fmt.Sprint("id", i), "CRITICAL"))
		}
		r.h.Commit()
		r.alive(650*second, 10*second)
		for _, want := range []int{10_000, 10_000, 5_000, 0} {
			stored.changes = 0
			if r.alive(10*second, 10*second); stored.changes != want {
				t.Errorf("%d alerts in one commit, want %d", stored.changes, want)
			}
		}
		r.h.Stop()
		r.wantLogged(1, "input ended", "unseen=25000")
		r.wantLogged(3, "level=INFO", "are resolved", ".stateChangesOnly()", "resolve_after=10m")
	})
	t.Run("a batch counts when it has ended", func(t *testing.T) {
		r := newRig(t, func(c *udf.Config) { c.Edge = agent.EdgeType_BATCH }).init(resolveAfter)
		r.frozen = true
		r.batch(stamped(0, "gone", "CRITICAL", 3))
		for i := range 12 {
			r.now = r.now.Add(minute)
			r.batch(stamped(60*(i+1), "stays", "CRITICAL", 3))
		}
		wantTold(t, r.store.changes, "CRITICAL@0 CRITICAL@60 OK@660")
	})
}

// A counter is a store that keeps nothing but a count.
type counter struct {
	forgetful
	changes int
}

func (c *counter) Append(changes []outbox.Change, _ []outbox.Level) { c.changes += len(changes) }

// The payload of what is resolved is of the same alert for BigPanda (readChange
// looks at the key), and says why.
func TestResolveAfterPayload(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		more    map[string]string // than status, check, task and description
	}{
		{"by host and id", nil, map[string]string{"host": "a"}},
		{"by an incident identifier", all(opt("incidentIdentifier", "{{ .Name }}-{{ .Tags.rack }}")),
			map[string]string{"incident_identifier": "cpu-r", "primary_property": "task"}},
		{"by other properties", all(opt("primaryProperty", "rack"), opt("secondaryProperty", "value")),
			map[string]string{"primary_property": "rack", "rack": "r", "secondary_property": "value", "value": "1"}},
		{"by its task", all(opt("host", "{{ .Tags.none }}")), map[string]string{"primary_property": "task", "task": "task:cpu"}},
		{"by the status", all(opt("attribute", "primary_property", `{{ "status" }}`)), map[string]string{"primary_property": "identity_primary", "identity_primary": "critical"}},
		{"without its id", all(opt("secondaryProperty", "rack")), map[string]string{"host": "a", "secondary_property": "rack", "rack": "r"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, append(tt.options, opt("resolveAfter", 90*second))...)
			r.send(at(0, "id", "CRITICAL").tagged("rack", "r").with("value", 1))
			changes := r.alive(2*minute, 10*second)
			if len(changes) != 1 {
				t.Fatalf("%d changes", len(changes))
			}
			wantOneAlert(t, r.store.changes)
			want := map[string]string{
				"status": "ok", "check": "id", "task": "task",
				"description": "id was CRITICAL, and then no point of it came for 90s: resolved by .resolveAfter()",
			}
			maps.Copy(want, tt.more)
			wantProperties(t, changes[0], want)
		})
	}
	t.Run("as it was when it opened, after an edit of the task", func(t *testing.T) {
		r := start(t, opt("incidentIdentifier", "x"))
		opened := r.one(at(0, "id", "CRITICAL"))
		after := r.restarted(opt("appKey", "edited"), opt("resolveAfter", minute))
		wantOneAlert(t, append([]change{opened}, after.alive(2*minute, 10*second)...))
	})
}

// A feed that is silent altogether is said once each time.
func TestResolveAfterSilence(t *testing.T) {
	t.Parallel()
	const said = "no points come: .resolveAfter() counts on when they do"
	r := start(t, opt("resolveAfter", 10*minute))
	r.alive(minute, 10*second)
	r.silent(time.Hour, 5*second)
	r.wantLogged(0, said) // nothing is open
	r.seen("id", "CRITICAL")
	r.silent(10*minute-5*second, 5*second)
	r.wantLogged(0, said)
	r.silent(time.Hour, 5*second)
	r.wantLogged(1, "level=WARN", said, "open=1")
	r.seen("id", "CRITICAL")
	r.silent(time.Hour, 5*second)
	r.wantLogged(2, said)

	after := r.restarted(opt("resolveAfter", 10*minute))
	for after.logged(said) == 0 { // the levels are read beside
		after.silent(10*minute, minute)
	}
	after.silent(time.Hour, 5*second)
	after.wantLogged(1, said)

	off := start(t)
	off.seen("id", "CRITICAL")
	off.silent(time.Hour, 5*second)
	off.wantLogged(0, said)
}

// P1, and the next try succeeds.
func TestResolveAfterSurvives(t *testing.T) {
	t.Parallel()
	broken := false
	r := newRig(t, func(c *udf.Config) {
		now := c.Now
		c.Now = func() time.Time {
			if broken {
				panic("the clock broke")
			}
			return now()
		}
	}).init(opt("resolveAfter", 10*minute))
	r.seen("id", "CRITICAL")
	broken = true
	r.silent(minute, 5*second)
	r.alive(minute, 10*second)
	r.wantLogged(1, "resolving alerts that are not seen failed", "please report this")
	broken = false
	wantTold(t, r.alive(15*minute, 10*second), "OK@660")
}

// A point that only shows that an alert is still there costs no memory.
func TestResolveAfterAllocatesNothing(t *testing.T) {
	r := start(t, opt("resolveAfter", minute))
	r.seen("id", "CRITICAL")
	frame, err := proto.Marshal(at(1, "id", "CRITICAL").message())
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		r.now = r.now.Add(second)
		if r.h.Wants(frame) {
			t.Error("it is decoded")
		}
		r.h.Commit()
	}); n != 0 {
		t.Errorf("%v allocations a point", n)
	}
	if len(r.store.changes) != 1 {
		t.Error("it changes something")
	}
}
