package outbox

import (
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/test"

	bolt "go.etcd.io/bbolt"
)

func openForStatus(t *testing.T) *Disk {
	t.Helper()
	d, err := Open(t.TempDir(), Options{
		Task: "cpu", Node: "bigpanda3", URL: "http://127.0.0.1/", Log: slog.New(slog.DiscardHandler),
		Fingerprint: func(key []byte) []byte { return key },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// P4: while the disk refuses, the status says so, and nothing is changed; once it
// takes everything again, all of it is there.
func TestControlWhileTheDiskRefuses(t *testing.T) {
	f := fail(t)
	r := openIn(t, test.MemoryDir(t))
	c := NewControl(r.folder, nil)
	r.put(1, "a", "b")
	inFlight := r.next(1)
	f.set(syscall.EIO)
	f.breakFile(t)
	r.put(2, "b", "c")
	if err := r.Dead(inFlight[0], 400, "no"); err == nil {
		t.Error("a dead letter that the disk refuses has no error")
	}
	s, err := c.Status(t.Context())
	if err != nil || s.Queued != 3 || s.Dead != 1 || s.KeptInMemory != 2 || !s.DiskRefuses || s.Oldest.IsZero() {
		t.Errorf("the status is %+v, %v", s, err)
	}
	all := Selection{All: true}
	for name, ask := range map[string]func() error{
		"retry": func() error { _, err := c.Retry(t.Context(), all); return err },
		"drop":  func() error { _, err := c.Drop(t.Context(), KindQueued, all); return err },
		"amend": func() error {
			_, err := c.Amend(t.Context(), []Amendment{{Change: aChange(3, "c"), Value: []byte("ok")}})
			return err
		},
	} {
		if err := ask(); err == nil || !strings.Contains(err.Error(), "the disk refuses to be written, so nothing was changed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.set(nil)
	until(t, "the outbox is written again", func() bool { return r.log.count("the outbox is written again") == 1 })
	if s, err := c.Status(t.Context()); err != nil || s.Queued != 3 || s.Dead != 1 || s.KeptInMemory != 0 || s.DiskRefuses {
		t.Errorf("the status is %+v, %v", s, err)
	}
	if o, err := c.Drop(t.Context(), KindQueued, all); err != nil || o.Done != 3 || len(o.InFlight) != 0 {
		t.Errorf("drop: %+v, %v", o, err)
	}
	if s := r.Stats(); s.Queued != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// What cannot be read is shown as that, and can be dropped.
func TestStatusOfDamagedRecords(t *testing.T) {
	t.Parallel()
	d := openForStatus(t)
	d.Append([]Change{{Alert: "a", AppKey: "x", Payload: []byte("1")}, {Alert: "b", AppKey: "x", Payload: []byte("2")}}, nil)
	c := NewControl(d.store.folder, nil)
	list, err := c.Queued(t.Context(), 0, 10, false)
	if err != nil {
		t.Fatal(err)
	}
	id := list.Entries[1].ID
	err = d.store.update(func(tx *bolt.Tx) error {
		return errors.Join(tx.Bucket(bucketQueue).Bucket([]byte("x")).Put(boltfile.EncodeID(id), []byte("noise")),
			tx.Bucket(bucketDead).Put(boltfile.EncodeID(id), []byte("noise")))
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err = c.Queued(t.Context(), 0, 10, true)
	if err != nil || len(list.Entries) != 2 || list.Entries[1].ID != id || !strings.Contains(list.Entries[1].Problem, "damaged") {
		t.Errorf("the list is %+v, %v", list, err)
	}
	dead, err := c.DeadLetters(t.Context(), 0, 10, true)
	if err != nil || len(dead.Entries) != 1 || dead.Entries[0].ID != id || dead.Entries[0].Problem == "" {
		t.Errorf("the dead letters are %+v, %v", dead, err)
	}
	if o, err := c.Retry(t.Context(), Selection{All: true}); err != nil || o.Done != 0 || len(o.Missing) != 1 {
		t.Errorf("retry: %+v, %v", o, err)
	}
	for _, kind := range []string{KindDead, KindQueued} {
		if o, err := c.Drop(t.Context(), kind, Selection{IDs: []uint64{id}}); err != nil || o.Done != 1 {
			t.Errorf("drop %s: %+v, %v", kind, o, err)
		}
	}
}

// A dead letter whose key is no ID is damage like any other, and no fault of this
// program (P1).
func TestDeadLetterWithoutID(t *testing.T) {
	t.Parallel()
	all := Selection{All: true}
	asks := map[string]func(*testing.T, *Control) error{
		"status": func(t *testing.T, c *Control) error { _, err := c.Status(t.Context()); return err },
		"list":   func(t *testing.T, c *Control) error { _, err := c.DeadLetters(t.Context(), 0, 10, false); return err },
		"retry":  func(t *testing.T, c *Control) error { _, err := c.Retry(t.Context(), all); return err },
		"drop":   func(t *testing.T, c *Control) error { _, err := c.Drop(t.Context(), KindDead, all); return err },
	}
	for keyName, key := range map[string]string{"short": "\xffbad", "long": "\xff and more than an ID"} {
		for askName, ask := range asks {
			for stateName, live := range map[string]bool{"its process lives": true, "its process is gone": false} {
				t.Run(keyName+", "+askName+", "+stateName, func(t *testing.T) {
					r := openIn(t, test.MemoryDir(t))
					r.mu.Lock()
					err := r.store.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketDead).Put([]byte(key), []byte("{}")) })
					r.mu.Unlock()
					if err != nil {
						t.Fatal(err)
					}
					if !live {
						r.close()
					}
					err = ask(t, NewControl(r.folder, nil))
					// The status is told without what the disk has.
					if wants := !live || askName != "status"; (err != nil) != wants || wants && !strings.Contains(err.Error(), boltfile.ErrDamaged.Error()) {
						t.Errorf("the error is %v", err)
					}
					if !live {
						return
					}
					r.log.has(t, 1, "the outbox cannot be read: it is moved aside")
					r.put(1, "new")
					r.want("new#1")
				})
			}
		}
	}
}

func TestControlOfAnotherFormat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		version int64
		want    string // at the end of the error
	}{
		{"a newer one", formatVersion + 1, "format 3 is newer than 2: it was made by a newer bigpanda-udf: run that one"},
		{"an older one", 1, "it is damaged, and moved aside by the next process that opens it: not a database of this program: format 1 was never released"},
		{"none", 0, "it is damaged, and moved aside by the next process that opens it: not a database of this program: it has no version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := openForStatus(t)
			err := d.store.update(func(tx *bolt.Tx) error { return boltfile.PutNumber(tx.Bucket(bucketMeta), keyVersion, tt.version) })
			if err := errors.Join(err, d.Close()); err != nil {
				t.Fatal(err)
			}
			c := NewControl(d.store.folder, nil)
			for name, ask := range map[string]func() error{
				"status": func() error { _, err := c.Status(t.Context()); return err },
				"drop":   func() error { _, err := c.Drop(t.Context(), KindDead, Selection{All: true}); return err },
			} {
				if err := ask(); err == nil || !strings.HasSuffix(err.Error(), tt.want) {
					t.Errorf("%s fails with %v", name, err)
				}
			}
		})
	}
}
