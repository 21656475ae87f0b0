package powerloss

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk is a file system of its own, with a journal, whose power can be lost.
type disk struct {
	t     *testing.T
	image string
	at    string // where it is mounted
	up    bool
}

// diskSize is in bytes: JetStream keeps a part of it free.
const diskSize = 256 << 20

// newDisk mounts a disk on a folder, until the end of the test. It is a file in memory:
// what is written to it and not what is in the kernel's cache above it is what a
// loss leaves.
func newDisk(t *testing.T, at string) *disk {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "powerloss")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	d := &disk{t: t, image: filepath.Join(folder, "disk"), at: at}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, diskSize); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", d.image)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.unmount)
	d.mount()
	return d
}

func (d *disk) run(program string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %v: %s", program, err, out)
	}
}

func (d *disk) mount() {
	d.t.Helper()
	d.run("mount", "-o", "loop", d.image, d.at)
	d.up = true
}

func (d *disk) unmount() {
	if !d.up {
		return
	}
	if err := syscall.Unmount(d.at, 0); err != nil {
		d.t.Errorf("unmount %s: %v", d.at, err)
	}
	d.up = false
}

// Of fs/ext4/ext4.h: the file system is cut off from its disk, at once, and nothing that
// is not on it goes there, not even the journal.
const (
	ext4Shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
	withoutJournal = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
)

// losePower cuts the file system off from its disk. Whoever uses it gets errors from
// now on.
func (d *disk) losePower() error {
	folder, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := unix.IoctlSetPointerInt(int(folder.Fd()), ext4Shutdown, withoutJournal); err != nil {
		return fmt.Errorf("shut down %s: %w", d.at, err)
	}
	return nil
}

// restore mounts what the loss has left, when nobody uses the file system any more.
func (d *disk) restore() {
	d.t.Helper()
	d.unmount()
	d.mount()
}
