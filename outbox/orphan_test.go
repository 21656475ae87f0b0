package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/test"

	bolt "go.etcd.io/bbolt"
)

func TestOneProcessForEachFolder(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	first := openIn(t, dir)
	second := openIn(t, dir)
	third := openIn(t, dir)
	base := first.folder
	if second.folder != base+"~2" || third.folder != base+"~3" {
		t.Errorf("folders %s, %s, %s", base, second.folder, third.folder)
	}
	first.adopted() // who looks there has the folder for a moment
	third.adopted()
	second.close()
	if again := openIn(t, dir); again.folder != base+"~2" {
		t.Errorf("folder %s", again.folder)
	}
	if other := openIn(t, dir, node("cpu", "bigpanda3")); other.folder == base || filepath.Dir(other.folder) != dir {
		t.Errorf("another node has folder %s", other.folder)
	}
}

func TestWaitForAPredecessor(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	tests := []struct {
		name  string
		leave time.Duration
		wait  time.Duration
		want  string
	}{
		{"that leaves in time", 50 * time.Millisecond, time.Minute, ""},
		{"that stays", 0, 100 * time.Millisecond, "~2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first := openIn(t, dir)
			first.put(1, "a")
			if tt.leave > 0 {
				time.AfterFunc(tt.leave, func() { first.Close() })
			}
			second := openIn(t, dir, func(o *Options) { o.Wait = tt.wait })
			if second.folder != first.folder+tt.want {
				t.Errorf("folder %s, and the first has %s", second.folder, first.folder)
			}
			second.close()
			first.close()
		})
	}
}

// What a process that is gone has left behind is delivered by another with the
// same URL and token, or for the same task and node; by nobody else; and not
// while its own process lives (P5).
func TestWhoAdopts(t *testing.T) {
	t.Parallel()
	url := func(o *Options) { o.URL = "https://elsewhere/" }
	token := func(o *Options) { o.Fingerprint = fingerprint("another") }
	numbered := func(*Options) {}
	tests := []struct {
		name    string
		leaver  []func(*Options)
		adopter []func(*Options)
		want    string // in the log; "": nobody
	}{
		{"another node of the task", nil, []func(*Options){node("cpu", "bigpanda3")}, "is this one's now"},
		{"another task", nil, []func(*Options){node("disk", "bigpanda2")}, "took over"},
		{"a numbered folder of the same node", []func(*Options){numbered}, nil, "took over"},
		{"the same node with another token", []func(*Options){numbered}, []func(*Options){token}, "took over"},
		{"another node with another token", nil, []func(*Options){node("cpu", "bigpanda3"), token}, ""},
		{"another URL", nil, []func(*Options){url}, "another URL than before"},
		{"another task with another URL", nil, []func(*Options){node("disk", "bigpanda2"), url}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := test.MemoryDir(t)
			var first *rig
			if len(tt.leaver) > 0 { // something must have the first folder meanwhile
				first = openIn(t, dir, tt.leaver...)
			}
			leaver := openIn(t, dir, tt.leaver...).adopted()
			live := openIn(t, dir, node("live", "bigpanda9")).adopted()
			leaver.put(1, "a")
			live.put(1, "its own")
			leaver.close()
			if first != nil {
				first.close()
			}
			adopter := openIn(t, dir, tt.adopter...)
			adopter.put(2, "a", "b") // before it has looked
			all := adopter.adoptAll().drain()
			inOrder(t, all)
			want := "a#2 b#2"
			if tt.want != "" {
				want = "a#1 " + want
				adopter.log.has(t, 1, tt.want)
			}
			if got := payloadsOf(all); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			adopter.log.has(t, 0, "level=ERROR")
			if _, err := os.Stat(leaver.folder); (err == nil) != (tt.want == "" || leaver.folder == adopter.folder) {
				t.Errorf("the folder is there: %v", err == nil)
			}
			live.want("its own#1")
		})
	}
}

// adoptAll looks for orphans as often as an outbox does in some minutes.
func (r *rig) adoptAll() *rig {
	r.t.Helper()
	r.adopted()
	for range 2 {
		r.look(r.t.Context())
	}
	return r
}

// Of several orphans all changes come in their order, before newer ones of
// the same alerts, also when those are in flight already (P5).
func TestOrphansInOrder(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	now := time.Unix(1_800_000_000, 0)
	clock := func(o *Options) { o.Now = func() time.Time { return now } }
	var leavers []*rig
	for i := range 3 {
		leavers = append(leavers, openIn(t, dir, node("cpu", fmt.Sprint("node", i)), clock).adopted())
	}
	n := 0
	for range 700 {
		for _, i := range []int{2, 0, 1} {
			n++
			now = now.Add(time.Second)
			leavers[i].put(n, "a", "x/b", fmt.Sprint("c", i))
		}
	}
	adopter := openIn(t, dir, clock).small(40, 4).adopted()
	now = now.Add(time.Second)
	adopter.put(10_000, "a", "a")
	for n := range 100 {
		adopter.put(10_001+n, "x/b", "d")
	}
	inFlight := adopter.next(1)
	for _, l := range leavers {
		l.close()
	}
	adopter.adoptAll()
	adopter.Release(idsOf(inFlight)...)
	all := adopter.drain()
	for alert, times := range byAlert(all) {
		if !slices.IsSorted(times) {
			t.Errorf("alert %s: out of order, of %d", alert, len(times))
		}
	}
	if want := 3*700*3 + 2 + 200; len(all) != want {
		t.Errorf("%d changes have left, want %d", len(all), want)
	}
	if got := foldersIn(dir); len(got) != 1 {
		t.Errorf("folders %q", got)
	}
	if s := adopter.Stats(); s != (Stats{}) {
		t.Errorf("stats: %+v", s)
	}
}

