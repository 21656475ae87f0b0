package system

import (
	"os"
	"strings"
	"testing"
)

func TestNetworkFileSystem(t *testing.T) {
	for _, tt := range []struct {
		kind uint32
		name string
		want bool
	}{
		{0x6969, "nfs", true},
		{0xff534d42, "cifs", true},
		{0xef53, "", false}, // ext4
		{0x01021994, "tmpfs", false},
	} {
		was := fileSystem
		fileSystem = func(string) uint32 { return tt.kind }
		name, ok := NetworkFileSystem("x")
		fileSystem = was
		if name != tt.name || ok != tt.want {
			t.Errorf("%#x is %q, %t, want %q, %t", tt.kind, name, ok, tt.name, tt.want)
		}
	}
}

func TestPassingFileSystem(t *testing.T) {
	for _, tt := range []struct {
		kind uint32
		want string
	}{
		{0x794c7630, "overlay"},
		{0x01021994, "tmpfs"},
		{0x858458f6, "ramfs"},
		{0xef53, ""}, // ext4
		{0, ""},      // not known
	} {
		was := fileSystem
		fileSystem = func(string) uint32 { return tt.kind }
		name, ok := PassingFileSystem("x")
		fileSystem = was
		if name != tt.want || ok != (tt.want != "") {
			t.Errorf("%#x is %q, %t, want %q", tt.kind, name, ok, tt.want)
		}
	}
}

// As the system has it.
func TestPassingFileSystemOfLinux(t *testing.T) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || !strings.Contains(string(mounts), "tmpfs /dev/shm tmpfs") {
		t.Skip("there is no tmpfs at /dev/shm")
	}
	if name, ok := PassingFileSystem("/dev/shm"); name != "tmpfs" || !ok {
		t.Errorf("/dev/shm is %q, %t", name, ok)
	}
}
