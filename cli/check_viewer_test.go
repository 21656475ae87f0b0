package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The modes of files and folders say what a user may do, whoever asks.
func TestViewer(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	owner := viewer{name: "owner", uid: stat.Uid, gids: []uint32{stat.Gid + 1}}
	member := viewer{name: "member", uid: stat.Uid + 1, gids: []uint32{7777, stat.Gid}}
	other := viewer{name: "other", uid: stat.Uid + 1, gids: []uint32{stat.Gid + 1}}
	root := viewer{name: "root", uid: 0}
	if stat.Uid == 0 {
		owner = root // there is no other owner to be
	}
	for _, tt := range []struct {
		name      string
		who       viewer
		file, dir os.FileMode
		want      os.FileMode
		err       string
	}{
		{"the owner reads", owner, 0o400, 0o700, mayRead, ""},
		{"a member reads", member, 0o040, 0o750, mayRead, ""},
		{"a member of what only others may read", member, 0o004, 0o755, mayRead, "member may not read FILE (-------r--, of "},
		{"another reads", other, 0o004, 0o755, mayRead, ""},
		{"another may not", other, 0o640, 0o755, mayRead, "other may not read FILE (-rw-r-----, of "},
		{"another may not write", other, 0o644, 0o755, mayWrite, "other may not write in FILE"},
		{"another may not execute", other, 0o654, 0o755, mayExecute, "other may not execute FILE"},
		{"a folder that is shut", other, 0o777, 0o700, mayExecute, "other may not enter DIR (drwx------, of "},
		{"root reads", root, 0o000, 0o000, mayRead | mayWrite, ""},
		{"root executes what anybody may", root, 0o001, 0o000, mayExecute, ""},
		{"root executes nothing that nobody may", root, 0o666, 0o777, mayExecute, "root may not execute FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The folders above are not the test's to open.
			os.Chmod(file, tt.file)
			os.Chmod(dir, tt.dir)
			defer os.Chmod(dir, 0o700)
			err := tt.who.mayHere(dir, mayExecute)
			if err == nil {
				err = tt.who.mayHere(file, tt.want)
			}
			if os.Geteuid() != 0 && tt.dir&0o100 == 0 {
				t.Skip("only root can look there")
			}
			want := strings.NewReplacer("FILE", file, "DIR", dir).Replace(tt.err)
			if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
				t.Errorf("the error is %v, want %q", err, want)
			}
		})
	}
	shut := filepath.Join(dir, "shut")
	if err := os.Mkdir(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(shut, "prog")
	if err := os.WriteFile(inside, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := other.may(link, mayExecute); err == nil {
		t.Error("a link leads into a folder that is shut")
	}
}
