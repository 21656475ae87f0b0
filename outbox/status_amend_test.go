package outbox_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"bigpanda-udf/outbox"
)

// amendment tells that series that were told at a time are OK.
func amendment(alert string, time, was int64, series ...string) outbox.Amendment {
	a := outbox.Amendment{
		Change: outbox.Change{Alert: alert, AppKey: "x", Time: time, Level: "OK", Payload: fmt.Appendf(nil, `{"ok":%d}`, time)},
		Value:  fmt.Appendf(nil, "ok@%d", time),
	}
	for _, key := range series {
		a.Series = append(a.Series, outbox.AmendedSeries{Key: []byte(key), Was: was})
	}
	return a
}

// told are the levels that a control reads, sorted.
func told(t *testing.T, c *outbox.Control) []string {
	t.Helper()
	var texts []string
	err := c.Levels(t.Context(), func(l outbox.Level) { texts = append(texts, fmt.Sprintf("%q %d %s", l.Key, l.Time, l.Value)) })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(texts)
	return texts
}

// P5: what a person asks for is made as a whole or not at all, comes last, and
// is there after a restart.
func TestControlAmends(t *testing.T) {
	t.Parallel()
	for _, tt := range controlStates {
		t.Run(tt.name, func(t *testing.T) {
			d, c := openControlled(t, t.TempDir())
			d.Append([]outbox.Change{{Alert: "a", AppKey: "x", Time: 5, Payload: payload(0)}, {Alert: "a", AppKey: "x", Time: 6, Payload: payload(1)}},
				[]outbox.Level{{Key: "a\x00\xff", Time: 6, Value: []byte("v")}, {Key: "a2", Time: 6, Value: []byte("v")}, {Key: "b", Time: 7, Value: []byte("v")}})
			c = tt.prepare(t, d, c)
			for _, step := range []struct {
				name    string
				ask     []outbox.Amendment
				done    int
				changed string
				queued  string
				levels  []string
			}{
				{"a series that is as it was, and one that is not", []outbox.Amendment{amendment("a", 9, 6, "a\x00\xff", "a2"), amendment("b", 9, 6, "b")},
					1, "b", `{"n":0} {"n":1} {"ok":9}`, []string{`"a2" 9 ok@9`, `"a\x00\xff" 9 ok@9`, `"b" 7 v`}},
				{"once more, as the answer was lost", []outbox.Amendment{amendment("a", 9, 6, "a\x00\xff", "a2")},
					1, "", `{"n":0} {"n":1} {"ok":9}`, []string{`"a2" 9 ok@9`, `"a\x00\xff" 9 ok@9`, `"b" 7 v`}},
				{"once more, at another time", []outbox.Amendment{amendment("a", 10, 6, "a2")},
					0, "a", `{"n":0} {"n":1} {"ok":9}`, []string{`"a2" 9 ok@9`, `"a\x00\xff" 9 ok@9`, `"b" 7 v`}},
				{"one series of two has changed", []outbox.Amendment{amendment("a", 10, 7, "b", "a2")},
					0, "a", `{"n":0} {"n":1} {"ok":9}`, []string{`"a2" 9 ok@9`, `"a\x00\xff" 9 ok@9`, `"b" 7 v`}},
				{"a series that never was", []outbox.Amendment{amendment("n", 10, 0, "n")},
					0, "n", `{"n":0} {"n":1} {"ok":9}`, []string{`"a2" 9 ok@9`, `"a\x00\xff" 9 ok@9`, `"b" 7 v`}},
				{"nothing", nil, 0, "", `{"n":0} {"n":1} {"ok":9}`, []string{`"a2" 9 ok@9`, `"a\x00\xff" 9 ok@9`, `"b" 7 v`}},
			} {
				o, err := c.Amend(t.Context(), step.ask)
				if err != nil || o.Done != step.done || strings.Join(o.Changed, " ") != step.changed {
					t.Errorf("%s: %+v, %v", step.name, o, err)
				}
				queued, _ := listed(t, c)
				if got := payloadTexts(queued); got != step.queued {
					t.Errorf("%s: queued are %s, want %s", step.name, got, step.queued)
				}
				if got := told(t, c); !slices.Equal(got, step.levels) {
					t.Errorf("%s: the levels are %q, want %q", step.name, got, step.levels)
				}
				if ids := idsOf(queued); !slices.IsSorted(ids) {
					t.Errorf("%s: the IDs are %d", step.name, ids)
				}
			}
			if s := statusOf(t, c); s.Queued != 3 || s.Bytes != 7+7+8 {
				t.Errorf("the status is %+v", s)
			}
			if !tt.live {
				return
			}
			if got := take(t, d, 1); string(got[0].Payload) != `{"n":0}` {
				t.Errorf("the first to leave is %s", got[0].Payload)
			}
		})
	}
}

