package system

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// FolderFault returns why a folder is not this user's alone, and the command that
// mends it; "" if it is. Who may write there could put something among what is the
// user's: others, a group, and the owner, who can always let himself. In a folder that is
// sticky, as /tmp is, others can only add what is theirs, and that is left alone.
func FolderFault(folder string) (fault, hint string) {
	info, err := os.Stat(folder)
	if err != nil {
		return "", "" // whoever uses it says so
	}
	owner, ok := Owner(info)
	if !ok {
		return "", "" // a system without owners
	}
	uid := os.Geteuid()
	loose := info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0
	if owner != uid {
		fault = fmt.Sprintf("%s belongs to %s, not to %s", folder, nameOrNumber(owner), nameOrNumber(uid))
		hint = fmt.Sprintf("chown -R %s %s", nameOrNumber(uid), folder)
		if loose {
			hint += " && chmod 700 " + folder
		}
		return fault, hint
	}
	if loose {
		return fmt.Sprintf("others may write to %s (%s)", folder, info.Mode()), "chmod 700 " + folder
	}
	return "", ""
}

// LooseParent returns the nearest folder above one, there or not, in which others
// may put another in its place; "" if they cannot.
func LooseParent(folder string) string {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return ""
	}
	for parent := filepath.Dir(folder); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return parent
		}
		if parent == filepath.Dir(parent) {
			return ""
		}
	}
}

// nameOrNumber is the name of a user, or the number where there is none, as chown(1) takes
// it.
func nameOrNumber(uid int) string {
	text := strconv.Itoa(uid)
	if u, err := user.LookupId(text); err == nil {
		return u.Username
	}
	return text
}

// UserName is the name of a user; of one that has none "user" and the number.
func UserName(uid int) string {
	name := nameOrNumber(uid)
	if name == strconv.Itoa(uid) {
		name = "user " + name
	}
	return name
}

// RunAs is what root puts before a command to run it as a user. sudo(8) takes none that
// has no name, unless sudoers(5) allows it (runas_allow_unknown_id).
func RunAs(uid int) string {
	name := nameOrNumber(uid)
	if name == strconv.Itoa(uid) {
		return "setpriv --reuid=" + name + " --clear-groups"
	}
	return "sudo -u " + name
}

// OwnerOf names the user that a file belongs to, or the nearest folder above it that
// may be looked at.
func OwnerOf(path string) string {
	info, err := os.Stat(path)
	for err != nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		info, err = os.Stat(path)
	}
	if err == nil {
		if uid, ok := Owner(info); ok {
			return UserName(uid)
		}
	}
	return "another user"
}
