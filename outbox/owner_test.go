package outbox

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bigpanda-udf/test"
)

// P2: a folder in which others have a say fails Open, with the hint, and is left
// as it was.
func TestFolderThatOthersMayWrite(t *testing.T) {
	t.Parallel()
	const somebody = 65534
	chown := func(t *testing.T, folder string) {
		t.Helper()
		if os.Geteuid() != 0 {
			t.Skip("only root can give a folder away")
		}
		if err := os.Chown(folder, somebody, -1); err != nil {
			t.Fatal(err)
		}
	}
	chmod := func(mode os.FileMode) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	own := filepath.Join("DIR", folderName("cpu", "bigpanda2"))
	for _, tt := range []struct {
		name   string
		spoil  func(t *testing.T, dir string)
		faults []string // parts of the error; none: it is opened
	}{
		{"its owner's alone", chmod(0o700), nil},
		{"others may look", chmod(0o755), nil},
		{"others may write", chmod(0o777), []string{"others may write to DIR (drwxrwxrwx)", "(chmod 700 DIR)"}},
		{"a group may write", chmod(0o770), []string{"others may write to DIR (drwxrwx---)", "(chmod 700 DIR)"}},
		{"others may only write", chmod(0o702), []string{"others may write to DIR (drwx----w-)"}},
		{"others may add what is theirs, as in /tmp", chmod(0o777 | os.ModeSticky), nil},
		{"another's", chown, []string{"DIR belongs to nobody, not to root", "(chown -R root DIR)"}},
		{"another's, and all may write", func(t *testing.T, dir string) { chown(t, dir); chmod(0o777)(t, dir) },
			[]string{"DIR belongs to nobody, not to root", "(chown -R root DIR && chmod 700 DIR)"}},
		{"another has made the folder of the use", func(t *testing.T, dir string) {
			folder := strings.Replace(own, "DIR", dir, 1)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			chown(t, folder)
		}, []string{"the outbox in DIR ", own + " belongs to nobody, not to root", "(chown -R root " + own + ")"}},
		{"all may write to the folder that it is in", func(t *testing.T, dir string) { chmod(0o777)(t, filepath.Dir(dir)) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "outbox")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, dir)
			before, _ := os.ReadDir(dir)
			d, err := Open(dir, testOptions(slog.New(slog.DiscardHandler)))
			if err == nil {
				d.Close()
			}
			if (err == nil) != (tt.faults == nil) {
				t.Fatalf("the error is %v, want %q", err, tt.faults)
			}
			if err == nil {
				return
			}
			text := strings.ReplaceAll(err.Error(), dir, "DIR")
			for _, part := range append(tt.faults, "or set --outbox (BIGPANDA_OUTBOX) to a folder of its own") {
				if !strings.Contains(text, part) {
					t.Errorf("the error does not say %q: %s", part, text)
				}
			}
			if after, _ := os.ReadDir(dir); len(after) != len(before) || strings.Contains(text, "\n") {
				t.Errorf("it leaves %v of %v, and says %q", after, before, text)
			}
		})
	}
}

// What others put beside an outbox, where they may, is not sent with the token.
func TestOrphanOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	dir := test.MemoryDir(t)
	theirs := openIn(t, dir, node("disk", "bigpanda2")).adopted()
	theirs.put(1, "forged")
	theirs.close()
	if err := os.Chown(theirs.folder, 65534, -1); err != nil {
		t.Fatal(err)
	}
	ours := openIn(t, dir).adopted()
	ours.look(t.Context())
	ours.look(t.Context()) // that of another task is taken over at the second look
	if s := ours.Stats(); s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(filepath.Join(theirs.folder, databaseName)); err != nil {
		t.Error(err)
	}
	if ours.log.count(theirs.folder+" belongs to nobody, not to root: run chown -R root ") == 0 {
		t.Errorf("the log does not say so:\n%s", ours.log)
	}
	if err := os.Chown(theirs.folder, 0, -1); err != nil {
		t.Fatal(err)
	}
	ours.look(t.Context())
	ours.look(t.Context())
	ours.want("forged#1")
}

// P9: the query of the URL is kept nowhere.
func TestQueryIsNotKept(t *testing.T) {
	t.Parallel()
	is := openIn(t, test.MemoryDir(t), goingTo(testOptions(nil).URL+"?key=qu3ry-of-the-tests"))
	is.put(1, "x")
	is.close()
	if data, err := os.ReadFile(filepath.Join(is.folder, databaseName)); err != nil || strings.Contains(string(data), "qu3ry") {
		t.Errorf("the query is in the file, %v", err)
	}
}
