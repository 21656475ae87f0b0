package powerloss

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var keep = flag.Bool("keep", false, "keep the trace that is recorded, in place of the kept one")

// keptTrace is for machines where nothing can be recorded.
const keptTrace = "../testdata/powerloss.trace.gz"

func readKept(t *testing.T) []op {
	t.Helper()
	f, err := os.Open(keptTrace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	ops, _, err := readTrace(z)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// record runs the writer under strace.
func record(t *testing.T) []op {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there: only the kept trace is replayed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(t.Context(), strace, "-o", os.DevNull, self, "-test.run=^$").Run(); err != nil {
		t.Skipf("strace is not allowed to trace (%v): only the kept trace is replayed", err)
	}
	trace := filepath.Join(scratch(t), "trace")
	writer := exec.CommandContext(t.Context(), strace, "-f", "-xx", "-s", fmt.Sprint(64<<20), "-o", trace, "-e", "signal=none", "-e", "trace="+traced,
		self, "-test.run=^TestWriter$", "-test.v")
	writer.Dir = t.TempDir()
	writer.Env = append(os.Environ(), writerVariable+"=1")
	if out, err := writer.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestWriter")) {
		t.Fatalf("record: %v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	ops, used, err := readTrace(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if *keep {
		if err := writeKept(text, used); err != nil {
			t.Fatal(err)
		}
	}
	return ops
}

// writeKept keeps the lines of a trace that operations are made of. The others
// are the runtime's and this machine's.
func writeKept(text []byte, used map[int]bool) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	n := 0
	for line := range bytes.Lines(text) {
		if n++; used[n] && err == nil {
			_, err = z.Write(line)
		}
	}
	if err := errors.Join(err, z.Close(), os.MkdirAll(filepath.Dir(keptTrace), 0o755)); err != nil {
		return err
	}
	return os.WriteFile(keptTrace, b.Bytes(), 0o644)
}
