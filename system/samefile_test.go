package system

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIsFileAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	want := func(what, path string, want bool) {
		t.Helper()
		if got := IsFileAt(path, info); got != want {
			t.Errorf("%s: %t, want %t", what, got, want)
		}
	}
	want("the same", path, true)
	write(path)
	want("written over in place", path, true)
	want("none", path+".none", false)
	if err := os.Symlink(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	want("through a link", path+".link", true)

	write(path + ".new")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	want("replaced", path, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("deleted", path, false)
}
