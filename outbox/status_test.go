package outbox

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

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

// P4: what the disk refuses is seen, and may be dropped, like what it took.
func TestStatusOfKept(t *testing.T) {
	d := openForStatus(t)
	d.Append([]Change{{Alert: "a", Lane: "x", Payload: []byte("1")}, {Alert: "b", Lane: "y", Payload: []byte("2")}}, nil)
	// The disk refuses for the rest of the test.
	d.mu.Lock()
	d.retry = time.NewTimer(time.Hour)
	d.mu.Unlock()
	d.Append([]Change{{Alert: "b", Lane: "y", Payload: []byte("3")}, {Alert: "c", Lane: "x", Payload: []byte("4")}},
		[]Level{{Key: "c", Time: 1, Value: []byte("v")}, {Key: "gone", Time: 1}})

	s, err := d.Status()
	if err != nil || s.Queued != 4 || s.KeptInMemory != 2 || !s.DiskRefuses || s.Oldest.IsZero() {
		t.Errorf("the status is %+v, %v", s, err)
	}
	texts := func() (all []string, ids []uint64) {
		t.Helper()
		page, err := d.List(0, 10, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			text := string(e.Payload)
			if e.InMemory {
				text += " in memory"
			}
			all, ids = append(all, text), append(ids, e.ID)
		}
		return all, ids
	}
	all, ids := texts()
	if want := []string{"1", "2", "3 in memory", "4 in memory"}; !slices.Equal(all, want) || !slices.IsSorted(ids) {
		t.Errorf("the list is %q, want %q", all, want)
	}
	page, err := d.levelsAfter(nil)
	if err != nil || len(page.Levels) != 1 || string(page.Levels[0].Key) != "c" || page.Next != nil {
		t.Errorf("the levels are %+v, %v", page, err)
	}
	o, err := d.Drop(KindQueued, Selection{IDs: []uint64{ids[1], ids[2]}})
	if o.Done != 2 || err == nil {
		t.Errorf("drop while the disk refuses: %+v, %v; want two, and to hear of it", o, err)
	}
	if o, err := d.Drop(KindQueued, Selection{IDs: ids[1:3]}); o.Done != 0 || len(o.Missing) != 2 || err != nil {
		t.Errorf("drop again: %+v, %v", o, err)
	}
	all, _ = texts()
	if want := []string{"1", "4 in memory"}; !slices.Equal(all, want) {
		t.Errorf("the list is %q, want %q", all, want)
	}
	// And takes them again.
	d.mu.Lock()
	d.retry.Stop()
	d.retry = nil
	err = d.commit(nil, nil)
	d.mu.Unlock()
	if all, _ = texts(); err != nil || !slices.Equal(all, []string{"1", "4"}) {
		t.Errorf("the list is %q, %v", all, err)
	}
	if s, err := d.Status(); err != nil || s.Queued != 2 || s.Bytes != 2 || s.KeptInMemory != 0 || s.DiskRefuses {
		t.Errorf("the status is %+v, %v", s, err)
	}
}

