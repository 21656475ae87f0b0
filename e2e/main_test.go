package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"bigpanda-udf/stream/test/natstest"
)

// parallel is how many tests run at once unless -parallel says otherwise.
// They wait far more than they compute, so the number of processors, Go's own
// choice, would be too few.
const parallel = "8"

// A folder for outboxes that a group may write is refused, and t.TempDir makes such
// ones where the umask is 002.
func init() { syscall.Umask(0o022) }

func TestMain(m *testing.M) {
	natstest.ServeIfChild()
	if kind := os.Getenv(asMirror); kind != "" {
		os.Exit(runMirror(kind))
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", parallel)
	}
	os.Exit(runTests(m))
}

// runTests builds the two programs and returns the exit code of the tests.
func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bigpanda-udf-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// tested is the release of Kapacitor that the server was built of. Of an
// installed server only the user knows it: nothing is skipped for that one.
var tested release

// prepare sets the programs: the function, built into dir, the server and its client.
// KAPACITORD names an installed server to use; otherwise the release of
// KAPACITOR_VERSION is built, which takes minutes the first time, and kept in
// the user's cache.
func prepare(dir string) (err error) {
	function = filepath.Join(dir, "bigpanda-udf")
	if err := buildFunction(function); err != nil {
		return err
	}
	if kapacitord = os.Getenv("KAPACITORD"); kapacitord != "" {
		if path := filepath.Join(filepath.Dir(kapacitord), "kapacitor"); exists(path) {
			client = path
		}
		return nil
	}
	tested = releases[0]
	if version := os.Getenv("KAPACITOR_VERSION"); version != "" {
		if tested, err = releaseOf(version); err != nil {
			return err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "bigpanda-udf-e2e")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "e2e: building kapacitord v%s; the first time takes minutes\n", tested.version)
	kapacitord, client, err = tested.build(cache, dir)
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
