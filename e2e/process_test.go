package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// process is one line of what ps shows.
type process struct {
	id, parent, group int
	state             string // Z: ended, and its parent has not asked for its exit code
}

// processes reads /proc. What ends meanwhile is left out.
func processes(t testing.TB) []process {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there is no /proc to read: %v", err)
	}
	var all []process
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything: begin after it.
		head, tail, _ := strings.Cut(string(text), "(")
		tail = tail[strings.LastIndex(tail, ")")+1:]
		var p process
		if p.id, err = strconv.Atoi(strings.TrimSpace(head)); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		if _, err := fmt.Sscan(tail, &p.state, &p.parent, &p.group); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		all = append(all, p)
	}
	return all
}

// inGroup returns the processes of a group that are not over.
func inGroup(t testing.TB, group int) []process {
	t.Helper()
	var found []process
	for _, p := range processes(t) {
		if p.group == group && p.state != "Z" {
			found = append(found, p)
		}
	}
	return found
}

// functions returns the functions that the server has started and that are in
// the process table, also those that are over.
func (k *kapacitor) functions() []process {
	k.t.Helper()
	var found []process
	for _, p := range processes(k.t) {
		if p.parent == k.cmd.Process.Pid {
			found = append(found, p)
		}
	}
	return found
}

// waitForFunctions waits until as many functions as wanted are there.
func (k *kapacitor) waitForFunctions(want int) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("%d functions run", want), func() string {
		if got := k.functions(); len(got) != want {
			return fmt.Sprintf("there are %d: %v", len(got), got)
		}
		return ""
	})
}

// endFunctions sends the signal to each function, and returns when they are over.
func (k *kapacitor) endFunctions(signal syscall.Signal) {
	k.t.Helper()
	for _, p := range k.functions() {
		if err := syscall.Kill(p.id, signal); err != nil {
			k.t.Fatal(err)
		}
	}
	k.eventually("the functions are over", func() string {
		for _, p := range k.functions() {
			if p.state != "Z" {
				return fmt.Sprintf("%+v", p)
			}
		}
		return ""
	})
}