// A dead letter that waits for the disk is put back once it is there.
func TestRetryOfKeptDead(t *testing.T) {
	d := openForStatus(t)
	d.Append([]Change{{Alert: "a", Lane: "x", Payload: []byte("1")}}, nil)
	taken, err := d.Next(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.retry = time.NewTimer(time.Hour)
	d.mu.Unlock()
	if err := d.Dead(taken[0].ID, 400, "no"); err == nil {
		t.Error("a refused dead letter has no error")
	}
	if s, err := d.Status(); err != nil || s.Dead != 1 || s.Queued != 0 {
		t.Errorf("the status is %+v, %v", s, err)
	}
	if o, err := d.Retry(Selection{All: true}); err != nil || o.Done != 1 {
		t.Errorf("retry: %+v, %v", o, err)
	}
	if s, err := d.Status(); err != nil || s.Dead != 0 || s.Queued != 1 {
		t.Errorf("the status is %+v, %v", s, err)
	}
}

// What cannot be read is shown as that, and can be dropped.
func TestStatusOfDamagedRecords(t *testing.T) {
	d := openForStatus(t)
	d.Append([]Change{{Alert: "a", Lane: "x", Payload: []byte("1")}, {Alert: "b", Lane: "x", Payload: []byte("2")}}, nil)
	list, err := d.List(0, 10, false)
	if err != nil {
		t.Fatal(err)
	}
	id := list.Entries[1].ID
	err = d.update(func(tx *bolt.Tx) error {
		return errors.Join(tx.Bucket(bucketQueue).Bucket([]byte("x")).Put(encodeID(id), []byte("noise")),
			tx.Bucket(bucketDead).Put(encodeID(id), []byte("noise")))
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err = d.List(0, 10, true)
	if err != nil || len(list.Entries) != 2 || list.Entries[1].ID != id || !strings.Contains(list.Entries[1].Problem, "damaged") {
		t.Errorf("the list is %+v, %v", list, err)
	}
	dead, err := d.DeadLetters(0, 10, true)
	if err != nil || len(dead.Entries) != 1 || dead.Entries[0].ID != id || dead.Entries[0].Problem == "" {
		t.Errorf("the dead letters are %+v, %v", dead, err)
	}
	if o, err := d.Retry(Selection{All: true}); err != nil || o.Done != 0 || len(o.Missing) != 1 {
		t.Errorf("retry: %+v, %v", o, err)
	}
	for _, kind := range []string{KindDead, KindQueued} {
		if o, err := d.Drop(kind, Selection{IDs: []uint64{id}}); err != nil || o.Done != 1 {
			t.Errorf("drop %s: %+v, %v", kind, o, err)
		}
	}
}

// A dead letter whose key is no ID is damage like any other, and no fault of this
// program (P1).
func TestDeadLetterWithoutID(t *testing.T) {
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
					r := openIn(t, memoryDir(t))
					r.mu.Lock()
					err := r.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketDead).Put([]byte(key), []byte("{}")) })
					r.mu.Unlock()
					if err != nil {
						t.Fatal(err)
					}
					if !live {
						r.close()
					}
					err = ask(t, NewControl(r.folder, nil))
					// The status is told without what the disk has.
					if wants := !live || askName != "status"; (err != nil) != wants || wants && !strings.Contains(err.Error(), errDamagedDatabase.Error()) {
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
	for _, tt := range []struct {
		name    string
		version int64
		want    string // at the end of the error
	}{
		{"a newer one", formatVersion + 1, "format 2 is newer than 1: it was made by a newer bigpanda-udf: run that one"},
		{"none", 0, "it is damaged, and moved aside by the next process that opens it: not a database of this program: it has no version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := openForStatus(t)
			err := d.update(func(tx *bolt.Tx) error { return putNumber(tx.Bucket(bucketMeta), keyVersion, tt.version) })
			if err := errors.Join(err, d.Close()); err != nil {
				t.Fatal(err)
			}
			c := NewControl(d.folder, nil)
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

func TestStatusAfterClose(t *testing.T) {
	d := openForStatus(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"Status":      func() error { _, err := d.Status(); return err },
		"List":        func() error { _, err := d.List(0, 1, false); return err },
		"DeadLetters": func() error { _, err := d.DeadLetters(0, 1, false); return err },
		"Retry":       func() error { _, err := d.Retry(Selection{All: true}); return err },
		"Drop":        func() error { _, err := d.Drop(KindDead, Selection{All: true}); return err },
		"levels":      func() error { _, err := d.levelsAfter(nil); return err },
	} {
		if err := ask(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s returns %v", name, err)
		}
	}
}

// P4: a level that the disk refuses may be amended, too, and that is kept like
// it.
func TestAmendWhileTheDiskRefuses(t *testing.T) {
	d := openForStatus(t)
	d.Append(nil, []Level{{Key: "old", Time: 1, Value: []byte("v")}, {Key: "gone", Time: 1, Value: []byte("v")}})
	d.mu.Lock()
	d.retry = time.NewTimer(time.Hour)
	d.mu.Unlock()
	d.Append([]Change{{Alert: "a", Lane: "x", Time: 2, Payload: []byte("1")}}, []Level{{Key: "old", Time: 2, Value: []byte("v")}, {Key: "gone", Time: 2}})
	ask := func(was int64, key string) AmendOutcome {
		t.Helper()
		o, err := d.Amend([]Amendment{{
			Change: Change{Alert: "b", Lane: "x", Time: 3, Payload: []byte("2")},
			Series: []AmendedSeries{{[]byte(key), was}}, Value: []byte("ok"),
		}})
		if err != nil {
			t.Error(err)
		}
		return o
	}
	if o := ask(1, "old"); o.Done != 0 || len(o.Changed) != 1 {
		t.Errorf("the disk's is not the level any more: %+v", o)
	}
	if o := ask(2, "gone"); o.Done != 0 || len(o.Changed) != 1 {
		t.Errorf("what was forgotten is no level: %+v", o)
	}
	if o := ask(2, "old"); o.Done != 1 || !o.InMemory {
		t.Errorf("the level in memory: %+v", o)
	}
	d.mu.Lock()
	d.retry.Stop()
	d.retry = nil
	err := d.commit(nil, nil)
	d.mu.Unlock()
	page, pageErr := d.levelsAfter(nil)
	if err != nil || pageErr != nil || len(page.Levels) != 1 || page.Levels[0].Time != 3 || string(page.Levels[0].Value) != "ok" {
		t.Errorf("the levels are %+v, %v, %v", page, err, pageErr)
	}
	if s, err := d.Status(); err != nil || s.Queued != 2 {
		t.Errorf("the status is %+v, %v", s, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Amend(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
