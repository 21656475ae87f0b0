package outbox

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/system"
)

// maxFolders is how many processes may work for one use of the function at a
// time: a live one, one that is leaving, replays.
const maxFolders = 100

// maxReadable is how much of a task's and node's names is in the name of a
// folder; all of them is in the hash behind it.
const maxReadable = 80

// ownFiles are what an outbox may leave in its folder. The lock is last.
var ownFiles = []string{databaseName, databaseName + compacting, controlName, lockName}

// lockFolder makes and locks a folder, or the next of those beside it that nobody has
// and that fits. It waits for the first one until a deadline. The lock ends with the
// process.
func lockFolder(first string, deadline time.Time, fits func(folder string) bool) (folder string, lock *os.File, err error) {
	base := baseOf(first)
	for n := numberOf(first); n <= maxFolders; {
		folder = base
		if n > 1 {
			folder = fmt.Sprintf("%s~%d", base, n)
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return "", nil, err
		}
		if err := checkFolders(folder); err != nil {
			return "", nil, err
		}
		lock, err := tryLock(folder)
		switch {
		case err == nil && fits(folder):
			return folder, lock, nil
		case err == nil:
			system.Release(lock)
			n++
		case errors.Is(err, os.ErrNotExist): // another has just removed it, empty: it is made again
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return "", nil, err
		case folder == first && time.Now().Before(deadline):
			time.Sleep(20 * time.Millisecond)
		default:
			n++
		}
	}
	return "", nil, fmt.Errorf("open outbox: %d processes work for this node already: end some", maxFolders)
}

// checkFolders refuses a folder that is none for this process, or that is in such
// a one: who may write there could put alerts into the queue, which leave with the
// token. Above it others may: what they put in its place is theirs, and that fails.
func checkFolders(folder string) error {
	dir := filepath.Dir(folder)
	for _, f := range []string{dir, folder} {
		if fault, hint := system.FolderFault(f); fault != "" {
			if f == dir {
				os.Remove(folder) // which is empty if it was made just now
			}
			return fmt.Errorf("the outbox in %s cannot be written safely, as %s: let the user that kapacitord runs as write there alone (%s), "+
				"or set --outbox (BIGPANDA_OUTBOX) to a folder of its own", dir, fault, hint)
		}
	}
	return nil
}

// unwritable adds the remedy to an error of the system.
func unwritable(dir string, err error) error {
	if errno := syscall.Errno(0); !errors.As(err, &errno) {
		return err
	}
	if boltfile.IsFull(err) {
		return fmt.Errorf("there is no room for the outbox in %s (%w): make some, or set --outbox (BIGPANDA_OUTBOX) to another folder", dir, err)
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return fmt.Errorf("the outbox in %s cannot be opened (%w): raise the limit of open files (LimitNOFILE= of systemd)", dir, err)
	}
	return fmt.Errorf("the outbox in %s cannot be written (%w): let the user that kapacitord runs as write there, "+
		"or set --outbox (BIGPANDA_OUTBOX) to a folder of its own", dir, err)
}

// tryLock locks a folder, or fails at once with EWOULDBLOCK. The lock is on a
// file of its own: that on the database would be lost when the database is
// swapped for a smaller one.
func tryLock(folder string) (*os.File, error) {
	return system.LockFile(filepath.Join(folder, lockName))
}

// baseOf is the folder that a numbered one is beside.
func baseOf(folder string) string {
	base, _, _ := strings.Cut(filepath.Base(folder), "~")
	return filepath.Join(filepath.Dir(folder), base)
}

// numberOf is the number of a folder; that of the node's own is 1.
func numberOf(folder string) int {
	_, number, _ := strings.Cut(filepath.Base(folder), "~")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 1
	}
	return n
}

// folderName is a name that any file system takes, that a person can read, and
// that no other use of the function has.
func folderName(task, node string) string {
	sum := sha256.Sum256([]byte(task + "\x00" + node))
	return fmt.Sprintf("%s.%x", readableName(task+"."+node), sum[:4])
}

func readableName(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, text)
	return text[:min(len(text), maxReadable)]
}

// normalURL is one spelling of a URL, without what may be secret in it. One that
// is none stays as it is.
func normalURL(text string) string {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" {
		return text
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	return (&url.URL{Scheme: scheme, Host: host, Path: u.Path, RawPath: u.RawPath}).String()
}
