package udf_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// aLevel is a level as the function keeps it. Times are seconds after epoch.
func aLevel(key, level string, told, last int64, i bigpanda.Identity) outbox.Level {
	parsed, ok := udf.ParseLevel(level)
	if !ok {
		panic(level)
	}
	value, err := json.Marshal(map[string]any{"level": parsed, "told": (epoch + told) * 1e9, "last": epoch + last, "identity": i})
	if err != nil {
		panic(err)
	}
	return outbox.Level{Key: key, Time: epoch + last, Value: value}
}

// seenAt is a level that was seen later than told, as earlier programs did not
// keep it.
func seenAt(seen int64, l outbox.Level) outbox.Level {
	value := make(map[string]any)
	if err := json.Unmarshal(l.Value, &value); err != nil {
		panic(err)
	}
	value["seen"] = epoch + seen
	l.Value, _ = json.Marshal(value)
	return l
}

func host(name string) bigpanda.Identity {
	return bigpanda.Identity{AppKey: "k", Primary: "host", PrimaryValue: name, Secondary: "check", SecondaryValue: "cpu"}
}

func TestActives(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		levels []outbox.Level
		want   string // value of the primary property, level, since, seen, timestamp, series
		err    string
	}{
		{name: "none"},
		{name: "the oldest first, and none that is OK", levels: []outbox.Level{
			aLevel("g\x00a", "WARNING", 9, 9, host("a")), aLevel("g\x00b", "CRITICAL", 5, 6, host("b")),
			aLevel("g\x00c", "OK", 1, 1, host("c")), aLevel("g\x00d", "INFO", 10, 10, host("d")),
			{Key: "g\x00forgotten", Time: 1}, {Key: "g\x00borrowed", Time: 1, Value: []byte{}},
		}, want: "b CRITICAL 5 5 6 g/b|a WARNING 9 9 9 g/a|d INFO 10 10 10 g/d"},
		{name: "two series of one alert: what was told last", levels: []outbox.Level{
			aLevel("g2\x00a", "WARNING", 7, 7, host("a")), aLevel("g1\x00a", "CRITICAL", 5, 5, host("a")),
		}, want: "a WARNING 7 7 7 g1/a g2/a"},
		{name: "in any order", levels: []outbox.Level{
			aLevel("g1\x00a", "CRITICAL", 5, 5, host("a")), aLevel("g2\x00a", "WARNING", 7, 7, host("a")),
		}, want: "a WARNING 7 7 7 g1/a g2/a"},
		{name: "seen since", levels: []outbox.Level{
			seenAt(30, aLevel("g\x00a", "CRITICAL", 5, 6, host("a"))), seenAt(9, aLevel("g\x00b", "WARNING", 9, 9, host("b"))),
		}, want: "a CRITICAL 5 30 6 g/a|b WARNING 9 9 9 g/b"},
		{name: "two series of one alert: what was seen last", levels: []outbox.Level{
			seenAt(20, aLevel("g1\x00a", "CRITICAL", 5, 5, host("a"))), seenAt(8, aLevel("g2\x00a", "WARNING", 7, 7, host("a"))),
		}, want: "a WARNING 7 20 7 g1/a g2/a"},
		{name: "the timestamp is that of a series that is OK", levels: []outbox.Level{
			aLevel("g1\x00a", "CRITICAL", 5, 5, host("a")), aLevel("g2\x00a", "OK", 0, 8, host("a")), aLevel("g3\x00a", "WARNING", 6, 6, host("a")),
		}, want: "a WARNING 6 6 8 g1/a g3/a"},
		{name: "what cannot be read hides nothing", levels: []outbox.Level{
			{Key: "x", Time: 1, Value: []byte("noise")}, {Key: "y", Time: 1, Value: []byte(`{"level":9,"identity":{"app_key":"k"}}`)},
			aLevel("g\x00a", "INFO", 5, 5, host("a")),
		}, want: "a INFO 5 5 5 g/a", err: "2 of its levels cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all udf.Actives
			for _, l := range tt.levels {
				all.Add(l)
			}
			sorted, err := all.Sorted()
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Error(err)
			}
			var got []string
			for _, a := range sorted {
				text := fmt.Sprintf("%s %s %d %d %d", a.Identity.PrimaryValue, a.Level, a.Since.Unix()-epoch, a.Seen.Unix()-epoch, a.Timestamp-epoch)
				for _, s := range a.Series {
					text += " " + s.Group + "/" + s.ID
				}
				got = append(got, text)
			}
			if strings.Join(got, "|") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What resolves an alert is about that alert, and nothing that BigPanda drops.
func TestResolvePayload(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		identity bigpanda.Identity
		now      int64
		want     string
	}{
		{"later than now", host("a"), 5, `{"check":"cpu","description":"ID was resolved by hand, with bigpanda-udf outbox resolve","host":"a","status":"ok","timestamp":1700000008}`},
		{"now", host("a"), 50, `{"check":"cpu","description":"ID was resolved by hand, with bigpanda-udf outbox resolve","host":"a","status":"ok","timestamp":1700000050}`},
		{"no secondary property", bigpanda.Identity{AppKey: "k", Primary: "rack", PrimaryValue: "7"}, 50,
			`{"description":"ID was resolved by hand, with bigpanda-udf outbox resolve","primary_property":"rack","rack":"7","status":"ok","timestamp":1700000050}`},
		{"names that are not known", bigpanda.Identity{AppKey: "k", PrimaryValue: "7", SecondaryValue: "8"}, 50,
			`{"check":"ID","description":"ID was resolved by hand, with bigpanda-udf outbox resolve","identity_primary":"7","identity_secondary":"8","primary_property":"identity_primary","secondary_property":"identity_secondary","status":"ok","timestamp":1700000050}`},
		{"an incident identifier", bigpanda.Identity{AppKey: "k", Incident: "i"}, 50,
			`{"check":"ID","description":"ID was resolved by hand, with bigpanda-udf outbox resolve","incident_identifier":"i","primary_property":"check","status":"ok","timestamp":1700000050}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all udf.Actives
			all.Add(aLevel("g\x00ID", "CRITICAL", 5, 7, tt.identity))
			sorted, err := all.Sorted()
			if err != nil || len(sorted) != 1 {
				t.Fatal(sorted, err)
			}
			got := sorted[0].Resolve(time.Unix(epoch+tt.now, 0))
			if string(got.Change.Payload) != tt.want {
				t.Errorf("the payload is\n%s, want\n%s", got.Change.Payload, tt.want)
			}
			if got.Change.Alert != tt.identity.Key() || got.Change.AppKey != "k" || got.Change.Level != "OK" ||
				len(got.Series) != 1 || string(got.Series[0].Key) != "g\x00ID" || got.Series[0].Was != epoch+7 {
				t.Errorf("it is %+v", got)
			}
			if c := readChange(t, got.Change); c.properties["status"] != "ok" {
				t.Errorf("it says %v", c.properties)
			}
			// The function reads the level as that of a series that is OK.
			again := udf.Actives{}
			again.Add(outbox.Level{Key: "g\x00ID", Time: got.Change.Time, Value: got.Value})
			if left, err := again.Sorted(); err != nil || len(left) != 0 {
				t.Errorf("it is still there: %v, %v", left, err)
			}
		})
	}
}

// aDisk is a rig whose store is an outbox on disk, and the outbox's control.
func aDisk(t *testing.T, options ...*agent.Option) (*rig, *outbox.Disk, *outbox.Control) {
	t.Helper()
	return aDiskIn(t, t.TempDir(), options...)
}

func aDiskIn(t *testing.T, dir string, options ...*agent.Option) (*rig, *outbox.Disk, *outbox.Control) {
	t.Helper()
	d, err := outbox.Open(dir, outbox.Options{
		Task: "task", Node: "node", URL: "http://127.0.0.1:9/", Fingerprint: func(key []byte) []byte { return key },
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	folders, err := outbox.Folders(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *udf.Config) { c.Open = func(udf.Use) (udf.Store, error) { return d, nil } }).init(options...)
	return r, d, outbox.NewControl(folders[0], nil)
}

// active are the active alerts that an outbox knows of.
func active(t *testing.T, c *outbox.Control) []*udf.Active {
	t.Helper()
	var all udf.Actives
	if err := c.Levels(t.Context(), all.Add); err != nil {
		t.Error(err)
	}
	sorted, err := all.Sorted()
	if err != nil {
		t.Error(err)
	}
	return sorted
}

// Since when and last seen go by different clocks: that of the points, and that
// of the machine.
func TestLastSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, d, c := aDiskIn(t, dir, opt("resendAfter", 10*minute))
	want := func(what string, lines ...string) {
		t.Helper()
		var got []string
		for _, a := range active(t, c) {
			got = append(got, fmt.Sprintf("%s %s since %d seen %d", a.Series[0].ID, a.Level, a.Since.Unix()-epoch, a.Seen.Unix()-epoch))
		}
		if slices.Sort(got); !slices.Equal(got, lines) {
			t.Errorf("%s: %q, want %q", what, got, lines)
		}
	}
	point := func(after time.Duration, pointTime float64, id, level string) {
		r.frozen = true
		r.now = r.now.Add(after)
		r.send(at(pointTime, id, level))
	}
	point(0, -100, "a", "WARNING")
	point(0, -90, "b", "CRITICAL")
	point(5*second, -80, "c", "CRITICAL")
	want("at the start", "a WARNING since -100 seen 0", "b CRITICAL since -90 seen 0", "c CRITICAL since -80 seen 5")
	point(50*second, -50, "a", "WARNING")
	want("at once", "a WARNING since -100 seen 55", "b CRITICAL since -90 seen 0", "c CRITICAL since -80 seen 5")
	point(5*second, -40, "b", "CRITICAL")
	want("and for each", "a WARNING since -100 seen 55", "b CRITICAL since -90 seen 60", "c CRITICAL since -80 seen 5")
	for range 8 {
		point(2*minute, 560, "a", "WARNING")
	}
	want("a repetition is no change", "a WARNING since -100 seen 1020", "b CRITICAL since -90 seen 60", "c CRITICAL since -80 seen 5")
	if n := len(queued(t, c)); n != 4 {
		t.Errorf("%d changes, want three, and a repetition", n)
	}
	point(0, 570, "a", "CRITICAL")
	point(0, 580, "c", "OK")
	want("a change is", "a CRITICAL since 570 seen 1020", "b CRITICAL since -90 seen 60")

	r.h.Stop()
	d.Close()
	want("while no process has it, as of the last change", "a CRITICAL since 570 seen 1020", "b CRITICAL since -90 seen 0")
	now := r.now
	r, _, c = aDiskIn(t, dir, opt("resendAfter", 10*minute))
	r.now = now
	point(10*minute, 590, "a", "CRITICAL")
	want("after a restart", "a CRITICAL since 570 seen 1620", "b CRITICAL since -90 seen 0")
	point(minute, 5000, "a", "CRITICAL")
	want("a repetition after it", "a CRITICAL since 570 seen 1680", "b CRITICAL since -90 seen 0")
	r.wantLogged(0, "please report this")
}

// A batch is seen when it ends, also where its points came in a piece before.
func TestLastSeenOfBatches(t *testing.T) {
	t.Parallel()
	r, d, c := aDisk(t)
	r.h.Stop()
	now := r.now
	r = newRig(t, func(c *udf.Config) {
		c.Edge = agent.EdgeType_BATCH
		c.Open = func(udf.Use) (udf.Store, error) { return d, nil }
	}).init()
	r.now = now
	for range 3 {
		r.now = r.now.Add(time.Hour)
		begin, points, end := stamped(0, "id", "CRITICAL", 2).messages()
		r.begin(begin)
		for _, p := range points {
			r.message(p)
		}
		r.h.Commit()
		r.end(end)
		r.h.Commit()
		if a := active(t, c); len(a) != 1 || !a[0].Seen.Equal(r.now) {
			t.Errorf("last seen at %s, want %s", a[0].Seen, r.now.UTC())
		}
	}
}

// After a restore from a snapshot, all series of an alert have its timestamp:
// the one that was told last still gives its level.
func TestActiveAfterRestore(t *testing.T) {
	t.Parallel()
	old := start(t, opt("resendAfter", 10*second))
	old.send(at(0, "x", "CRITICAL").grouped("g1"))
	old.send(at(5, "x", "WARNING").grouped("g2"))
	old.send(at(20, "x", "CRITICAL").grouped("g1"))
	r, _, c := aDisk(t)
	r.restore(old.snapshot())
	r.h.Commit()
	if a := active(t, c); len(a) != 1 || a[0].Level != udf.Critical || a[0].Since.Unix() != epoch {
		t.Errorf("%+v", a[0])
	}
}

// resolveAll resolves what is active, and returns how much that was.
func resolveAll(t *testing.T, c *outbox.Control) int {
	t.Helper()
	var asked []outbox.Amendment
	for _, a := range active(t, c) {
		asked = append(asked, a.Resolve(time.Now()))
	}
	o, err := c.Amend(t.Context(), asked)
	if err != nil {
		t.Error(err)
	}
	return o.Done
}

// queued are the changes in an outbox, "level@timestamp".
func queued(t *testing.T, c *outbox.Control) (all []outbox.Entry) {
	t.Helper()
	for after, more := uint64(0), true; more; {
		page, err := c.Queued(t.Context(), after, 1000, false)
		if err != nil {
			t.Fatal(err)
		}
		all, more = append(all, page.Entries...), page.More
		if len(all) > 0 {
			after = all[len(all)-1].ID
		}
	}
	return all
}

// A person resolves while points come: whatever comes first, function, outbox
// and BigPanda agree in the end. For the race detector, too.
func TestResolveBesidePoints(t *testing.T) {
	t.Parallel()
	r, _, c := aDisk(t)
	const ids = 5
	var resolver sync.WaitGroup
	stop := make(chan struct{})
	var resolved atomic.Int64
	resolver.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				resolved.Add(int64(resolveAll(t, c)))
			}
		}
	})
	levels := []string{"CRITICAL", "WARNING", "OK"}
	// A level that changes meanwhile is not resolved, so some levels last.
	pieces, end := 0, time.Now().Add(time.Minute)
	for n := 0; n < 400 || resolved.Load() == 0 && time.Now().Before(end); n++ {
		pieces = n + 1
		for id := range ids {
			r.point(at(float64(n), fmt.Sprint("id", id), levels[(n/10+id)%3]))
		}
		if n%50 == 0 {
			if _, err := r.h.Snapshot(); err != nil {
				t.Error(err)
			}
		}
		r.h.Commit()
	}
	close(stop)
	resolver.Wait()
	if resolved.Load() == 0 {
		t.Error("nothing was resolved")
	}
	resolveAll(t, c)
	// The function knows that all are OK: none is a change, each CRITICAL is.
	for id := range ids {
		r.point(at(float64(pieces), fmt.Sprint("id", id), "OK"))
	}
	r.h.Commit()
	before := len(queued(t, c))
	for id := range ids {
		r.point(at(float64(pieces+1), fmt.Sprint("id", id), "CRITICAL"))
	}
	r.h.Commit()
	all := queued(t, c)
	if len(all) != before+ids {
		t.Errorf("%d CRITICALs are a change, want %d", len(all)-before, ids)
	}
	last := make(map[string]outbox.Entry)
	for _, e := range all {
		if was, known := last[e.Alert]; known && (e.Time <= was.Time || e.Level == was.Level) {
			t.Errorf("of %s, %s@%d comes after %s@%d", e.Alert, e.Level, e.Time, was.Level, was.Time)
		}
		last[e.Alert] = e
	}
	r.h.Stop()
	if n := resolveAll(t, c); n != ids {
		t.Errorf("after the function's end %d are resolved, want %d", n, ids)
	}
}

// An alert that another series has raised since it was looked at is not resolved:
// the OK would close it, and nobody would open it again.
func TestResolveWhatHasChanged(t *testing.T) {
	t.Parallel()
	r, _, c := aDisk(t)
	r.send(at(0, "id", "WARNING").grouped("g1"))
	seen := active(t, c)[0].Resolve(time.Now())
	r.send(at(20, "id", "CRITICAL").grouped("g2"))
	o, err := c.Amend(t.Context(), []outbox.Amendment{seen})
	if err != nil || o.Done != 0 || len(o.Changed) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if n := len(queued(t, c)); n != 2 {
		t.Errorf("%d changes, want the two that the function made", n)
	}
	if n := resolveAll(t, c); n != 1 {
		t.Errorf("looked at again, %d are resolved", n)
	}
}

// One whose other series was OK so long ago that it is forgotten, is.
func TestResolveWithAForgottenSeries(t *testing.T) {
	t.Parallel()
	r, _, c := aDisk(t)
	r.send(at(0, "id", "WARNING").grouped("g1"), at(5, "id", "CRITICAL").grouped("g2"), at(10, "id", "OK").grouped("g2"))
	r.send(at(200, "other", "CRITICAL"))
	if n := resolveAll(t, c); n != 2 {
		t.Errorf("%d alerts are resolved, want both", n)
	}
}

// Two series that make one alert are resolved together, and each knows it.
func TestResolveSharedAlert(t *testing.T) {
	t.Parallel()
	r, _, c := aDisk(t)
	r.point(at(0, "id", "CRITICAL").grouped("g1"))
	r.point(at(1, "id", "WARNING").grouped("g2"))
	r.h.Commit()
	if n := resolveAll(t, c); n != 1 {
		t.Errorf("%d alerts are resolved, want 1", n)
	}
	for _, p := range []pt{at(2, "id", "OK").grouped("g1"), at(3, "id", "OK").grouped("g2"), at(4, "id", "CRITICAL").grouped("g2")} {
		r.point(p)
	}
	r.h.Commit()
	var got []string
	for _, e := range queued(t, c) {
		got = append(got, e.Level)
	}
	if want := "CRITICAL WARNING OK CRITICAL"; strings.Join(got, " ") != want {
		t.Errorf("queued are %s, want %s", got, want)
	}
	if left := active(t, c); len(left) != 1 || len(left[0].Series) != 1 || left[0].Series[0].Group != "g2" {
		t.Errorf("active are %v, want the one that opened again", left)
	}
}

// Who looks into the outbox in the middle of a piece of input finds what was decided
// so far, and what they resolve there is resolved for the rest of it.
func TestResolveWithinAPiece(t *testing.T) {
	t.Parallel()
	r, _, c := aDisk(t)
	r.point(at(0, "id", "CRITICAL"))
	if found := active(t, c); len(found) != 1 {
		t.Fatalf("active are %v before Commit, want one", found)
	}
	if n := resolveAll(t, c); n != 1 {
		t.Errorf("%d alerts are resolved, want 1", n)
	}
	r.point(at(1, "id", "CRITICAL"))
	r.h.Commit()
	var got []string
	for _, e := range queued(t, c) {
		got = append(got, e.Level)
	}
	if want := "CRITICAL OK CRITICAL"; strings.Join(got, " ") != want {
		t.Errorf("queued are %s, want %s", got, want)
	}
}
