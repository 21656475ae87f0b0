package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// What a user may want of a file, as the bits of a mode have it.
const (
	mayExecute fs.FileMode = 1 << iota
	mayWrite
	mayRead
)

// viewer is a user whose permissions count.
type viewer struct {
	name, home string
	uid        uint32
	gids       []uint32
}

// newViewer finds a user by name, or the current one.
func newViewer(name string) (v viewer, err error) {
	if name == "" {
		v.uid = uint32(os.Geteuid())
		groups, err := os.Getgroups()
		if err != nil {
			return v, fmt.Errorf("find the groups of the current user: %w", err)
		}
		for _, g := range append(groups, os.Getegid()) {
			v.gids = append(v.gids, uint32(g))
		}
		v.name = userName(v.uid)
		if u, err := user.LookupId(strconv.Itoa(int(v.uid))); err == nil {
			v.home = u.HomeDir
		}
		return v, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return v, fmt.Errorf("--user is %q, and there is no such user here: write the one that kapacitord runs as", shown(name))
	}
	v.name, v.home = u.Username, u.HomeDir
	groups, err := u.GroupIds()
	if err != nil {
		return v, fmt.Errorf("find the groups of %s: %w", name, err)
	}
	for _, text := range append(groups, u.Gid, u.Uid) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return v, fmt.Errorf("find the groups of %s: %w", name, err)
		}
		v.gids = append(v.gids, uint32(n))
	}
	last := len(v.gids) - 1
	v.uid, v.gids = v.gids[last], v.gids[:last]
	return v, nil
}

func userName(uid uint32) string {
	text := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(text); err == nil {
		return u.Username
	}
	return "user " + text
}

// may returns nil if the mode bits let the user do something with a file, and
// enter every folder on the way to it. Access control lists are not looked at.
func (v viewer) may(path string, want fs.FileMode) error {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return bareError(err)
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if err := v.mayHere(dir, mayExecute); err != nil {
			return err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return v.mayHere(path, want)
}

// mayHere looks at one file or folder alone.
func (v viewer) mayHere(path string, want fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil // a system without owners
	}
	mode := info.Mode().Perm()
	granted := mode & 7
	switch {
	case v.uid == 0 && (info.IsDir() || mode&0o111 != 0):
		granted = mayRead | mayWrite | mayExecute
	case v.uid == 0:
		granted = mayRead | mayWrite
	case stat.Uid == v.uid:
		granted = mode >> 6 & 7
	case slices.Contains(v.gids, stat.Gid):
		granted = mode >> 3 & 7
	}
	if missing := want &^ granted; missing != 0 {
		return fmt.Errorf("%s may not %s %s (%s, of %s)", v.name, verb(missing, info.IsDir()), path, info.Mode(), userName(stat.Uid))
	}
	return nil
}

func verb(missing fs.FileMode, isDir bool) string {
	switch {
	case missing&mayWrite != 0:
		return "write in"
	case missing&mayRead != 0:
		return "read"
	case isDir:
		return "enter"
	}
	return "execute"
}

// bareError is an error of a file without the operation's name.
func bareError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: %w", path.Path, path.Err)
	}
	return err
}
