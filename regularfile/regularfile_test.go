package regularfile_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/regularfile"
)

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"empty": "", "five": "12345", "six": "123456"} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("five", in("link")), os.Symlink("/dev/zero", in("devicelink")), syscall.Mkfifo(in("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"five", "12345", ""},
		{"link", "12345", ""},
		{"six", "", "it is larger than 5 bytes"},
		{"pipe", "", "it is a pipe and no regular file"},
		{"socket", "", "it is a socket and no regular file"},
		{"devicelink", "", "it is a device and no regular file"},
		{"", "", "it is a folder and no regular file"},
		{"none", "", "no such file or directory"},
	} {
		got, err := regularfile.Read(in(tt.name), 5)
		if tt.want == "" {
			if err != nil || string(got) != tt.text {
				t.Errorf("%s: %q, %v", tt.name, got, err)
			}
			continue
		}
		var path *fs.PathError
		if !errors.As(err, &path) || got != nil || path.Path != in(tt.name) || path.Err.Error() != tt.want {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if _, err := regularfile.Read(in("none"), 5); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "open ") {
		t.Errorf("a file that is not there: %v", err)
	}
}
