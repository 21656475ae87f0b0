package outbox

import (
	"os"
	"testing"

	"bigpanda-udf/test"
)

// A file that is written over in place is another one: what it holds counts, and
// what is open in it is told again.
func TestOverwrittenInPlace(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.Append([]Change{aChange(1, "a")}, []Level{open("x", 1)})
	backup, err := os.ReadFile(r.store.path())
	if err != nil {
		t.Fatal(err)
	}
	r.Append([]Change{aChange(2, "a")}, []Level{{Key: "x", Time: 2, Value: []byte("ok")}})
	r.drain()
	f, err := os.OpenFile(r.store.path(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(backup); err != nil {
		t.Fatal(err)
	}
	f.Close()
	r.Append([]Change{aChange(3, "a")}, []Level{open("y", 3)})
	r.log.has(t, 1, "was overwritten while it is in use")
	if got := payloadsOf(r.drain()); got != "a#1 a#3" {
		t.Errorf("delivered %s", got)
	}
	r.close()
	if got := text(t, openIn(t, dir)); got != "x=crit! y=crit" {
		t.Errorf("the next one has %q", got)
	}
}

// That goes for another outbox's file, as cp writes it, also when its newest
// transaction has the number that the next one here would follow.
func TestOverwrittenByAnother(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r, other := openIn(t, dir).adopted(), openIn(t, test.MemoryDir(t), node("disk", "bigpanda2")).adopted()
	r.put(1, "a")
	other.put(1, "b")
	for r.store.begun.last != other.store.begun.last {
		behind := r
		if other.store.begun.last < r.store.begun.last {
			behind = other
		}
		behind.Append(nil, nil)
	}
	b, err := os.ReadFile(other.store.path())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.store.path(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	r.put(2, "a")
	r.log.has(t, 1, "was overwritten while it is in use")
	r.close()
	r = openIn(t, dir)
	if got := payloadsOf(r.drain()); got != "b#1 a#2" {
		t.Errorf("delivered %s", got)
	}
}
