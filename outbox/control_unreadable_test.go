package outbox_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/outbox"
)

func TestControlOfUnreadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, database string)
		want  string // in the error
	}{
		{"cut off", func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}, "it is damaged, and moved aside by the next process that opens it"},
		{"empty", func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}, "it is empty"},
		{"no database", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("text ", 20_000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "it is damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			d, c := openControlled(t, dir)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, filepath.Join(c.Folder(), "outbox.db"))
			before := treeOf(t, dir)
			if folders, err := outbox.Folders(dir); err != nil || len(folders) != 1 {
				t.Errorf("the folders are %q, %v", folders, err)
			}
			_, err := c.Status(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), c.Folder()) {
				t.Errorf("the status fails with %v, want %q", err, tt.want)
			}
			if _, err := c.Drop(t.Context(), outbox.KindDead, outbox.Selection{All: true}); err == nil {
				t.Error("something was dropped")
			}
			if after := treeOf(t, dir); before != after {
				t.Errorf("the folder was changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// Where a damaged file is all that is left, that is what the status says.
func TestControlOfDamagedAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, c := openControlled(t, dir)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	const aside = "outbox.db.damaged-20250102T030405.000000000Z"
	if err := os.Rename(filepath.Join(c.Folder(), "outbox.db"), filepath.Join(c.Folder(), aside)); err != nil {
		t.Fatal(err)
	}
	if s := statusOf(t, c); !slices.Equal(s.Damaged, []string{aside}) || s.Queued != 0 || s.Process != 0 {
		t.Errorf("the status is %+v", s)
	}
	if folders, err := outbox.Folders(dir); err != nil || len(folders) != 1 {
		t.Errorf("the folders are %q, %v", folders, err)
	}
	if queued, dead := listed(t, c); len(queued.Entries)+len(dead.Entries) != 0 {
		t.Errorf("listed are %v, %v", queued, dead)
	}
	if o, err := c.Retry(t.Context(), outbox.Selection{IDs: []uint64{1}}); err != nil || o.Done != 0 || len(o.Missing) != 1 {
		t.Errorf("retry: %+v, %v", o, err)
	}
}

// Another user is told whom to ask.
func TestControlOfAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, c := openControlled(t, dir)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	asAnother(t, c.Folder(), func() {
		folders, err := outbox.Folders(dir)
		if err != nil || len(folders) != 1 {
			t.Errorf("the folders are %q, %v", folders, err)
		}
		_, err = c.Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), "and private: run this as ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is %v", err)
		}
	})
	asAnother(t, dir, func() {
		if _, err := outbox.Folders(dir); err == nil || !strings.Contains(err.Error(), "and private: run this as ") {
			t.Errorf("the error is %v", err)
		}
	})
	if _, err := outbox.Folders(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}
