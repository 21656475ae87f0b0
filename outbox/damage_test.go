package outbox

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/test"

	bolt "go.etcd.io/bbolt"
)

// A database that cannot be read is put aside, never deleted; the function
// starts, and the log names the file (P1).
func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	page := os.Getpagesize()
	tests := []struct {
		name   string
		damage func(t *testing.T, b []byte) []byte
	}{
		{"cut in half", func(_ *testing.T, b []byte) []byte { return b[:10*page] }},
		{"cut to one page", func(_ *testing.T, b []byte) []byte { return b[:page] }},
		{"cut within a page", func(_ *testing.T, b []byte) []byte { return b[:100] }},
		{"empty", func(*testing.T, []byte) []byte { return nil }},
		{"both meta pages flipped", func(_ *testing.T, b []byte) []byte {
			b[30] ^= 1
			b[page+30] ^= 1
			return b
		}},
		{"all but the meta pages flipped", func(_ *testing.T, b []byte) []byte {
			for i := 2 * page; i < len(b); i++ {
				b[i] ^= 0x55
			}
			return b
		}},
		{"zeros", func(_ *testing.T, b []byte) []byte { return make([]byte, len(b)) }},
		{"a short text", func(*testing.T, []byte) []byte { return []byte("to do: buy milk\n") }},
		{"a long text", func(*testing.T, []byte) []byte { return bytes.Repeat([]byte("to do: buy milk\n"), 10_000) }},
		{"SQLite", func(*testing.T, []byte) []byte {
			return append([]byte("SQLite format 3\x00\x10\x00\x01\x01"), make([]byte, 3*page)...)
		}},
		{"another program's bbolt", func(t *testing.T, _ []byte) []byte { return foreign(t, "users") }},
		{"another program's bbolt, with a bucket of that name", func(t *testing.T, _ []byte) []byte { return foreign(t, "meta") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := test.MemoryDir(t)
			r := openIn(t, dir)
			r.Append(nil, []Level{{Key: "s", Time: 1, Value: []byte("v")}})
			for n := range 200 {
				c := aChange(n+1, "a")
				c.Payload = append(c.Payload, strings.Repeat(".", 600)...)
				r.Append([]Change{c}, nil)
			}
			path := r.store.path()
			r.close()
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := tt.damage(t, whole)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}

			r = openIn(t, dir)
			aside := files(t, filepath.Dir(path), "outbox.db.damaged-*")
			if len(aside) != 1 {
				t.Fatalf("aside are %q", aside)
			}
			r.log.has(t, 1, "level=ERROR")
			r.log.has(t, 1, "file="+aside[0])
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, damaged) {
				t.Errorf("what is aside has changed, or: %v", err)
			}
			if levels, isNew, err := readAll(r); len(levels) != 0 || !isNew || err != nil {
				t.Errorf("levels: %v, new %v, %v", levels, isNew, err)
			}
			r.put(1, "b")
			r.want("b#1")
			r.close()

			r = openIn(t, dir) // is sound now
			r.log.has(t, 0, "level=ERROR")
			if again := files(t, filepath.Dir(path), "*damaged*"); len(again) != 1 {
				t.Errorf("aside are %q", again)
			}
		})
	}
}

// foreign is a bbolt database with one bucket, in which not all is numbers.
func foreign(t *testing.T, bucket string) []byte {
	path := filepath.Join(t.TempDir(), "foreign.db")
	inspect(t, path, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		if err != nil {
			return err
		}
		return b.Put([]byte("version"), []byte("v1"))
	})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bbolt itself survives one of its two meta pages.
func TestOneMetaPage(t *testing.T) {
	t.Parallel()
	for n := range 2 {
		dir := test.MemoryDir(t)
		r := openIn(t, dir)
		r.put(1, "a")
		r.put(2, "a")
		r.close()
		flip(t, r.store.path(), int64(n*os.Getpagesize()+30))
		r = openIn(t, dir)
		r.log.has(t, 0, "moved aside")
		if got := payloadsOf(r.drain()); !strings.HasPrefix(got, "a#1") {
			t.Errorf("got %s", got)
		}
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x04
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A change whose record is damaged is a dead letter, and the others are
// delivered; a level that is damaged is forgotten (P5).
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a", "b", "x/c")
	r.put(2, "a", "b", "x/c")
	r.Append(nil, []Level{{Key: "one", Time: 1, Value: []byte("first value")}, {Key: "two", Time: 1, Value: []byte("second value")}})
	path := r.store.path()
	r.close()
	for _, text := range []string{"a#2", "b#1", "x/c#1", "second value"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; ; at++ { // freed pages have it, too
			next := bytes.Index(b[at:], []byte(text))
			if next < 0 {
				break
			}
			at += next
			flip(t, path, int64(at))
		}
	}
	// The header of one, so that not even its alert can be read.
	inspect(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketQueue).Bucket([]byte("x"))
		k, v := b.Cursor().Last()
		return b.Put(bytes.Clone(k), append(bytes.Clone(v[:12]), 0xff, 0xff))
	})
	r = openIn(t, dir)
	all := r.drain()
	if got := payloadsOf(all); got != "a#1 b#2" {
		t.Errorf("got %s", got)
	}
	if s := r.Stats(); s != (Stats{Dead: 4}) {
		t.Errorf("stats: %+v", s)
	}
	r.log.has(t, 4, "a queued change cannot be read")
	levels, _, err := readAll(r)
	if err != nil || len(levels) != 1 || levels[0].Key != "one" {
		t.Errorf("levels: %v, %v", levels, err)
	}
	r.close()
	r = openIn(t, dir)
	if s := r.Stats(); s != (Stats{Dead: 4}) {
		t.Errorf("stats after a start: %+v", s)
	}
	r.log.has(t, 0, "level=ERROR")
}

