package outbox_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/outbox"
)

// levelTexts are the levels of an outbox, sorted.
func levelTexts(t *testing.T, d *outbox.Disk) (texts []string, isNew bool) {
	t.Helper()
	var levels []outbox.Level
	isNew, err := d.Levels(func(l outbox.Level) bool {
		levels = append(levels, l)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range levels {
		texts = append(texts, fmt.Sprintf("%q %d %s", l.Key, l.Time, l.Value))
	}
	slices.Sort(texts)
	return texts, isNew
}

// A process that finds its outbox taken starts from what the other has told.
func TestHandOver(t *testing.T) {
	many := make([]outbox.Level, 3000)
	for i := range many {
		many[i] = outbox.Level{Key: fmt.Sprint(i, "\x00\xff"), Time: int64(i), Value: []byte{byte(i), 0, 0xff}}
	}
	for _, tt := range []struct {
		name   string
		levels []outbox.Level
	}{
		{"many, with keys of any bytes", many},
		{"none", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			holder, _ := openControlled(t, dir)
			holder.Append(nil, tt.levels)
			log := new(outbox.Logged)
			second, err := outbox.Open(dir, controlOptions(log))
			if err != nil {
				t.Fatal(err)
			}
			defer second.Close()
			want, _ := levelTexts(t, holder)
			got, isNew := levelTexts(t, second)
			if !slices.Equal(got, want) || len(got) != len(tt.levels) {
				t.Errorf("got %d levels, want %d", len(got), len(want))
			}
			if isNew {
				t.Error("it is new, and would take the levels of a snapshot")
			}
			if !strings.Contains(log.String(), fmt.Sprintf("levels=%d", len(want))) || strings.Contains(log.String(), "level=WARN") {
				t.Errorf("the log says %s", log.String())
			}
		})
	}
}

// Of what several holders know, the later change wins.
func TestHandOverOfSeveral(t *testing.T) {
	dir := t.TempDir()
	first, _ := openControlled(t, dir)
	first.Append(nil, []outbox.Level{{Key: "a", Time: 5, Value: []byte("first")}, {Key: "b", Time: 5, Value: []byte("first")}})
	second, _ := openControlled(t, dir)
	second.Append(nil, []outbox.Level{{Key: "a", Time: 6, Value: []byte("second")}, {Key: "c", Time: 1, Value: []byte("second")}})
	third, _ := openControlled(t, dir)
	got, _ := levelTexts(t, third)
	if want := []string{`"a" 6 second`, `"b" 5 first`, `"c" 1 second`}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A holder that does not hand over delays the next process by no more than
// half a second; the log says what that means.
func TestHandOverIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		listen bool
	}{{"it does not listen", false}, {"it does not answer", true}} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			d, c := openControlled(t, dir)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			lock, err := os.OpenFile(filepath.Join(c.Folder(), "lock"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
				t.Fatal(err)
			}
			if tt.listen {
				short := filepath.Join(t.TempDir(), "s")
				l, err := net.Listen("unix", short)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				if err := os.Rename(short, filepath.Join(c.Folder(), "control.sock")); err != nil {
					t.Fatal(err)
				}
			}
			log := new(outbox.Logged)
			begun := time.Now()
			next, err := outbox.Open(dir, controlOptions(log))
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(begun)
			defer next.Close()
			if took < 400*time.Millisecond || took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			if !strings.Contains(log.String(), "does not hand its levels over") {
				t.Errorf("the log says %s", log.String())
			}
			if _, isNew := levelTexts(t, next); !isNew {
				t.Error("it is not new, and would not take the levels of a snapshot")
			}
		})
	}
}

// Tests of others have a clock of their own, which the control must not hold
// still.
func TestControlInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := openControlled(t, t.TempDir())
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestControlOfUnreadable(t *testing.T) {
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
