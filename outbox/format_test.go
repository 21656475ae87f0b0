package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
