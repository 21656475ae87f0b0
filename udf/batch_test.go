package udf_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// A bt is a batch as a test writes it, as Kapacitor gives it: the points have
// no name, and the group of the batch (kapacitor, udf/server.go).
type bt struct {
	end    time.Duration // tmax, after epoch
	name   string        // "cpu" unless set
	byName bool
	tags   map[string]string // of the group
	points []pt              // with tags of their own
}

func (b bt) messages() (begin *agent.BeginBatch, points []*agent.Point, end *agent.EndBatch) {
	if b.name == "" {
		b.name = "cpu"
	}
	group := kapacitorGroup(b.name, b.byName, b.tags)
	begin = &agent.BeginBatch{Name: b.name, Group: group, Tags: b.tags, ByName: b.byName, Size: int64(len(b.points))}
	for _, p := range b.points {
		m := p.message()
		m.Name, m.Group = "", group
		points = append(points, m)
	}
	return begin, points, &agent.EndBatch{Name: b.name, Group: group, Tags: b.tags, Tmax: int64(epoch*time.Second) + int64(b.end)}
}

// kapacitorGroup is the group of a batch (kapacitor, models.ToGroupID).
func kapacitorGroup(name string, byName bool, tags map[string]string) string {
	var parts []string
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, tag+"="+tags[tag])
	}
	group := strings.Join(parts, ",")
	if byName && group != "" {
		return name + "\n" + group
	} else if byName {
		return name
	}
	return group
}

// stamped is a batch of host a that |alert() has stamped with a level and an
// id, in a field and in a tag: so many points, a second apart from so many
// seconds after epoch; it ends ten seconds after its first.
func stamped(seconds int, id, level string, points int) bt {
	first := time.Duration(seconds) * second
	b := bt{end: first + 10*second, tags: map[string]string{"host": "a", "alertID": id}}
	for i := range points {
		b.points = append(b.points, pt{
			time: first + time.Duration(i)*second, tags: b.tags,
			fields: map[string]any{"level": level, "value": i, "duration": time.Minute, "message": id + " is " + level},
		})
	}
	return b
}

// tagged puts the level into a tag besides, as .levelTag() of |alert() does.
func (b bt) tagged(tag, level string) bt {
	b.tags = maps.Clone(b.tags)
	b.tags[tag] = level
	b.points = slices.Clone(b.points)
	for i, p := range b.points {
		b.points[i] = p.tagged(tag, level)
	}
	return b
}

// batch hands over a batch as package wire does, and returns the changes that
// its piece of input makes.
func (r *rig) batch(b bt) []change {
	r.t.Helper()
	begin, points, end := b.messages()
	r.clock(end.Tmax)
	before := len(r.store.changes)
	r.begin(begin)
	for _, p := range points {
		r.message(p)
	}
	r.end(end)
	r.h.Commit()
	return r.store.changes[before:]
}

func (r *rig) begin(b *agent.BeginBatch) {
	r.t.Helper()
	if err := r.h.BeginBatch(b); err != nil {
		r.t.Fatalf("BeginBatch failed, which ends the process (P1): %v", err)
	}
}

func (r *rig) end(b *agent.EndBatch) {
	r.t.Helper()
	if err := r.h.EndBatch(b); err != nil {
		r.t.Fatalf("EndBatch failed, which ends the process (P1): %v", err)
	}
}

func TestInfoOfTheBatchEdge(t *testing.T) {
	t.Parallel()
	info, err := newRig(t, func(c *udf.Config) { c.Edge = agent.EdgeType_BATCH }).h.Info()
	if err != nil || info.Wants != agent.EdgeType_BATCH || info.Provides != agent.EdgeType_BATCH {
		t.Errorf("Info: %v, %v", info, err)
	}
}

