package outbox

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"bigpanda-udf/system"
)

// FolderFault returns why a folder is none for the outboxes of a process of a
// user, and the command that mends it; "" if it is one. Who may write there could
// put alerts into the queue, which leave with the token: others, a group, and the
// owner, who can always let himself. In a folder that is sticky, as /tmp is, others
// can only add what is theirs, and that is left alone.
func FolderFault(folder string, info fs.FileInfo, uid int) (fault, hint string) {
	owner, ok := system.Owner(info)
	if !ok {
		return "", "" // a system without owners
	}
	loose := info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0
	if owner != uid {
		fault = fmt.Sprintf("%s belongs to %s, not to %s", folder, userName(owner), userName(uid))
		hint = fmt.Sprintf("chown -R %s %s", userName(uid), folder)
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

// faultOf is FolderFault of this process. Of a folder that is not there whoever
// uses it says so.
func faultOf(folder string) (fault, hint string) {
	info, err := os.Stat(folder)
	if err != nil {
		return "", ""
	}
	return FolderFault(folder, info, os.Geteuid())
}

// LooseParent returns the nearest folder above one, there or not, in which others
// may put another in its place; "" if they cannot. Open takes such a one all the
// same: what others put there is theirs, and that fails.
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

// userName is the name of a user, or the number where that has none.
func userName(uid int) string {
	text := strconv.Itoa(uid)
	if u, err := user.LookupId(text); err == nil {
		return u.Username
	}
	return text
}
