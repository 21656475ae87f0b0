package system

import "os"

// IsFileAt reports whether the file that info is of is the one that has the path.
func IsFileAt(path string, info os.FileInfo) bool {
	if same, ok := sameInode(path, info); ok {
		return same
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(there, info)
}
