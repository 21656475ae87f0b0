package outbox

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/test"
)

func TestFolderNames(t *testing.T) {
	t.Parallel()
	names := map[string]string{ // by task, for node "n": what can be read of it
		"cpu":                     "cpu_n.",
		"cpu alert":               "cpu_alert_n.",
		"cpu/alert":               "cpu_alert_n.",
		"../../etc/passwd":        "______etc_passwd_n.",
		"..":                      "___n.",
		".":                       "__n.",
		"":                        "_n.",
		"düsseldorf":              "d_sseldorf_n.",
		"日本":                      "___n.",
		"a\x00b\n":                "a_b__n.",
		"\xff\xfe":                "___n.",
		"Cpu":                     "Cpu_n.",
		strings.Repeat("x", 1000): strings.Repeat("x", maxReadable) + ".",
		strings.Repeat("x", 1001): strings.Repeat("x", maxReadable) + ".",
	}
	seen := make(map[string]string)
	safe := regexp.MustCompile(`^[a-zA-Z0-9_-]+\.[0-9a-f]{8}$`)
	for task, readable := range names {
		name := folderName(task, "n")
		if !safe.MatchString(name) || len(name) > 100 || !strings.HasPrefix(name, readable) {
			t.Errorf("%q: %s", task, name)
		}
		// Also on a file system that does not tell cases apart.
		if other, taken := seen[strings.ToLower(name)]; taken {
			t.Errorf("%q and %q are both %s", task, other, name)
		}
		seen[strings.ToLower(name)] = task
		openIn(t, test.MemoryDir(t), node(task, task)).put(1, "a")
	}
	for _, other := range []string{folderName("a", "bc"), folderName("ab", "c")} {
		if _, taken := seen[other]; taken {
			t.Errorf("%s is given twice", other)
		}
		seen[other] = other
	}
}

// A folder that cannot be written fails Open, with the hint (P2).
func TestFolderThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, dir string) (outbox string)
	}{
		{"a file in its place", func(t *testing.T, dir string) string {
			return touch(t, filepath.Join(dir, "outbox"))
		}},
		{"a file above it", func(t *testing.T, dir string) string {
			return filepath.Join(touch(t, filepath.Join(dir, "file")), "outbox")
		}},
		{"a folder in the place of the lock", func(t *testing.T, dir string) string {
			o := testOptions(nil)
			if err := os.MkdirAll(filepath.Join(dir, folderName(o.Task, o.Node), lockName), 0o700); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
		{"a file system that is read only", func(t *testing.T, dir string) string {
			mountTmpfs(t, dir, "size=1m")
			if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { mustNotOpen(t, tt.make(t, t.TempDir())) })
	}
}

func touch(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustNotOpen(t *testing.T, dir string) {
	t.Helper()
	d, err := Open(dir, testOptions(slog.New(slog.DiscardHandler)))
	if err == nil {
		d.Close()
		t.Fatal("it was opened")
	}
	for _, part := range []string{"the outbox in " + dir + " cannot be written", "let the user that kapacitord runs as write there", "set --outbox"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

func TestFolderOfAnotherUser(t *testing.T) { // P2
	t.Parallel()
	dir, ok := isChild()
	if !ok {
		if os.Getuid() != 0 {
			t.Skip("only root can become somebody else")
		}
		dir, err := os.MkdirTemp("", "outbox-test-") // that of the test is nobody else's
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		whose := filepath.Join(dir, "of a file")
		if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(whose, 0o755)); err != nil {
			t.Fatal(err)
		}
		r := openIn(t, whose)
		r.close()
		// The folder may be written, the database may not: somebody ran this as root.
		if err := errors.Join(os.Chmod(r.folder, 0o777), os.Chmod(filepath.Join(r.folder, lockName), 0o666)); err != nil {
			t.Fatal(err)
		}
		inChild(t, dir)
		return
	}
	if err := syscall.Setuid(65534); err != nil {
		t.Fatal(err)
	}
	mustNotOpen(t, filepath.Join(dir, "new"))
	mustNotOpen(t, filepath.Join(dir, "of a file"))
}

// The files are for their owner alone, whatever the umask, and the token is in
// none of them (P9).
func TestSecrets(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		func() {
			defer syscall.Umask(syscall.Umask(mask))
			dir := filepath.Join(test.MemoryDir(t), "bigpanda-udf")
			r := openIn(t, dir, leaping)
			var changes []Change
			for n := range 2000 {
				changes = append(changes, sized(n+1, "a", 1_600))
			}
			r.Append(changes, []Level{{Key: "s", Value: []byte("v")}})
			openIn(t, dir).put(1, "b") // a numbered one
			r.Dead(r.next(1)[0], 401, "no")
			check := func() {
				err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
					if err != nil {
						return err
					}
					info, err := e.Info()
					if err != nil {
						return err
					}
					if info.Mode().Perm()&0o077 != 0 {
						t.Errorf("umask %o: %s has mode %v", mask, path, info.Mode())
					}
					if !info.Mode().IsRegular() {
						return nil
					}
					b, err := os.ReadFile(path)
					if strings.Contains(string(b), testToken) {
						t.Errorf("the token is in %s", path)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			check()
			r.drain() // which makes the file anew
			if left := fileSize(t, r.store.path()); left > 1<<20 {
				t.Errorf("the file has %d bytes: it was not made anew", left)
			}
			check()
			r.close()
			check()
		}()
	}
}

func TestNetworkFileSystem(t *testing.T) {
	for name, want := range map[string]int{"nfs": 1, "cifs": 1, "ext4": 0, "tmpfs": 0} {
		t.Run(name, func(t *testing.T) {
			was := networkFileSystem
			networkFileSystem = func(string) (string, bool) { return name, want == 1 }
			defer func() { networkFileSystem = was }()
			r := openIn(t, test.MemoryDir(t))
			r.log.has(t, want, "network file system")
			r.log.has(t, want, "file_system="+name)
		})
	}
}

// Whoever has begun where a folder was taken away keeps it, with its socket; the process
// that lost it goes on beside it.
func TestFolderTakenByAnother(t *testing.T) {
	t.Parallel()
	dir := test.MemoryDir(t)
	r := openIn(t, dir)
	r.put(1, "a")
	if err := os.Rename(r.folder, filepath.Join(test.MemoryDir(t), "elsewhere")); err != nil {
		t.Fatal(err)
	}
	another := openIn(t, dir)
	another.put(1, "b")
	r.put(2, "a")
	for folder, want := range map[string]int{another.folder: 1, another.folder + "~2": 2} {
		if s, err := NewControl(folder, nil).Status(t.Context()); err != nil || s.Queued != want || s.Process != os.Getpid() {
			t.Errorf("the status of %s is %+v, %v", folder, s, err)
		}
	}
	another.want("b#1")
	r.want("a#1 a#2")
}
