package outbox

import (
	"os"
	"strings"
	"testing"
	"time"
)

func open(key string, time int64) Level {
	return Level{Key: key, Time: time, Value: []byte("crit")}
}

// P5: a node's outbox is not removed by the numbered one of a process that
// outlives it: that one has its levels in memory only.
func TestNumberedOutboxLeavesTheNodesOwn(t *testing.T) {
	dir := memoryDir(t)
	first := openIn(t, dir)
	first.Append([]Change{aChange(1, "x")}, []Level{open("x", 1)})
	second := openIn(t, dir).adopted()
	first.close()
	second.adopt()
	second.want("x#1") // what it left is delivered
	second.close()
	if got := text(t, openIn(t, dir)); got != "x=crit" {
		t.Errorf("the next starts from %q", got)
	}
}

// P5: an edit of the TICKscript numbers a node anew, and back when it is taken
// back: each time what was told last is known, and what is queued leaves in
// order.
func TestNodeNumberedAnewAndBack(t *testing.T) {
	dir := memoryDir(t)
	was := openIn(t, dir, node("cpu", "bigpanda2")).adopted()
	was.Append([]Change{aChange(1, "x")}, []Level{open("x", 1), open("y", 1)})
	was.close()

	is := openIn(t, dir, node("cpu", "bigpanda3"))
	if got := text(t, is); got != "x=crit y=crit" {
		t.Errorf("the new number starts from %q", got)
	}
	is.adopted()
	is.Append([]Change{aChange(2, "x")}, []Level{{Key: "x", Time: 2, Value: []byte("ok")}})
	is.Append(nil, []Level{{Key: "x", Time: 2}}) // told long ago
	is.close()

	back := openIn(t, dir, node("cpu", "bigpanda2")).adopted()
	if got := text(t, back); got != "y=crit" {
		t.Errorf("the old number starts from %q", got)
	}
	back.put(3, "x")
	if got := payloadsOf(back.drain()); got != "x#1 x#2 x#3" {
		t.Errorf("delivered %s", got)
	}
	back.Append(nil, []Level{{Key: "y", Time: 3}, open("z", 4)})
	back.close()
	back = openIn(t, dir, node("cpu", "bigpanda2"))
	if got := text(t, back); got != "z=crit" {
		t.Errorf("after a restart it starts from %q", got)
	}
	back.close()
	again := openIn(t, dir, node("cpu", "bigpanda3"))
	if got := text(t, again); got != "z=crit" {
		t.Errorf("the new number starts again from %q", got)
	}
}

// The levels of a node that was numbered anew are those of one outbox alone: a
// person who looks at what is active sees each alert once.
func TestLevelsOfTheHeirCount(t *testing.T) {
	dir := memoryDir(t)
	was := openIn(t, dir, node("cpu", "bigpanda2")).adopted()
	was.Append([]Change{aChange(1, "x")}, []Level{open("x", 1)})
	was.Dead(was.next(1)[0].ID, 400, "no") // so that its folder stays
	was.close()
	is := openIn(t, dir, node("cpu", "bigpanda3")).adopted()
	var there []Level
	if err := NewControl(was.folder, nil).Levels(t.Context(), func(l Level) { there = append(there, l) }); err != nil || len(there) > 0 {
		t.Errorf("the old number still has %v, %v", there, err)
	}
	is.log.has(t, 0, "level=ERROR")
}

// P5: so do three numbers, and an edit while nothing was open.
func TestNodeNumberedAnewTwice(t *testing.T) {
	dir := memoryDir(t)
	was := openIn(t, dir, node("cpu", "bigpanda2")).adopted()
	was.put(1, "a")
	was.Dead(was.next(1)[0].ID, 400, "no") // so that its folder stays
	was.close()
	for _, number := range []string{"bigpanda3", "bigpanda4", "bigpanda2", "bigpanda2"} {
		r := openIn(t, dir, node("cpu", number))
		want := ""
		if number == "bigpanda2" {
			want = "x=crit"
		}
		if got := text(t, r); got != want {
			t.Errorf("%s starts from %q, want %q", number, got, want)
		}
		if number == "bigpanda4" {
			r.Append(nil, []Level{open("x", 1)})
		}
		r.close()
	}
}