// One decision for each batch, none for each point.
func TestBatchChanges(t *testing.T) {
	t.Parallel()
	crit := func(s, n int) bt { return stamped(s, "id", "CRITICAL", n) }
	warn := func(s, n int) bt { return stamped(s, "id", "WARNING", n) }
	fine := func(s, n int) bt { return stamped(s, "id", "OK", n) }
	levels := func(s int, levels ...string) bt {
		b := stamped(s, "id", "", len(levels))
		for i, level := range levels {
			b.points[i] = b.points[i].with("level", level)
		}
		return b
	}
	for _, tt := range []struct {
		name    string
		batches []bt
		want    string
	}{
		{"of one point each", []bt{warn(0, 1), crit(60, 1), fine(120, 1)}, "WARNING@0 CRITICAL@60 OK@130"},
		{"of many points: the first one's time, for OK the batch's", []bt{warn(0, 5), crit(60, 9), fine(120, 3)}, "WARNING@0 CRITICAL@60 OK@130"},
		{"none without a change", []bt{crit(0, 3), crit(60, 3), fine(120, 3), fine(180, 3)}, "CRITICAL@0 OK@130"},
		{"open again", []bt{crit(0, 2), fine(60, 2), crit(120, 2)}, "CRITICAL@0 OK@70 CRITICAL@120"},
		{"recovery of the unknown", []bt{fine(0, 3)}, "OK@10"},
		{"empty ones", []bt{crit(0, 2), crit(60, 0), fine(120, 2), fine(180, 0)}, "CRITICAL@0 OK@130"},
		{"late, behind an empty one", []bt{crit(0, 2), fine(60, 1), stamped(130, "other", "", 0), crit(20, 1)}, "CRITICAL@0 OK@70 CRITICAL@71"},
		{"several levels: the highest counts, of its first point", []bt{
			levels(0, "OK", "WARNING", "CRITICAL", "CRITICAL", "INFO"), levels(60, "OK", "WARNING", "OK", "WARNING"), levels(120, "OK", "OK"),
		}, "CRITICAL@2 WARNING@61 OK@130"},
		{"some points without a level", []bt{levels(0, "", "SEVERE", "CRITICAL", ""), levels(60, "", "")}, "CRITICAL@2"},
		{"two series, one after the other", []bt{crit(0, 2), stamped(1, "other", "WARNING", 2), fine(60, 2), stamped(61, "other", "OK", 2)},
			"CRITICAL@0 WARNING@1 OK@70 OK@71"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			for _, b := range tt.batches {
				if n := len(r.batch(b)); n > 1 {
					t.Errorf("%d changes of one batch", n)
				}
			}
			wantTold(t, r.store.changes, tt.want)
			r.wantLogged(0, "please report this")
		})
	}
}

// The payload is that of the native handler for the batch: its name, group and
// tags, and the fields of the point that represents it.
func TestBatchPayload(t *testing.T) {
	t.Parallel()
	// As |window() makes it: the points have the tags of the stream.
	windowed := func(level string) bt {
		b := stamped(0, "cpu:host=a", level, 3)
		for i, p := range b.points {
			b.points[i] = p.tagged("cpu", fmt.Sprint("cpu", i))
		}
		return b
	}
	want := map[string]string{
		"status": "critical", "check": "cpu:host=a", "description": "cpu:host=a is CRITICAL", "task": "task:cpu", "host": "a", "value": "0",
	}
	t.Run("of the first point, with the tags of the batch", func(t *testing.T) {
		wantProperties(t, start(t).batch(windowed("CRITICAL"))[0], want)
	})
	t.Run("of an OK", func(t *testing.T) {
		ok := maps.Clone(want)
		ok["status"], ok["description"] = "ok", "cpu:host=a is OK"
		wantProperties(t, start(t).batch(windowed("OK"))[0], ok)
	})
	t.Run("with the level in a tag as well", func(t *testing.T) {
		withTag := maps.Clone(want)
		withTag["level"] = "CRITICAL" // as on a stream, where the field is the level
		wantProperties(t, start(t).batch(windowed("CRITICAL").tagged("level", "CRITICAL"))[0], withTag)
		wantProperties(t, start(t, opt("levelTag", "level"), opt("autoAttributes", "tags")).batch(windowed("CRITICAL").tagged("level", "CRITICAL"))[0],
			map[string]string{"status": "critical", "check": "cpu:host=a", "description": "cpu:host=a is CRITICAL", "task": "task:cpu", "host": "a"})
	})
	t.Run("templates see the batch", func(t *testing.T) {
		c := start(t, opt("attribute", "x", "{{ .Name }}|{{ .Group }}|{{ .Tags.cpu }}|{{ .Time.Unix }}|{{ .Fields.value }}|{{ .Duration }}"),
			opt("id", "{{ .Name }}/{{ .Group }}/{{ .Tags.cpu }}")).batch(windowed("OK").tagged("level", "OK"))[0]
		if got, want := c.properties["x"], fmt.Sprintf("cpu|host=a||%d|0|1m0s", epoch+10); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
		if got, want := c.properties["check"], "cpu/host=a/"; got != want {
			t.Errorf("the id is %q, want %q", got, want)
		}
	})
	t.Run("without an id it is Kapacitor's default", func(t *testing.T) {
		b := windowed("CRITICAL")
		b.tags = map[string]string{"host": "a", "rack": "r"}
		for i := range b.points {
			b.points[i].tags = b.tags
		}
		for _, byName := range []bool{false, true} {
			b.byName = byName
			if got, want := start(t).batch(b)[0].properties["check"], "cpu:"+kapacitorGroup("cpu", byName, b.tags); got != want {
				t.Errorf("the id is %q, want %q", got, want)
			}
		}
	})
}

