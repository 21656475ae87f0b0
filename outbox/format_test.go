package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
)

func TestNewerFormatIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a")
	path := r.store.path()
	r.close()
	inspect(t, path, func(tx *bolt.Tx) error { return boltfile.PutNumber(tx.Bucket(bucketMeta), keyVersion, formatVersion+1) })
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, r.options)
	if !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), path+": format 3 is newer than 2: it was made by a newer bigpanda-udf: run that one") {
		t.Errorf("got error %v", err)
	}
	// Nor is it touched as what another process has left behind.
	other := openIn(t, dir, node("cpu", "bigpanda3")).adopted()
	if s := other.Stats(); s.Queued != 0 {
		t.Errorf("stats of another: %+v", s)
	}
	other.log.has(t, 0, "level=ERROR")
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed, or: %v", err)
	}
	if all := files(t, filepath.Dir(path), "*damaged*"); len(all) > 0 {
		t.Errorf("aside are %q", all)
	}
}

// A database of each version that was ever released is read.
func TestFixtureOfVersion1(t *testing.T) {
	t.Parallel()
	const fixture = "testdata/outbox-v1.db"
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	clock := func(o *Options) { o.Now = func() time.Time { return at } }
	b, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	dir := memoryDir(t)
	o := testOptions(nil)
	folder := filepath.Join(dir, formerName(o.Task, o.Node, o.URL))
	if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, databaseName), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	r := openIn(t, dir, clock)
	r.log.has(t, 0, "level=ERROR")
	levels, isNew, err := readAll(r)
	if err != nil || isNew || len(levels) != 2 {
		t.Fatalf("levels: %v, new %v, %v", levels, isNew, err)
	}
	for _, l := range levels {
		if l.Key == "s1" != (l.Time == 1 && string(l.Value) == "CRITICAL") || l.Key != "s1" && l.Key != strings.Repeat("long ", 1000) {
			t.Errorf("level %+v", l)
		}
	}
	if s := r.Stats(); s != (Stats{Queued: 4, Dead: 1}) {
		t.Errorf("stats: %+v", s)
	}
	letters := r.letters()
	if len(letters) != 1 || letters[0].Alert != "refused" || string(letters[0].Payload) != "refused#1" || letters[0].AppKey != "k" ||
		letters[0].Status != 422 || letters[0].Answer != `{"error":"no"}` || letters[0].Died != at.Unix() {
		t.Errorf("dead letters: %+v", letters)
	}
	r.put(3, "a")
	all := r.drain()
	inOrder(t, all)
	if first := uint64(at.UnixNano()); len(all) != 5 || all[0].ID != first || all[0].Level != "CRITICAL" {
		t.Errorf("got %s, the first one %+v", payloadsOf(all), all[0])
	}
}
