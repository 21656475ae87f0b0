package system

import (
	"errors"
	"os"
	"path/filepath"
)

// SyncFolder makes a rename in a folder durable.
func SyncFolder(folder string) error {
	f, err := os.Open(filepath.Clean(folder))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// SyncFoldersAbove makes the folder that a database is to be in durable, and
// those above: a loss of power would take the database away with any of them.
func SyncFoldersAbove(path string) error {
	dir := filepath.Dir(filepath.Dir(path))
	if err := SyncFolder(dir); err != nil {
		return err
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		// One that may not be read was not made by this program.
		SyncFolder(dir)
	}
	return nil
}
