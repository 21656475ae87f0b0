package system

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLooseParent(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	loose := filepath.Join(top, "loose")
	folder := filepath.Join(loose, "a", "b") // that is not there
	if err := os.Mkdir(loose, 0o700); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o700: "", 0o755: "", 0o777: loose, 0o777 | os.ModeSticky: "", 0o702: loose} {
		if err := os.Chmod(loose, mode); err != nil {
			t.Fatal(err)
		}
		if got := LooseParent(folder); got != want {
			t.Errorf("with %v it is %q, want %q", mode, got, want)
		}
	}
}
