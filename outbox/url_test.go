package outbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/test"
)

func open(key string, time int64) Level {
	return Level{Key: key, Time: time, Value: []byte("crit")}
}

func goingTo(text string) func(*Options) { return func(o *Options) { o.URL = text } }

// text lists the levels of an outbox; ! is for those that are to be told again.
func text(t *testing.T, r *rig) string {
	t.Helper()
	levels, _, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range levels {
		again := ""
		if l.Again {
			again = "!"
		}
		all = append(all, fmt.Sprintf("%s=%s%s", l.Key, l.Value, again))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// P5: with another URL, what is queued goes there, and what is open is told again,
// also after kills: each level until it is.
func TestAnotherURL(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir, goingTo("http://127.0.0.1:8089/data/v2/alerts"))
	r.Append([]Change{aChange(1, "a")}, []Level{open("x", 1), open("y", 1), open("z", 1)})
	r.close()
	for range 2 {
		r = openIn(t, dir)
		if got := text(t, r); got != "x=crit! y=crit! z=crit!" {
			t.Errorf("the levels are %q", got)
		}
		r.close()
	}
	r = openIn(t, dir)
	r.log.has(t, 0, "another URL than before") // it was said
	r.Append(nil, []Level{{Key: "x", Time: 2, Value: []byte("warn")}, {Key: "y", Time: 2}})
	r.close()
	r = openIn(t, dir)
	if got := text(t, r); got != "x=warn z=crit!" {
		t.Errorf("after two were told, the levels are %q", got)
	}
	r.want("a#1")
}

// Another spelling is no other URL.
func TestSpellingOfAURL(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	const is = "https://api.bigpanda.io/data/v2/alerts"
	r := openIn(t, dir, goingTo(is))
	r.Append(nil, []Level{open("x", 1)})
	r.close()
	for spelling, same := range map[string]bool{
		"HTTPS://API.BigPanda.io/data/v2/alerts": true, is + "?": true, " " + is + " ": true, is + "#x": true,
		"https://api.bigpanda.io:443/data/v2/alerts": true, "http://api.bigpanda.io/data/v2/alerts": false,
		"https://eu.api.bigpanda.io/data/v2/alerts": false, "https://api.bigpanda.io/data/v2": false, "https://api.bigpanda.io:8443/data/v2/alerts": false,
	} {
		if (normalURL(spelling) == normalURL(is)) != same {
			t.Errorf("%q is %q", spelling, normalURL(spelling))
		}
		if !same {
			continue
		}
		r := openIn(t, dir, goingTo(spelling))
		if got := text(t, r); got != "x=crit" || r.log.count("another URL") > 0 {
			t.Errorf("%q: the levels are %q", spelling, got)
		}
		r.close()
	}
	if got := normalURL("https://user:secret@host/path?token=secret"); got != "https://host/path" { // P9
		t.Errorf("%q", got)
	}
}

// P5: an edit of the TICKscript numbers a node anew, and back when it is taken
// back: each time all is there, and leaves in order.
func TestNodeNumberedAnew(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir, node("cpu", "bigpanda2"))
	r.put(1, "dead")
	r.Dead(r.next(1)[0], 400, "no")
	for n, number := range []string{"bigpanda2", "bigpanda3", "bigpanda4", "bigpanda2"} {
		r.Append([]Change{aChange(n+1, "x")}, []Level{open(number, int64(n))})
		r.close()
		r = openIn(t, dir, node("cpu", number))
	}
	if got := text(t, r); got != "bigpanda2=crit bigpanda3=crit bigpanda4=crit" {
		t.Errorf("the levels are %q", got)
	}
	r.want("x#1 x#2 x#3 x#4")
	if s := r.Stats(); s.Dead != 1 || len(foldersIn(dir)) != 1 {
		t.Errorf("stats: %+v, folders %q", s, foldersIn(dir))
	}
	r.close()

	// Of several nobody knows which it is.
	other := openIn(t, dir, node("cpu", "bigpanda9"))
	if got := text(t, other); got != "bigpanda2=crit bigpanda3=crit bigpanda4=crit" {
		t.Errorf("the only one was not taken over: %q", got)
	}
	openIn(t, dir, node("cpu", "bigpanda10")).close()
	other.close()
	if got := text(t, openIn(t, dir, node("cpu", "bigpanda11"))); got != "" {
		t.Errorf("of two, one was taken over: %q", got)
	}
}