// Whatever bit of a database is flipped, but for those of a page's length: the function starts, nothing that
// was not appended is delivered, and all that comes after it is (P1, P5).
func TestAnyFlippedBit(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	sound := make(map[string]string)
	for n := range 60 {
		c := aChange(n+1, fmt.Sprintf("%d/%d", n%2, n%7))
		c.Payload = append(c.Payload, strings.Repeat(".", 50*(n%9))...)
		sound[string(c.Payload)] = c.Alert
		r.Append([]Change{c}, []Level{{Key: fmt.Sprint("s", n%20), Time: int64(n), Value: []byte("v")}})
	}
	r.ack(r.next(10))
	inFlight := r.next(1)
	r.Dead(inFlight[0], 400, "no")
	small := filepath.Join(dir, "small.db")
	if err := r.copyTo(small); err != nil { // no byte in it means nothing
		t.Fatal(err)
	}
	path := r.store.path()
	r.close()
	whole, err := os.ReadFile(small)
	if err != nil {
		t.Fatal(err)
	}
	asides := 0
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range rounds(300, test.Volume(60, 8)) {
		b := bytes.Clone(whole)
		what := ""
		for range 1 + rnd.IntN(3) {
			at := rnd.IntN(len(b))
			if rnd.IntN(2) == 0 {
				at = at/4096*4096 + rnd.IntN(64) // where pages begin
			}
			if at%4096/4 == 3 {
				continue // how long a page is: bbolt believes any number, and counts up to it
			}
			bit := byte(1 << rnd.IntN(8))
			what += fmt.Sprintf("%d^%x ", at, bit)
			b[at] ^= bit
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := openIn(t, dir)
		readAll(r)
		for _, c := range r.lookThrough() {
			if sound[string(c.Payload)] != c.Alert {
				t.Errorf("round %d (%s): got %+v", round, what, c)
			}
		}
		r.put(1000, "late", "0/0", "x/late")
		var late []Change
		for len(late) < 3 {
			got := r.next(100)
			r.Ack(idsOf(got)...)
			late = append(late, got...)
		}
		if inOrder(t, late); len(late) != 3 {
			t.Fatalf("round %d (%s): %s", round, what, payloadsOf(late))
		}
		if err := r.Close(); err != nil {
			t.Fatalf("round %d (%s): %v", round, what, err)
		}
		asides += len(files(t, filepath.Dir(path), "*.damaged-*"))
		for _, name := range files(t, filepath.Dir(path), "*db*") {
			os.Remove(name)
		}
	}
	t.Logf("in %d rounds the file was put aside", asides)
}

// lookThrough delivers all that can be read of what may be damaged, and returns
// it.
func (r *rig) lookThrough() (all []Change) {
	r.adopted()
	until(r.t, "the outbox has found all that there is", func() bool {
		ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Millisecond)
		defer cancel()
		if got, err := r.Next(ctx, 100, nil); err == nil {
			r.Ack(idsOf(got)...) // the error is of the damage
			all = append(all, got...)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.isEmpty()
	})
	return all
}

// What the file becomes while it is open does not stop the function, and what
// comes after that was noticed is delivered (P1).
func TestDamageWhileOpen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(path string, size int64) error
	}{
		{"cut in half", func(path string, size int64) error { return os.Truncate(path, size/4096/2*4096) }},
		{"cut to nothing", func(path string, _ int64) error { return os.Truncate(path, 0) }},
		{"written over", func(path string, size int64) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write(bytes.Repeat([]byte{0xa5}, int(size)))
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := test.MemoryDir(t)
			r := openIn(t, dir)
			for n := range 300 {
				c := aChange(n+1, fmt.Sprint("alert", n%10))
				c.Payload = append(c.Payload, strings.Repeat(".", 5000)...)
				r.Append([]Change{c}, nil)
			}
			inFlight := r.next(10)
			info, err := os.Stat(r.store.path())
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(r.store.path(), info.Size()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r.Ack(idsOf(inFlight)...)
			r.Release(idsOf(inFlight)...)
			r.lookThrough() // comes upon it at the latest
			r.put(1000, "new")
			got := r.next(10)
			if payloadsOf(got) != "new#1000" {
				t.Errorf("got %s", payloadsOf(got))
			}
			r.Ack(idsOf(got)...)
			if took := time.Since(began); took > test.Patient {
				t.Errorf("that took %v", took)
			}
			aside := files(t, r.folder, "outbox.db.damaged-*")
			if len(aside) != 1 || r.log.count(aside[0]) == 0 {
				t.Errorf("aside are %q", aside)
			}
			r.close()
			r = openIn(t, dir)
			r.put(1001, "new")
			r.want("new#1001")
		})
	}
}

// A fault of this program puts no file aside.
func TestPanicIsNoDamage(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a")
	r.mu.Lock()
	err := r.store.view(func(*bolt.Tx) error { panic("a fault of this program") })
	r.mu.Unlock()
	if err == nil || boltfile.IsDamage(err) {
		t.Errorf("got %v", err)
	}
	r.want("a#1")
	r.log.has(t, 0, "moved aside")
}
