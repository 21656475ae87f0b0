package boltfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// P4: a file has its name only when all of it is on disk.
func TestBegin(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	unfinished := path + ".new"
	if err := os.WriteFile(unfinished, []byte("what a crash has left"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if err := Begin(path, unfinished, bolt.Options{}, func(*bolt.DB) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("the error is %v", err)
	}
	for _, name := range []string{path, unfinished} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there, %v", name, err)
		}
	}
	fill := func(db *bolt.DB) error {
		return db.Update(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("b"))
			return err
		})
	}
	if err := Begin(path, unfinished, bolt.Options{}, fill); err != nil {
		t.Fatal(err)
	}
	db, err := Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if IsSparse(db) {
		t.Error("a small one is to be written anew")
	}
	if _, err := Open(path, bolt.Options{}); err == nil || IsDamage(err) {
		t.Errorf("opened twice: %v", err)
	}
}

// P1: what is no database is damage; a fault of this program is none.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, []byte("no database, and as long as one page of it is not"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, bolt.Options{}); !IsDamage(err) {
		t.Errorf("the error is %v", err)
	}
	if _, err := Open(filepath.Join(path, "x.db"), bolt.Options{}); err == nil || IsDamage(err) {
		t.Errorf("where there is no folder the error is %v", err)
	}
	for name, tt := range map[string]struct {
		f    func() error
		want bool
	}{
		"a key that is no ID": {func() error { DecodeID([]byte("short")); return nil }, true},
		"a fault of its own":  {func() error { panic("a fault of this program") }, false},
	} {
		if err := Guard(tt.f); err == nil || IsDamage(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// P4: any bit of a record that is not as it was written is noticed.
func TestRecord(t *testing.T) {
	t.Parallel()
	prefix := EncodeID(7)
	b := EncodeRecord(prefix, 1700000000, []byte("rest"), "CRITICAL", "")
	read := func() (string, error) {
		var level, alert string
		at, rest, err := DecodeRecord(prefix, b, &level, &alert)
		if at != 1700000000 {
			return "", err
		}
		return level + "|" + alert + "|" + string(rest), err
	}
	if got, err := read(); got != "CRITICAL||rest" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := read(); !errors.Is(err, ErrDamagedRecord) {
			t.Errorf("bit %d: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	if _, _, err := DecodeRecord(EncodeID(8), b); !errors.Is(err, ErrDamagedRecord) {
		t.Errorf("under another ID: %v", err)
	}
}
