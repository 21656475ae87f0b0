package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/system"
)

// takeFolder gives a use that has no folder the only one of its task that nobody works
// in, as an edit of the TICKscript has numbered the node anew. Where there is none, or
// more than one, the use begins anew.
func takeFolder(dir, base string, o Options) {
	if _, err := os.Lstat(base); err == nil {
		return
	}
	folder, busy := onlyIdle(dir, o)
	for deadline := time.Now().Add(o.Wait); folder == "" && busy && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // who has it may be about to end
		folder, busy = onlyIdle(dir, o)
	}
	if folder == "" {
		return
	}
	written := writtenAt(folder)
	time.Sleep(o.Times.Settle)
	if again, _ := onlyIdle(dir, o); again != folder || !writtenAt(folder).Equal(written) {
		return
	}
	if err := renameFolder(folder, base); err != nil {
		o.Log.Warn("the outbox of another node of the task, which nobody has, cannot be taken over: open alerts are told again", "folder", folder, "error", err)
		return
	}
	o.Log.Info("the outbox of another node of the task, which nobody has, is this one's now", "was", folder, "folder", base)
}

// onlyIdle returns the only folder of the use's task that nobody works in and that its
// token may deliver. busy says that somebody works in one that may be of the task.
func onlyIdle(dir string, o Options) (folder string, busy bool) {
	var ofTask []string
	for _, f := range foldersIn(dir) {
		// The name spares others that they are locked for a moment.
		prefix := readableName(o.Task + ".")
		fault, _ := system.FolderFault(f)
		if fault != "" || f != baseOf(f) || !strings.HasPrefix(filepath.Base(f), prefix) {
			continue
		}
		i, err := openIdle(f, false)
		if err != nil {
			busy = busy || errors.Is(err, errInUse)
			continue
		}
		i.close()
		switch {
		case i.db == nil || i.task != o.Task:
		case i.node == TopicNode || o.Node == TopicNode: // which no edit numbers anew
		case i.hasToken(o):
			ofTask = append(ofTask, f)
		}
	}
	if len(ofTask) != 1 {
		return "", busy
	}
	return ofTask[0], busy
}

func writtenAt(folder string) time.Time {
	info, err := os.Stat(filepath.Join(folder, databaseName))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// renameFolder gives a folder, and the numbered ones beside it, another name. The
// error is EWOULDBLOCK while a process works in the first; of the others one that
// is in use stays, and is an orphan once it is not.
func renameFolder(from, to string) error {
	lock, err := tryLock(from)
	if err != nil {
		return err
	}
	defer system.Release(lock)
	if err := os.Rename(from, to); err != nil {
		return err
	}
	for _, numbered := range foldersIn(filepath.Dir(from)) {
		if baseOf(numbered) != from {
			continue
		}
		if lock, err := tryLock(numbered); err == nil {
			err = os.Rename(numbered, to+strings.TrimPrefix(numbered, from))
			system.Release(lock)
			if err != nil {
				return err
			}
		}
	}
	return system.SyncFolder(filepath.Dir(to))
}

// comeBack writes the outbox anew where it belongs, when somebody has deleted, moved
// or replaced its file or its folder: what was passed on would go with the process
// otherwise, and nobody would see into it. What stands in its place is put aside.
func (s *store) comeBack() error {
	if s.isThere() && s.hasLock() {
		return nil
	}
	log := s.options.Log
	log.Error("the outbox's file was deleted, moved or replaced while it is in use: it is written anew where it was", "folder", s.folder)
	if !s.hasLock() {
		// Another process may have begun in its place meanwhile.
		folder, lock, err := lockFolder(s.folder, time.Time{}, func(folder string) bool {
			return folder == s.folder || !isOutbox(folder)
		})
		if err != nil {
			return err
		}
		system.Release(s.lock)
		s.folder, s.lock = folder, lock
		s.moved()
	}
	if s.isThere() { // the lock alone was missing
		return nil
	}
	if err := system.SyncFoldersAbove(s.path()); err != nil {
		return err
	}
	if err := s.writeAnew(); err != nil {
		return err
	}
	if _, err := os.Lstat(s.path()); err == nil {
		aside, err := boltfile.MoveAside(s.path(), replaced, s.options.Now())
		if err != nil {
			return err
		}
		log.Error("another file stood in the outbox's place: it is put aside, and what it holds is not delivered", "file", aside)
	}
	if err := s.swap(); err != nil {
		return fmt.Errorf("go on with what was written: %w", err)
	}
	return nil
}

// hasLock reports whether the lock is the one that others see, too.
func (s *store) hasLock() bool { return system.IsAt(s.lock, filepath.Join(s.folder, lockName)) }
