package outbox

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/test"
)

// A file that a storm has blown up shrinks once it is drained, and holds what
// it held.
func TestFileShrinks(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir, leaping)
	var levels []Level
	for n := range 1000 {
		levels = append(levels, Level{Key: fmt.Sprint("series", n), Time: int64(n), Value: []byte("v")})
	}
	r.Append(nil, levels)
	var changes []Change
	many := test.Volume(60_000, 12_000)
	padding := strings.Repeat(".", 7_200_000/many)
	for n := range many {
		c := aChange(n/1000+1, fmt.Sprint("alert", n%1000))
		c.Payload = append(c.Payload, padding...)
		changes = append(changes, c)
	}
	r.Append(changes, nil)
	r.put(1, "refused")
	blown := fileSize(t, r.store.path())
	if blown < 8<<20 {
		t.Fatalf("the file has %d bytes", blown)
	}
	var all []Change
	for r.Stats().Queued > 0 {
		got := r.next(1000)
		if c := got[len(got)-1]; c.Alert == "refused" {
			r.Dead(c, 400, "no")
			got = got[:len(got)-1]
		}
		r.ack(got)
		all = append(all, got...)
	}
	inOrder(t, all)
	left := fileSize(t, r.store.path())
	t.Logf("the file had %d bytes, and has %d", blown, left)
	if left > 2<<20 {
		t.Errorf("the file had %d bytes, and still has %d", blown, left)
	}
	r.put(2, "a")
	r.close()
	// A crash in the middle has left a half of one.
	if err := os.WriteFile(r.store.path()+compacting, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = openIn(t, dir)
	r.log.has(t, 0, "level=ERROR")
	got, isNew, err := readAll(r)
	if err != nil || isNew || len(got) != 1000 {
		t.Errorf("%d levels, new %v, %v", len(got), isNew, err)
	}
	if letters := r.letters(); len(letters) != 1 || letters[0].Alert != "refused" {
		t.Errorf("dead letters: %+v", letters)
	}
	last := all[len(all)-1].ID
	for _, c := range r.drain() {
		if c.ID <= last || string(c.Payload) != "a#2" {
			t.Errorf("got %+v after %d", c, last)
		}
	}
	// The half is in the way of nothing.
	r.mu.Lock()
	err = r.store.writeAnew()
	r.mu.Unlock()
	if err != nil {
		t.Error(err)
	}
}

// One that was left large is made smaller by the next start.
func TestFileShrinksAtOpen(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir, leaping)
	var changes []Change
	for n := range 5_000 {
		changes = append(changes, sized(n+1, "a", 1_600))
	}
	r.Append(changes, nil)
	r.mu.Lock()
	for _, c := range changes {
		r.pending.done[c.ID] = c.AppKey
	}
	r.queued, r.bytes = 0, 0
	err := r.commit(nil, nil) // and dies before it compacts
	r.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	blown := fileSize(t, r.store.path())
	r = openIn(t, dir)
	if left := fileSize(t, r.store.path()); blown < 5<<20 || left > 1<<20 {
		t.Errorf("the file had %d bytes, and has %d", blown, left)
	}
}

// A copy that fails leaves all as it was, and is not tried again at once.
func TestCompactingFails(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir, leaping)
	if err := os.MkdirAll(r.store.path()+compacting+"/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	var changes []Change
	for n := range 5_000 {
		changes = append(changes, sized(n+1, "a", 1_600))
	}
	r.Append(changes, nil)
	if all := r.drain(); len(all) != len(changes) {
		t.Errorf("%d of %d have left", len(all), len(changes))
	}
	r.log.has(t, 1, "the outbox cannot be made smaller")
	r.put(1, "b")
	r.want("b#1")
}

// leaping is a clock by which every call comes long after the one before.
func leaping(o *Options) {
	now := time.Now().UnixNano()
	o.Now = func() time.Time { return time.Unix(0, atomic.AddInt64(&now, int64(2*compactQuiet))) }
}

// A point that comes with a change does not wait for it: the file is made
// smaller when there is a pause.
func TestNoShrinkingBetweenChanges(t *testing.T) {
	now := time.Now()
	r := openIn(t, test.MemoryDir(t), func(o *Options) { o.Now = func() time.Time { return now } })
	var changes []Change
	for n := range 5_000 {
		changes = append(changes, sized(n+1, "a", 1_600))
	}
	r.Append(changes, nil)
	r.drain()
	blown := fileSize(t, r.store.path())
	if blown < 5<<20 {
		t.Errorf("the file has %d bytes already", blown)
	}
	now = now.Add(compactQuiet)
	r.mu.Lock()
	r.store.compact()
	r.mu.Unlock()
	if left := fileSize(t, r.store.path()); left > 1<<20 {
		t.Errorf("the file had %d bytes, and has %d", blown, left)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