// A node that begins late, since its first Init failed, has its levels still.
func TestNodeThatBeginsLate(t *testing.T) {
	dir := memoryDir(t)
	first := openIn(t, dir, node("cpu", "bigpanda2")).adopted()
	first.Append(nil, []Level{open("x", 1)})
	first.close()
	openIn(t, dir, node("cpu", "bigpanda3")) // added, and lives
	first = openIn(t, dir, node("cpu", "bigpanda2"))
	if got := text(t, first); got != "x=crit" {
		t.Errorf("it starts from %q", got)
	}
	var there int
	if err := NewControl(first.folder, nil).Levels(t.Context(), func(Level) { there++ }); err != nil || there != 1 {
		t.Errorf("a person sees %d levels, %v", there, err)
	}
}

// A second node that an edit adds begins with nothing: the first one's process
// starts at the same time, and has the levels.
func TestAddedNodeTakesNothing(t *testing.T) {
	dir := memoryDir(t)
	first := openIn(t, dir, node("cpu", "bigpanda2")).adopted()
	first.Append(nil, []Level{open("x", 1)})
	first.close()
	begun := make(chan *rig)
	go func() { begun <- openIn(t, dir, node("cpu", "bigpanda3")) }()
	first = openIn(t, dir, node("cpu", "bigpanda2"), func(o *Options) { o.Wait = time.Minute })
	second := <-begun
	if got := text(t, first); got != "x=crit" {
		t.Errorf("the first node starts from %q", got)
	}
	if _, isNew, err := readAll(second); text(t, second) != "" || !isNew || err != nil {
		t.Errorf("the second one starts from %q, new %v, %v", text(t, second), isNew, err)
	}
}

// A fault of an outbox's own file is not put down to the leftover that it is
// just taking over.
func TestOwnDamageSparesTheLeftover(t *testing.T) {
	dir := memoryDir(t)
	left := openIn(t, dir).adopted()
	left.put(1, "a", "b")
	left.close()
	r := openIn(t, dir, node("other", "bigpanda9")).adopted() // the first look
	if err := os.Truncate(r.path(), 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.adopt()
	}
	if got := r.Stats().Queued; got != 2 {
		t.Errorf("%d changes are queued, want 2", got)
	}
	if aside := files(t, dir, "cpu*/*.damaged-*"); len(aside) > 0 {
		t.Errorf("%v was sound", aside)
	}
}

// A leftover that cannot be written is left alone: its changes would come again
// at every look, behind newer ones.
func TestLeftoverThatCannotBeWritten(t *testing.T) {
	dir := memoryDir(t)
	r := openIn(t, dir, node("other", "bigpanda9")).adopted()
	left := openIn(t, dir).adopted()
	left.put(1, "a")
	left.close()
	r.adopt()
	writable := openFile
	defer func() { openFile = writable }()
	openFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		if strings.Contains(name, "cpu") {
			flag = os.O_RDONLY
		}
		return writable(name, flag, mode)
	}
	for range 3 {
		r.adopt()
		if got := r.Stats().Queued; got != 0 {
			t.Fatalf("%d changes were taken over", got)
		}
	}
	openFile = writable
	r.adopt()
	r.adopt()
	r.want("a#1")
}

// Of two levels of one series the later one stays, also while the disk has not
// taken it.
func TestOlderLevelOfALeftover(t *testing.T) {
	dir := memoryDir(t)
	first := openIn(t, dir)
	second := openIn(t, dir).adopted()
	second.Append(nil, []Level{open("x", 5)})
	first.Append(nil, []Level{{Key: "x", Time: 9, Value: []byte("ok")}})
	second.close()
	first.adopt()
	if got := text(t, first); got != "x=ok" {
		t.Errorf("the levels are %q", got)
	}
}

// P9 and its other side: after the token was changed in its file, whoever has
// the new one may take the outbox over.
func TestNewTokenIsNotedAtTheEnd(t *testing.T) {
	dir := memoryDir(t)
	token := "old"
	left := openIn(t, dir, node("cpu", "bigpanda2"), func(o *Options) {
		o.Fingerprint = func(key []byte) []byte { return fingerprint(token)(key) }
	}).adopted()
	left.put(1, "a")
	token = "new"
	left.close()
	r := openIn(t, dir, node("other", "bigpanda9"), func(o *Options) { o.Fingerprint = fingerprint("new") }).adopted()
	r.adopt()
	r.want("a#1")
}