// Kapacitor makes the group of a batch anew from the tags into which |alert()
// writes its level and id: it is one series all the same.
func TestBatchGroup(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options []*agent.Option
		tag     string
	}{
		{"the level in its usual tag", nil, "level"},
		{"the level in a tag of another name", all(opt("levelTag", "severity")), "severity"},
		{"the level in a tag, and read off a field", all(opt("levelField", "level")), "level"},
		{"the id in a tag of another name", all(opt("idTag", "host")), ""},
		{"an id of the function's own, and the level in a tag", all(opt("id", "{{ .Group }}")), "level"},
	} {
		for _, byName := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by name %v", tt.name, byName), func(t *testing.T) {
				r := start(t, tt.options...)
				for i, level := range []string{"WARNING", "CRITICAL", "OK"} {
					b := stamped(i*60, "id", level, 2)
					b.byName = byName
					if tt.tag != "" {
						b = b.tagged(tt.tag, level)
					}
					r.batch(b)
				}
				wantTold(t, r.store.changes, "WARNING@0 CRITICAL@60 OK@130")
				wantOneAlert(t, r.store.changes)
			})
		}
	}
	t.Run("a tag of a level's name that is none stays part of it", func(t *testing.T) {
		r := start(t, opt("id", "same"), opt("levelField", "level"))
		errors, notices := stamped(0, "", "CRITICAL", 1).tagged("level", "error"), stamped(0, "", "WARNING", 1).tagged("level", "notice")
		r.batch(errors)
		r.batch(notices)
		r.batch(errors)
		r.batch(notices)
		wantTold(t, r.store.changes, "CRITICAL@0 WARNING@1")
	})
	t.Run("a tag of a level's name that is one, and not the batch's, is none of it", func(t *testing.T) {
		r := start(t)
		for i, level := range []string{"WARNING", "CRITICAL", "OK", "WARNING", "OK"} {
			r.batch(stamped(i*60, "id", level, 1).tagged("level", "warn"))
		}
		wantTold(t, r.store.changes, "WARNING@0 CRITICAL@60 OK@130 WARNING@180 OK@250")
		wantOneAlert(t, r.store.changes)
	})
	t.Run("a level in a tag that was not named makes series of one alert, which is said", func(t *testing.T) {
		r := start(t)
		for i, level := range []string{"CRITICAL", "OK"} {
			r.batch(stamped(i*60, "id", level, 1).tagged("severity", level))
		}
		wantTold(t, r.store.changes, "CRITICAL@0 OK@70")
		r.wantLogged(1, "level=WARN", "two series make one BigPanda alert")
	})
	t.Run("an empty group", func(t *testing.T) {
		r := start(t)
		b := stamped(0, "id", "CRITICAL", 1)
		b.tags = map[string]string{"alertID": "id", "level": "CRITICAL"}
		b.points[0].tags = b.tags
		if got := start(t, opt("id", "{{ .Name }}:{{ .Group }}")).batch(b)[0].properties["check"]; got != "cpu:nil" {
			t.Errorf("the id is %q", got)
		}
		wantTold(t, r.batch(b), "CRITICAL@0")
	})
}

