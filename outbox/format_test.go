package outbox

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/test"

	bolt "go.etcd.io/bbolt"
)

func TestNewerFormatIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
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
	if !errors.Is(err, errNewerFormat) || !strings.Contains(err.Error(), path+": format 3 is newer than 2: it was made by a newer bigpanda-udf: run that one") {
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

// The database that an earlier program of this format made is read as it is: a change of
// how anything is written is another format.
func TestFixtureOfFormat2(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/outbox-v2.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	dir, o := test.MemoryDir(t), testOptions(nil)
	folder := filepath.Join(dir, folderName(o.Task, o.Node))
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, databaseName), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	r := openIn(t, dir, func(o *Options) { o.Now = func() time.Time { return at } })
	r.log.has(t, 0, "level=ERROR")
	r.log.has(t, 0, "another URL")
	levels, isNew, err := readAll(r)
	if err != nil || isNew || len(levels) != 3 {
		t.Fatalf("levels: %v, new %v, %v", levels, isNew, err)
	}
	want := map[string]string{"s1": "1 CRITICAL false", "s2": "1 OK true", strings.Repeat("long ", 1000): "2 WARNING false"}
	for _, l := range levels {
		if got := fmt.Sprintf("%d %s %t", l.Time, l.Value, l.Again); got != want[l.Key] {
			t.Errorf("level %q is %s, want %s", l.Key, got, want[l.Key])
		}
	}
	if s := r.Stats(); s != (Stats{Queued: 3, Dead: 1}) {
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
	if first := uint64(at.UnixNano()); len(all) != 4 || all[0].ID != first || all[0].Level != "CRITICAL" || all[0].Time != 1 {
		t.Errorf("got %s, the first one %+v", payloadsOf(all), all[0])
	}
}
