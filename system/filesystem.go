package system

import "runtime"

// fileSystems are those that a database should not be on, by their magic number of
// statfs(2).
var fileSystems = map[uint32]struct {
	name    string
	network bool // otherwise it does not last
}{
	0x6969:     {"nfs", true},
	0x517b:     {"smb", true},
	0xff534d42: {"cifs", true},
	0xfe534d42: {"smb2", true},
	0x5346414f: {"afs", true},
	0x73757245: {"coda", true},
	0x01021997: {"9p", true},
	0x00c36400: {"ceph", true},
	0x794c7630: {"overlay", false}, // goes with its container
	0x01021994: {"tmpfs", false},
	0x858458f6: {"ramfs", false},
}

// NetworkFileSystem returns the kind of the file system that a folder is on, and
// whether that comes over the network: locks and mapped files are not there what they
// are on a disk, and a database may be damaged.
func NetworkFileSystem(folder string) (name string, ok bool) {
	fs := fileSystems[fileSystem(folder)]
	return fs.name, fs.network
}

// PassingFileSystem returns the kind of the file system that a folder is on, and
// whether that is one that does not last. It is known on Linux alone: elsewhere the
// same numbers mean something else.
func PassingFileSystem(folder string) (name string, ok bool) {
	fs := fileSystems[fileSystem(folder)]
	return fs.name, fs.name != "" && !fs.network && runtime.GOOS == "linux"
}

// fileSystem is a variable for tests.
var fileSystem = magicNumber
