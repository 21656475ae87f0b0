package udf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/test"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

func (r *rig) snapshot() []byte {
	r.t.Helper()
	res, err := r.h.Snapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	// Kapacitor would keep, and restore, the one before.
	if len(res.Snapshot) == 0 {
		r.t.Fatal("a snapshot of zero bytes")
	}
	return res.Snapshot
}

// restore hands over a snapshot, which never fails, and ends the piece.
func (r *rig) restore(snapshot []byte) *rig {
	r.t.Helper()
	res, err := r.h.Restore(&agent.RestoreRequest{Snapshot: snapshot})
	if err != nil || !res.Success || res.Error != "" {
		r.t.Fatalf("Restore: %v, %v", res, err)
	}
	r.h.Commit()
	return r
}

// restarted is a new process on the same outbox.
func (r *rig) restarted(options ...*agent.Option) *rig {
	r.t.Helper()
	after := newRig(r.t)
	after.store = r.store
	return after.init(options...)
}

// history opens some alerts and resolves others, one long ago.
func history(r *rig) {
	r.t.Helper()
	r.send(
		at(0, "early", "CRITICAL"), at(1, "early", "OK"),
		at(90, "open", "WARNING"), at(91, "open", "CRITICAL"), at(91, "open", "WARNING"),
		at(95, "other", "INFO").grouped("g"),
		at(99, "resolved", "CRITICAL"), at(99, "resolved", "OK"),
	)
}

// future is what history leaves to be told; want is how.
var (
	future = []pt{
		at(92, "open", "WARNING"), at(92, "open", "CRITICAL"), recovery(96, "other").grouped("g"), recovery(96, "other").grouped("g"),
		recovery(99, "resolved"), at(99, "resolved", "CRITICAL"), at(1, "early", "OK"), recovery(1, "early"), at(1, "early", "CRITICAL"),
	}
	wantFuture = "CRITICAL@93 OK@96 CRITICAL@101 CRITICAL@2"
)

func TestLevelsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	t.Run("in one process", func(t *testing.T) {
		r := start(t)
		history(r)
		wantTold(t, r.send(future...), wantFuture)
	})
	t.Run("by the outbox", func(t *testing.T) {
		r := start(t)
		history(r)
		if len(r.store.kept) != 4 {
			t.Errorf("%d levels kept, want 4", len(r.store.kept))
		}
		after := r.restarted()
		if len(after.store.commits) != 1 {
			t.Error("the start stored something")
		}
		wantTold(t, after.send(future...), wantFuture)
	})
	t.Run("by a snapshot", func(t *testing.T) {
		r := start(t)
		history(r)
		after := start(t).restore(r.snapshot())
		wantTold(t, after.send(future...), wantFuture)
	})
	t.Run("by a snapshot of a process that had a snapshot", func(t *testing.T) {
		r := start(t)
		history(r)
		after := start(t).restore(r.snapshot())
		after = start(t).restore(after.snapshot())
		wantTold(t, after.send(future...), wantFuture)
	})
	t.Run("the payloads too", func(t *testing.T) {
		r := start(t)
		history(r)
		after := start(t).restore(r.snapshot())
		stays, comes := r.send(future...), after.send(future...)
		for i := range stays {
			if !bytes.Equal(stays[i].Payload, comes[i].Payload) || stays[i].Alert != comes[i].Alert || stays[i].AppKey != comes[i].AppKey {
				t.Errorf("restored it is\n%s, without it\n%s", comes[i].Payload, stays[i].Payload)
			}
		}
	})
	t.Run("the last timestamp of an alert of two series", func(t *testing.T) {
		r := start(t, opt("primaryProperty", "task"), opt("secondaryProperty", "task"))
		r.send(at(0, "x", "CRITICAL"), at(0, "y", "CRITICAL"), at(0, "x", "WARNING"))
		snapshot := r.snapshot()
		slices.Reverse(r.store.kept) // an outbox gives them in any order
		wantTold(t, r.restarted().send(at(0, "y", "OK")), "OK@3")
		wantTold(t, start(t).restore(snapshot).send(at(0, "y", "OK")), "OK@3")
	})
	t.Run("an id that a template has cut within a character", func(t *testing.T) {
		cut := opt("id", "{{ slice .Tags.city 0 2 }}")
		critical, fine := at(0, "", "CRITICAL").tagged("city", "Zürich"), at(1, "", "OK").tagged("city", "Zürich")
		r := start(t, cut)
		r.send(critical)
		for _, after := range []*rig{start(t, cut).restore(r.snapshot()), r.restarted(cut)} {
			wantTold(t, after.send(fine), "OK@1")
		}
	})
	t.Run("resendAfter counts on", func(t *testing.T) {
		r := start(t)
		r.send(at(0, "id", "CRITICAL"))
		resend := opt("resendAfter", 10*minute)
		for _, after := range []*rig{start(t, resend).restore(r.snapshot()), r.restarted(resend)} {
			wantTold(t, after.send(at(599, "id", "CRITICAL"), at(600, "id", "CRITICAL")), "CRITICAL@600")
		}
	})
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	t.Run("is never zero bytes", func(t *testing.T) {
		r := start(t)
		r.snapshot()
		r.send(at(0, "id", "CRITICAL"), at(1, "id", "OK"), at(100, "id", "OK"))
		r.snapshot()
		newRig(t).snapshot() // before Init, which Kapacitor does not ask for
	})
	t.Run("is the same for the same levels", func(t *testing.T) {
		one, two := start(t), start(t)
		one.frozen, two.frozen = true, true // for when they were seen
		for i := range 50 {
			one.send(at(float64(i), fmt.Sprint("id", i), "CRITICAL"))
		}
		for i := range 50 {
			two.send(at(float64(49-i), fmt.Sprint("id", 49-i), "CRITICAL"))
		}
		if a, b := one.snapshot(), two.snapshot(); !bytes.Equal(a, b) {
			t.Errorf("%s\nand\n%s", a, b)
		}
	})
	t.Run("holds what its own piece of input changed", func(t *testing.T) {
		r := start(t)
		r.point(at(0, "id", "CRITICAL"))
		after := start(t).restore(r.snapshot())
		wantTold(t, after.send(at(1, "id", "OK")), "OK@1")
	})
	t.Run("is bounded", func(t *testing.T) {
		test.NoRace(t)
		r := start(t)
		long := strings.Repeat("x", 1<<18)
		for i := range 20 {
			r.send(at(0, fmt.Sprintf("%s%02d", long, i), "CRITICAL"))
		}
		s := r.snapshot()
		if len(s) < 2<<20 || len(s) > 16<<20 || !json.Valid(s) {
			t.Errorf("a snapshot of %d bytes", len(s))
		}
		r.snapshot()
		r.wantLogged(1, "level=WARN", "more alerts are active than a snapshot holds", "left_out=5")
		after, resolved := start(t).restore(s), 0
		for i := range 20 {
			resolved += len(after.send(at(1, fmt.Sprintf("%s%02d", long, i), "OK")))
		}
		if resolved != 15 {
			t.Errorf("%d alerts are known from it, want 15", resolved)
		}
	})
	t.Run("has room for the others beside one that is too large", func(t *testing.T) {
		test.NoRace(t)
		r := start(t)
		r.send(at(0, strings.Repeat("x", 9<<20), "CRITICAL"))
		for i := range 20 {
			r.send(at(0, fmt.Sprint("id", i), "CRITICAL"))
		}
		after, resolved := start(t).restore(r.snapshot()), 0
		for i := range 20 {
			resolved += len(after.send(at(1, fmt.Sprint("id", i), "OK")))
		}
		if resolved != 20 {
			t.Errorf("%d alerts are known from it, want 20", resolved)
		}
	})
	t.Run("is bounded whatever the characters", func(t *testing.T) {
		test.NoRace(t)
		r := start(t)
		long := strings.Repeat("<", 1<<18) // JSON for HTML would be six times that
		for i := range 12 {
			r.send(at(0, fmt.Sprintf("%s%02d", long, i), "CRITICAL"))
		}
		if s := r.snapshot(); len(s) > 16<<20 {
			t.Errorf("a snapshot of %d bytes", len(s))
		}
	})
}