func byAlert(changes []Change) map[string][]int64 {
	all := make(map[string][]int64)
	for _, c := range changes {
		all[c.Alert] = append(all[c.Alert], c.Time)
	}
	return all
}

// A process that was killed between the two commits of a piece has left it in
// both: it counts once (P5).
func TestTakenOverTwice(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	leaver := openIn(t, dir, node("cpu", "gone"))
	changes := leaver.put(1, "a", "b", "x/c")
	leaver.close()
	r := openIn(t, filepath.Join(dir, "elsewhere")).adopted()
	for range 2 {
		if err := r.worker.insert(changes); err != nil {
			t.Fatal(err)
		}
	}
	inFlight := r.next(1)
	if err := r.worker.insert(changes); err != nil {
		t.Fatal(err)
	}
	r.Release(idsOf(inFlight)...)
	if s := r.Stats(); s != (Stats{Queued: 3}) {
		t.Errorf("stats: %+v", s)
	}
	if got := payloadsOf(r.drain()); got != "a#1 b#1 x/c#1" {
		t.Errorf("got %s", got)
	}
	if s := r.Stats(); s != (Stats{}) {
		t.Errorf("stats: %+v", s)
	}
}

// A orphan goes when nothing of worth is in it.
func TestWhatStays(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		leave func(t *testing.T, r *rig)
		stays bool
	}{
		{"nothing", func(*testing.T, *rig) {}, false},
		{"delivered changes", func(_ *testing.T, r *rig) { r.put(1, "a"); r.want("a#1") }, false},
		{"a socket and a half copy", func(t *testing.T, r *rig) {
			if err := os.WriteFile(r.store.path()+compacting, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"levels of another node", func(_ *testing.T, r *rig) { r.Append(nil, []Level{{Key: "s", Value: []byte("v")}}) }, true},
		{"a dead letter", func(_ *testing.T, r *rig) { r.put(1, "a"); r.Dead(r.next(1)[0], 400, "no") }, true},
		{"a damaged change", func(t *testing.T, r *rig) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.store.update(func(tx *bolt.Tx) error {
				b, err := tx.Bucket(bucketQueue).CreateBucket([]byte("k"))
				return errors.Join(err, b.Put(boltfile.EncodeID(1), []byte("damaged")))
			})
		}, true},
		{"a file of somebody else", func(t *testing.T, r *rig) {
			if err := os.WriteFile(filepath.Join(r.folder, "notes"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a file that was put aside", func(t *testing.T, r *rig) {
			if err := os.WriteFile(r.store.path()+".damaged-1", nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := test.MemoryDir(t)
			leaver := openIn(t, dir, node("cpu", "gone")).adopted()
			tt.leave(t, leaver)
			before := files(t, leaver.folder, "*")
			leaver.close()
			r := openIn(t, dir, node("disk", "bigpanda2")).adoptAll()
			r.log.has(t, 0, "level=ERROR")
			if left := files(t, leaver.folder, "*"); (len(left) > 0) != tt.stays {
				t.Errorf("left of %q: %q", before, left)
			}
		})
	}
}

// A orphan that cannot be read is put aside, once, and holds up nothing.
func TestDamagedOrphan(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "not a database"} {
		dir := test.MemoryDir(t)
		leaver := openIn(t, dir, node("cpu", "gone"))
		leaver.close()
		if err := os.WriteFile(leaver.store.path(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		r := openIn(t, dir).adopted()
		r.look(t.Context())
		aside := files(t, leaver.folder, "*damaged*")
		if len(aside) != 1 {
			t.Fatalf("aside are %q", aside)
		}
		r.log.has(t, 1, "level=ERROR")
		r.log.has(t, 1, aside[0])
		if b, err := os.ReadFile(aside[0]); err != nil || string(b) != content {
			t.Errorf("aside is %q, %v", b, err)
		}
		r.put(1, "a")
		r.want("a#1")
	}
}

// The folders of others are nobody's to touch.
func TestForeignFolders(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	for _, name := range []string{"mine/notes.txt", "lost+found/x", "plain"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	r := openIn(t, dir).adopted()
	r.log.has(t, 0, "level=")
	var names []string
	for _, pattern := range []string{"*", "*/*"} {
		for _, f := range files(t, dir, pattern) {
			if name, _ := filepath.Rel(dir, f); !strings.HasPrefix(name, "cpu_") {
				names = append(names, name)
			}
		}
	}
	if want := []string{"lost+found", "mine", "plain", "lost+found/x", "mine/notes.txt"}; !slices.Equal(names, want) {
		t.Errorf("left are %q", names)
	}
}