// Many are made in pieces, and read in pages.
func TestControlAmendsMany(t *testing.T) {
	t.Parallel()
	for _, tt := range controlStates[:2] {
		t.Run(tt.name, func(t *testing.T) {
			d, c := openControlled(t, t.TempDir())
			const many = 1300
			levels := make([]outbox.Level, many)
			var all []outbox.Amendment
			for i := range levels {
				levels[i] = outbox.Level{Key: fmt.Sprint(i), Time: 1, Value: []byte("v")}
				all = append(all, amendment(fmt.Sprint("alert", i), 2, 1, levels[i].Key))
			}
			// One that is more than a request otherwise holds.
			big := amendment("big", 2, 1)
			for i := range 5000 {
				l := outbox.Level{Key: fmt.Sprint("big", i, strings.Repeat("k", 300)), Time: 1, Value: []byte("v")}
				levels = append(levels, l)
				big.Series = append(big.Series, outbox.AmendedSeries{Key: []byte(l.Key), Was: 1})
			}
			d.Append(nil, levels)
			c = tt.prepare(t, d, c)
			all = slices.Insert(all, 700, big)
			if o, err := c.Amend(t.Context(), all); err != nil || o.Done != many+1 || len(o.Changed) != 0 {
				t.Errorf("%d are done, %d changed, %v", o.Done, len(o.Changed), err)
			}
			after := told(t, c)
			if n := len(slices.DeleteFunc(slices.Clone(after), func(text string) bool { return !strings.HasSuffix(text, " 2 ok@2") })); n != many+5000 || len(after) != n {
				t.Errorf("%d levels of %d are amended", n, len(after))
			}
			if s := statusOf(t, c); s.Queued != many+1 {
				t.Errorf("the status is %+v", s)
			}
		})
	}
}

// anOwner keeps levels as the function does.
type anOwner struct {
	mu     sync.Mutex
	levels map[string]int64
}

func (o *anOwner) Last(string) int64 { return 0 }
func (o *anOwner) Seen(string) int64 { return 77 }

func (o *anOwner) Turn(do func(outbox.Known) []outbox.Level) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range do(o) {
		o.levels[l.Key] = l.Time
	}
}

// Whoever has the levels in memory learns of each amendment.
func TestOwnerLearnsOfAmendments(t *testing.T) {
	t.Parallel()
	d, c := openControlled(t, t.TempDir())
	d.Append(nil, []outbox.Level{{Key: "a", Time: 1, Value: []byte("v")}})
	ask := func(time, was int64) {
		t.Helper()
		if o, err := c.Amend(t.Context(), []outbox.Amendment{amendment("a", time, was, "a")}); err != nil || o.Done != 1 {
			t.Errorf("%+v, %v", o, err)
		}
	}
	ask(2, 1) // nobody owns it
	owner := &anOwner{levels: make(map[string]int64)}
	d.Report(func() outbox.Delivery { // which an operation asks for before all else
		d.Own(owner)
		return outbox.Delivery{}
	})
	ask(3, 2)
	if owner.levels["a"] != 3 {
		t.Errorf("one has come meanwhile, and knows %v", owner.levels)
	}
	if o, err := c.Amend(t.Context(), []outbox.Amendment{amendment("a", 9, 1, "a")}); err != nil || o.Done != 0 || owner.levels["a"] != 3 {
		t.Errorf("what is not made is told: %+v, %v, %v", o, err, owner.levels)
	}
	var seen int64
	if err := c.Levels(t.Context(), func(l outbox.Level) { seen = l.Seen }); err != nil || seen != 77 {
		t.Errorf("the last point is said to have come at %d, %v", seen, err)
	}
}

// A process from before this was possible is not mistaken for a broken one.
func TestAmendOfAnOlderProgram(t *testing.T) {
	t.Parallel()
	d, c := openControlled(t, t.TempDir())
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", short)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(short, filepath.Join(c.Folder(), "control.sock")); err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(l)
	defer server.Close()
	_, err = c.Amend(t.Context(), []outbox.Amendment{amendment("a", 2, 1, "a")})
	if err == nil || !strings.HasSuffix(err.Error(), "the process that works on it is an older program, which does not know this: reload its task") {
		t.Error(err)
	}
}