func TestRestore(t *testing.T) {
	t.Parallel()
	full := func() []byte {
		r := start(t)
		history(r)
		return r.snapshot()
	}()

	t.Run("into a new outbox, which keeps it", func(t *testing.T) {
		r := start(t).restore(full)
		if len(r.store.commits) != 1 || len(r.store.commits[0].changes) != 0 || len(r.store.kept) != 4 {
			t.Errorf("%d Appends, %d levels kept", len(r.store.commits), len(r.store.kept))
		}
		wantTold(t, r.restarted().send(future...), wantFuture)
	})
	t.Run("an outbox that is not new knows better", func(t *testing.T) {
		r := newRig(t)
		r.store.isNew = false
		r.init().restore(full)
		if len(r.store.commits) > 0 {
			t.Error("the snapshot reached the outbox")
		}
		wantTold(t, r.send(at(92, "open", "WARNING"), at(92, "open", "OK")), "WARNING@92 OK@93")
		r.wantLogged(0)
	})
	t.Run("and one that has levels", func(t *testing.T) {
		old := start(t)
		old.send(at(200, "open", "CRITICAL"))
		r := old.restarted().restore(full)
		wantTold(t, r.send(at(200, "open", "CRITICAL"), at(200, "open", "OK")), "OK@201")
	})
	t.Run("into a function that is switched off", func(t *testing.T) {
		off := newRig(t, func(c *udf.Config) { c.Enabled = false }).init().restore(full)
		off.wantLogged(0, "level=ERROR")
		if len(off.store.commits) > 0 {
			t.Error("something was stored")
		}
	})

	const unreadable = "the snapshot that Kapacitor kept cannot be read"
	for _, tt := range []struct {
		name, snapshot string
	}{
		{"nothing", ""},
		{"no JSON", "\x08\x01"},
		{"half of one", string(full[:len(full)/2])},
		{"another kind of JSON", `["open"]`},
		{"null", "null"},
		{"no version", `{"levels":[]}`},
		{"a later version", `{"version":2,"levels":[]}`},
		{"a later version of other levels", `{"version":2,"levels":{"a":1}}`},
		{"a version that is none", `{"version":"1"}`},
		{"levels that are none", `{"version":1,"levels":7}`},
		{"a level that is none", `{"version":1,"levels":[{"key":"k","record":{"level":9,"last":1}}]}`},
		{"a level of no alert", `{"version":1,"levels":[{"key":"k","record":{"level":3,"last":1}}]}`},
		{"a level less than none", `{"version":1,"levels":[{"key":"k","record":{"level":-1,"last":1}}]}`},
		{"a record that is none", `{"version":1,"levels":[{"key":"k","record":"x"}]}`},
		{"a record that is not there", `{"version":1,"levels":[{"key":"k"}]}`},
		{"a record of nothing", `{"version":1,"levels":[{"key":"k","record":null}]}`},
	} {
		t.Run("unreadable: "+tt.name, func(t *testing.T) {
			r := start(t).restore([]byte(tt.snapshot))
			r.wantLogged(1, "level=ERROR", unreadable)
			r.wantLogged(0, "%!")
			if len(r.store.kept) > 0 {
				t.Errorf("levels kept of it: %v", r.store.kept)
			}
			// The function works on.
			wantTold(t, r.send(at(0, "open", "CRITICAL"), at(1, "open", "OK")), "CRITICAL@0 OK@1")
		})
	}
	t.Run("an unreadable level leaves the others", func(t *testing.T) {
		s := strings.Replace(string(full), `{"level":2,`, `{"level":"2",`, 1)
		if s == string(full) {
			t.Fatalf("no such level in %s", full)
		}
		r := start(t).restore([]byte(s))
		r.wantLogged(1, "level=ERROR")
		wantTold(t, r.send(recovery(96, "other").grouped("g"), at(96, "open", "WARNING")), "OK@96 WARNING@96")
	})
	t.Run("an unreadable level of the outbox", func(t *testing.T) {
		r := newRig(t)
		old := start(t)
		history(old)
		r.store.isNew = false
		r.store.kept = append([]outbox.Level{{Key: "k", Time: 1, Value: []byte("x")}, {Key: "l", Time: 1, Value: []byte(`{"level":200}`)}}, old.store.kept...)
		r.init()
		wantTold(t, r.send(future...), wantFuture) // which waits until all is read
		r.wantLogged(1, "level=ERROR", "what BigPanda was told cannot be read")
		r.wantLogged(0, "%!")
	})
}
