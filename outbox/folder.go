package outbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// maxFolders is how many processes may work for one use of the function at a
// time: a live one, one that is leaving, replays.
const maxFolders = 100

// maxReadable is how much of a task's and node's names is in the name of a
// folder; all of them is in the hash behind it.
const maxReadable = 80

// ownFiles are what an outbox may leave in its folder.
var ownFiles = []string{databaseName, databaseName + compacting, lockName, controlName}

// lockFolder makes and locks the folder of one use of the function, or a
// numbered one beside it when others have it. The lock ends with the process.
func lockFolder(dir string, o Options) (folder string, lock *os.File, err error) {
	base := filepath.Join(dir, folderName(o.Task, o.Node, o.URL))
	deadline := time.Now().Add(o.Wait)
	for n := 1; n <= maxFolders; {
		folder = base
		if n > 1 {
			folder = fmt.Sprintf("%s~%d", base, n)
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return "", nil, unwritable(dir, err)
		}
		for _, f := range []string{dir, folder} {
			if fault, mend := faultOf(f); fault != "" {
				if f == dir {
					os.Remove(folder) // which is empty if it was made just now
				}
				return "", nil, fmt.Errorf("the outbox in %s cannot be written safely, as %s: let the user that kapacitord runs as write there alone (%s), "+
					"or set --outbox (BIGPANDA_OUTBOX) to a folder of its own", dir, fault, mend)
			}
		}
		lock, err := tryLock(folder)
		switch {
		case err == nil:
			return folder, lock, nil
		case errors.Is(err, os.ErrNotExist): // another has just removed it, empty: it is made again
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return "", nil, unwritable(dir, err)
		case n == 1 && time.Now().Before(deadline):
			time.Sleep(20 * time.Millisecond)
		default:
			n++
		}
	}
	return "", nil, fmt.Errorf("open outbox: %d processes work for this node already: end some", maxFolders)
}

func unwritable(dir string, err error) error {
	if isFull(err) {
		return fmt.Errorf("there is no room for the outbox in %s (%w): make some, or set --outbox (BIGPANDA_OUTBOX) to another folder", dir, err)
	}
	return fmt.Errorf("the outbox in %s cannot be written (%w): let the user that kapacitord runs as write there, "+
		"or set --outbox (BIGPANDA_OUTBOX) to a folder of its own", dir, err)
}

// warnOfNetwork says so when a folder is on a file system that comes over the
// network: there locks and mapped files are not what they are on a disk.
func warnOfNetwork(folder string, log *slog.Logger) {
	if name, ok := NetworkFileSystem(folder); ok {
		log.Warn("the outbox is on a network file system, where it may be damaged: set --outbox (BIGPANDA_OUTBOX) to a folder on a disk of this host",
			"folder", folder, "file_system", name)
	}
}

// NetworkFileSystem returns the kind of the file system that a folder is on, and
// whether that comes over the network: an outbox there may be damaged.
func NetworkFileSystem(folder string) (name string, ok bool) {
	name, ok = networkFileSystems[fileSystem(folder)]
	return name, ok
}

// PassingFileSystem returns the kind of the file system that a folder is on, and
// whether that is one that does not last: overlay, which goes with its container,
// or one in memory. It is known on Linux alone.
func PassingFileSystem(folder string) (name string, ok bool) {
	if runtime.GOOS != "linux" {
		return "", false // the same numbers mean something else
	}
	name, ok = passingFileSystems[fileSystem(folder)]
	return name, ok
}

// fileSystem is the magic number of the file system that a folder is on, 0 if
// that cannot be told. It is a variable for tests.
var fileSystem = func(folder string) uint32 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil {
		return 0
	}
	return uint32(fs.Type)
}

// networkFileSystems are those of statfs(2), by their magic number.
var networkFileSystems = map[uint32]string{
	0x6969:     "nfs",
	0x517b:     "smb",
	0xff534d42: "cifs",
	0xfe534d42: "smb2",
	0x5346414f: "afs",
	0x73757245: "coda",
	0x01021997: "9p",
	0x00c36400: "ceph",
}

// passingFileSystems are those of statfs(2) that PassingFileSystem finds.
var passingFileSystems = map[uint32]string{
	0x794c7630: "overlay",
	0x01021994: "tmpfs",
	0x858458f6: "ramfs",
}

// tryLock locks a folder, or fails at once with EWOULDBLOCK. The lock is on a
// file of its own: that on the database would be lost when the database is
// swapped for a smaller one.
func tryLock(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	// Whoever removed the folder meanwhile had the lock of a file that is gone.
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		there, err = os.Stat(f.Name())
		if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
			err = syscall.EWOULDBLOCK
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// WithoutQuery returns a URL without its query and fragment, which may hold
// secrets. One that has neither stays as it is, and so does the folder's name.
func WithoutQuery(url string) string {
	if end := strings.IndexAny(url, "?#"); end >= 0 {
		return url[:end]
	}
	return url
}

// folderName is a name that any file system takes, that a person can read, and
// that no other use of the function has.
func folderName(task, node, url string) string {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, task+"."+node)
	if len(readable) > maxReadable {
		readable = readable[:maxReadable]
	}
	sum := sha256.Sum256([]byte(task + "\x00" + node + "\x00" + url))
	return readable + "." + hex.EncodeToString(sum[:4])
}