// A node that begins within the time that is given to it keeps what is its own.
func TestLateNodeKeepsItsFolder(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	own := openIn(t, dir, node("cpu", "bigpanda2"))
	own.Append(nil, []Level{open("x", 1)})
	own.close()
	added := make(chan *rig)
	go func() {
		added <- openIn(t, dir, node("cpu", "bigpanda5"), func(o *Options) { o.Times.Settle = time.Second })
	}()
	own = openIn(t, dir, node("cpu", "bigpanda2"), func(o *Options) { o.Wait = time.Second })
	if got := text(t, <-added); got != "" {
		t.Errorf("the added node has %q", got)
	}
	if got := text(t, own); got != "x=crit" {
		t.Errorf("the node has %q", got)
	}
}

// P4, P5: whatever becomes of the files under a live process, the log says so with
// the next commit, the status sees what is there, and nothing is lost by a kill.
func TestFilesChangeUnderALiveProcess(t *testing.T) {
	t.Parallel()
	remove := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(t *testing.T, folder string){
		"the database is deleted": func(t *testing.T, folder string) { remove(t, os.Remove(filepath.Join(folder, databaseName))) },
		"the folder is deleted":   func(t *testing.T, folder string) { remove(t, os.RemoveAll(folder)) },
		"all folders are":         func(t *testing.T, folder string) { remove(t, os.RemoveAll(filepath.Dir(folder))) },
		"the folder is moved": func(t *testing.T, folder string) {
			remove(t, os.Rename(folder, filepath.Join(filepath.Dir(folder), "elsewhere")))
		},
		"a backup is restored over it": func(t *testing.T, folder string) {
			b, err := os.ReadFile(filepath.Join(folder, databaseName))
			path := filepath.Join(folder, databaseName)
			remove(t, errors.Join(err, os.WriteFile(path+".new", b, 0o600), os.Rename(path+".new", path)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(test.MemoryDir(t), "outbox")
			r := openIn(t, dir)
			r.Append([]Change{aChange(1, "a"), aChange(1, "b")}, []Level{open("x", 1)})
			folder := r.folder
			change(t, folder)
			r.Append([]Change{aChange(2, "a")}, []Level{open("y", 2)})
			r.log.has(t, 1, "was deleted, moved or replaced while it is in use")
			if s, err := NewControl(folder, nil).Status(t.Context()); err != nil || s.Queued != 3 || s.Process != os.Getpid() {
				t.Errorf("the status is %+v, %v", s, err)
			}
			// A kill: what is on disk now is what the next one has.
			killed := filepath.Join(test.MemoryDir(t), "outbox")
			if out, err := exec.Command("cp", "-a", dir, killed).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			next := openIn(t, killed)
			if got := text(t, next); got != "x=crit y=crit" {
				t.Errorf("the levels are %q", got)
			}
			if got := payloadsOf(next.drain()); got != "a#1 b#1 a#2" {
				t.Errorf("queued were %s", got)
			}
			r.put(3, "a")
			r.log.has(t, 1, "was deleted, moved or replaced while it is in use")
			if got := payloadsOf(r.drain()); got != "a#1 b#1 a#2 a#3" {
				t.Errorf("delivered %s", got)
			}
		})
	}
}

// P5: a second process of a use knows what the first has told, tells all of it
// again, and what the two have told is together in the end, the later of each
// series.
func TestSecondProcessOfAUse(t *testing.T) {
	t.Parallel()
	put := func(key string, time int64, value string) Level {
		return Level{Key: key, Time: time, Value: []byte(value)}
	}
	forget := func(key string, time int64) Level { return Level{Key: key, Time: time} }
	for _, tt := range []struct {
		name                  string
		before, first, second []Level // appended by the first alone, then by both
		want                  string
	}{
		{"nothing changes", []Level{put("a", 1, "crit")}, nil, nil, "a=crit"},
		{"the first resolves", []Level{put("a", 1, "crit")}, []Level{put("a", 2, "ok")}, nil, "a=ok"},
		{"the first resolves and forgets", []Level{put("a", 1, "crit")}, []Level{put("a", 2, "ok"), forget("a", 2)}, nil, ""},
		{"the second resolves", []Level{put("a", 1, "crit")}, nil, []Level{put("a", 2, "ok")}, "a=ok"},
		{"the second resolves and forgets", []Level{put("a", 1, "crit")}, nil, []Level{put("a", 2, "ok"), forget("a", 2)}, ""},
		{"the second opens", nil, nil, []Level{put("b", 1, "crit")}, "b=crit"},
		{"the later change wins", []Level{put("a", 1, "crit")}, []Level{put("a", 3, "warn")}, []Level{put("a", 2, "ok")}, "a=warn"},
		{"opened again after it was forgotten", []Level{put("a", 1, "crit")}, []Level{put("a", 3, "crit")}, []Level{put("a", 2, "ok"), forget("a", 2)}, "a=crit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := test.MemoryDir(t)
			first := openIn(t, dir)
			first.Append(nil, tt.before)
			second := openIn(t, dir)
			want := ""
			if len(tt.before) > 0 {
				want = "a=crit!"
			}
			if got := text(t, second); got != want {
				t.Errorf("the second starts from %q, want %q", got, want)
			}
			if _, isNew, _ := readAll(second); isNew {
				t.Error("it takes the levels of a snapshot, which is stale")
			}
			first.Append(nil, tt.first)
			second.Append([]Change{aChange(1, "z")}, tt.second)
			first.close()
			// While the second lives, all is told again.
			again := openIn(t, dir)
			if got := text(t, again); len(strings.Fields(got)) != strings.Count(got, "!") {
				t.Errorf("while the other works, it starts from %q", got)
			}
			again.close()
			second.close()
			last := openIn(t, dir)
			if got := text(t, last); got != tt.want {
				t.Errorf("the next starts from %q, want %q", got, tt.want)
			}
			last.adopted().want("z#1")
			if left := files(t, dir, "*~*"); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// P5: levels that are left behind are marked, come back to their owner, and expire.
func TestOrphansLevels(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	now := time.Unix(1_800_000_000, 0)
	clock := func(o *Options) { o.Now = func() time.Time { return now } }
	gone := openIn(t, dir, node("disk", "bigpanda2"), clock)
	gone.Append([]Change{aChange(1, "a")}, []Level{open("x", 1)})
	gone.close()
	r := openIn(t, dir, clock).adoptAll()
	r.want("a#1")
	behind := func() time.Time {
		s, err := NewControl(gone.folder, nil).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.LeftBehind
	}
	if got := behind(); !got.Equal(now) {
		t.Errorf("left behind at %v", got)
	}
	back := openIn(t, dir, node("disk", "bigpanda2"), clock)
	if got := text(t, back); got != "x=crit" || !behind().IsZero() {
		t.Errorf("its owner has %q, left behind at %v", got, behind())
	}
	back.close()
	r.adoptAll()
	now = now.Add(maxOrphanAge + time.Hour)
	r.adoptAll()
	if _, err := os.Stat(gone.folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// An owner that returns while its queue is moved has its folder soon.
func TestOwnerReturnsWhileItsQueueIsMoved(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	gone := openIn(t, dir, node("disk", "bigpanda2"))
	var changes []Change
	for n := range 20_000 {
		changes = append(changes, aChange(n/1000+1, fmt.Sprint("alert", n%1000)))
	}
	gone.Append(changes, nil)
	gone.close()
	r := openIn(t, dir, func(o *Options) { o.Times.Rest = 30 * time.Millisecond }).adopted()
	r.look(t.Context())
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		r.look(t.Context())
	}()
	until(t, "the move has begun", func() bool { return r.Stats().Queued > 0 })
	back := openIn(t, dir, node("disk", "bigpanda2"), func(o *Options) { o.Wait = 20 * time.Second })
	<-looked
	if back.folder != gone.folder {
		t.Errorf("its owner works in %s", back.folder)
	}
	all := slices.Concat(r.drain(), back.drain())
	inOrder(t, all)
	if len(all) != len(changes) {
		t.Errorf("%d changes are delivered, of %d", len(all), len(changes))
	}
}