// P1: batch frames in any order, on any edge, end nothing.
func TestBatchFramesInAnyOrder(t *testing.T) {
	t.Parallel()
	begin, points, end := stamped(0, "id", "CRITICAL", 2).messages()
	_, _, later := stamped(60, "id", "OK", 0).messages()
	point := func(r *rig) { r.message(points[0]) }
	alone := at(0, "id", "CRITICAL").grouped("host=a")
	for _, tt := range []struct {
		name   string
		frames func(r *rig)
		want   string
		logged string
	}{
		{"a batch within a batch", func(r *rig) { r.begin(begin); point(r); r.begin(begin); r.end(end) }, "", "a batch began before the one before it had ended"},
		{"and the second one has points", func(r *rig) { r.begin(begin); r.begin(begin); point(r); r.end(end) }, "CRITICAL@0", "a batch began before"},
		{"the end of no batch", func(r *rig) { r.end(end) }, "", "a batch ended that had not begun"},
		{"two ends", func(r *rig) { r.begin(begin); point(r); r.end(end); r.end(later) }, "CRITICAL@0", "a batch ended that had not begun"},
		{"a point outside of a batch is one of a stream", func(r *rig) { r.point(alone); r.begin(begin); point(r); r.end(end); r.point(alone) }, "CRITICAL@0", ""},
		{"a batch that does not end", func(r *rig) { r.begin(begin); point(r) }, "", ""},
		{"nothing in the frames", func(r *rig) {
			r.begin(nil)
			_ = r.h.Point(nil)
			point(r)
			r.end(nil)
			r.begin(&agent.BeginBatch{})
			r.message(&agent.Point{FieldsString: map[string]string{"level": "CRITICAL"}})
			r.end(&agent.EndBatch{})
		}, fmt.Sprintf("CRITICAL@0 CRITICAL@%d", -epoch), ""},
		{"a snapshot within a batch, which is told at its end", func(r *rig) {
			r.begin(begin)
			point(r)
			r.snapshot()
			if len(r.store.changes) > 0 {
				r.t.Error("it was told of before its end")
			}
			r.end(end)
		}, "CRITICAL@0", ""},
	} {
		for _, edge := range []agent.EdgeType{agent.EdgeType_BATCH, agent.EdgeType_STREAM} {
			t.Run(fmt.Sprintf("%s on a %s", tt.name, edge), func(t *testing.T) {
				r := newRig(t, func(c *udf.Config) { c.Edge = edge }).init()
				tt.frames(r)
				r.h.Commit()
				wantTold(t, r.store.changes, tt.want)
				if tt.logged != "" {
					r.wantLogged(1, "level=WARN", tt.logged)
				} else {
					r.wantLogged(0, "level=WARN", "a batch")
				}
			})
		}
	}
	t.Run("before Init, and switched off", func(t *testing.T) {
		for _, r := range []*rig{newRig(t), newRig(t, func(c *udf.Config) { c.Enabled = false }).init()} {
			r.begin(begin)
			_ = r.h.Point(points[0])
			r.end(end)
			r.end(end)
			r.h.Commit()
			if len(r.store.commits) > 0 {
				t.Error("something was stored")
			}
			r.wantLogged(0, "please report this")
		}
	})
	t.Run("a panic in handling one", func(t *testing.T) {
		r := newRig(t, func(c *udf.Config) {
			now := c.Now
			calls := 0
			c.Now = func() time.Time {
				if calls++; calls == 3 { // after Init and the first point
					panic("the clock broke")
				}
				return now()
			}
		}).init(opt("maxAge", time.Hour))
		wantTold(t, r.batch(stamped(0, "id", "CRITICAL", 2)), "")
		r.wantLogged(1, "level=ERROR", "handling a batch failed", "please report this", "the clock broke")
		wantTold(t, r.batch(stamped(1, "id", "CRITICAL", 2)), "CRITICAL@1")
	})
}

// Of a batch one point is copied; the others cost no memory (P7).
func TestBatchPointsAllocateNothing(t *testing.T) {
	for _, level := range []string{"OK", "CRITICAL", "", "SEVERE"} {
		t.Run(level, func(t *testing.T) {
			r := start(t, opt("resolveAfter", minute))
			r.batch(stamped(0, "id", "CRITICAL", 2))
			begin, points, end := stamped(60, "id", level, 3).messages()
			r.begin(begin)
			var frames [][]byte
			for _, p := range points {
				b, err := proto.Marshal(p)
				if err != nil {
					t.Fatal(err)
				}
				frames = append(frames, b)
				if r.h.Wants(b) {
					t.Error("a point has to be decoded")
				}
			}
			if n := testing.AllocsPerRun(100, func() {
				if r.h.Wants(frames[1]) {
					t.Error("it is decoded")
				}
			}); n != 0 {
				t.Errorf("%v allocations a point", n)
			}
			for _, b := range frames {
				clear(b) // whose they are reads the next piece into them
			}
			before := len(r.store.changes)
			r.end(end)
			r.h.Commit()
			want := ""
			if level == "OK" {
				want = "OK@70"
			}
			wantTold(t, r.store.changes[before:], want)
		})
	}
}
