package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The programs under test, as paths; set by TestMain.
var (
	kapacitord string // the server
	client     string // kapacitor, its command line; "" beside an installed server without it
	function   string // bigpanda-udf
)

// buildFunction builds the program of the module above, as it is shipped:
// static, without cgo.
func buildFunction(path string, flags ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", path}, flags...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return run(cmd)
}

// A release of Kapacitor that the tests were run with.
type release struct {
	version string
	// toolchain is the Go that builds it; "": the one that builds the tests.
	toolchain string
	// olderHandler: its native handler has fewer options, see native_test.go.
	olderHandler bool
}

// releases begin with the one that is tested unless KAPACITOR_VERSION says
// otherwise. For another one add it here and try: what it takes is known when it
// runs.
var releases = []release{
	{version: "1.8.3"},
	{version: "1.7.0"},
	{version: "1.6.0", olderHandler: true},
	// One of its modules panics at start if a newer Go than 1.21 built it: that
	// checks more of what encoding/base64 is given.
	{version: "1.5.9", olderHandler: true, toolchain: "go1.21.13"},
}

// releaseOf returns the release with the version.
func releaseOf(version string) (release, error) {
	var known []string
	for _, r := range releases {
		if r.version == version {
			return r, nil
		}
		known = append(known, r.version)
	}
	return release{}, fmt.Errorf("KAPACITOR_VERSION is %q, and the tests build one of %s; an installed server goes by KAPACITORD", version, strings.Join(known, ", "))
}

// build builds the release's own kapacitord and kapacitor, with the modules that its
// own go.mod names, and returns their paths in cache. work is for what is needed on
// the way.
func (r release) build(cache, work string) (server, client string, err error) {
	module, err := r.download("github.com/influxdata/kapacitor@v"+r.version, work)
	if err != nil {
		return "", "", err
	}
	// Go builds no main module in its module cache, so this is a copy.
	source := filepath.Join(work, "kapacitor")
	if err := os.CopyFS(source, os.DirFS(module)); err != nil {
		return "", "", fmt.Errorf("copy Kapacitor's source: %w", err)
	}
	env, err := r.withoutFlux(source, cache, work)
	if err != nil {
		return "", "", fmt.Errorf("do without Flux: %w", err)
	}
	build := func(program string) (string, error) {
		path := filepath.Join(cache, program+"-"+r.version)
		// The copy is elsewhere each time: -trimpath lets Go's build cache find what
		// was built of the last one.
		return path, run(r.command(source, env, "build", "-trimpath", "-buildvcs=false",
			"-ldflags=-X main.version="+r.version, "-o", path, "./cmd/"+program))
	}
	if server, err = build("kapacitord"); err == nil {
		client, err = build("kapacitor")
	}
	return server, client, err
}

// command is a go command in a folder, with the release's toolchain.
func (r release) command(dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if r.toolchain != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+r.toolchain)
	}
	return cmd
}

// download has a module in Go's module cache and returns its folder. Where no
// version is named it is that of the main module in dir.
func (r release) download(module, dir string) (string, error) {
	out, err := r.command(dir, nil, "mod", "download", "-json", module).Output()
	var answer struct{ Dir, Error string }
	if err := errors.Join(err, json.Unmarshal(out, &answer)); err != nil || answer.Error != "" {
		return "", fmt.Errorf("download module %s: %w %s", module, err, answer.Error)
	}
	return answer.Dir, nil
}

// fluxInit is what the server's main program does for Flux. It needs the real
// library: with a stand-in it panics.
const (
	fluxInit       = "fluxinit.FluxInit()"
	fluxInitImport = `"github.com/influxdata/flux/fluxinit"`
)

// withoutFlux makes the source in dir build without the C library that Flux
// links through pkg-config, from v1.6 on: for that flux/ has a stand-in. It
// returns the environment that lets the build find it.
func (r release) withoutFlux(dir, cache, work string) ([]string, error) {
	command := filepath.Join(dir, "cmd", "kapacitord", "run", "command.go")
	text, err := os.ReadFile(command)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(text), fluxInit) {
		return []string{"CGO_ENABLED=0"}, nil
	}
	text = []byte(strings.NewReplacer(fluxInit, "", fluxInitImport, "").Replace(string(text)))
	if err := os.WriteFile(command, text, 0o644); err != nil {
		return nil, err
	}
	flux, err := r.download("github.com/influxdata/flux", dir)
	if err != nil {
		return nil, err
	}
	library := filepath.Join(cache, "flux")
	if err := buildFlux(library, work); err != nil {
		return nil, err
	}
	// Where the stand-in is goes through CGO_CFLAGS and CGO_LDFLAGS: they are
	// part of the key of Go's build cache, and what pkg-config says is not.
	return []string{
		"CGO_ENABLED=1", "PKG_CONFIG_PATH=" + library,
		"CGO_CFLAGS=-O2 -I" + filepath.Join(flux, "libflux", "include"), "CGO_LDFLAGS=-O2 -L" + library,
	}, nil
}

// buildFlux makes the static library and its flux.pc in dir. A file that is
// there with the same content is left alone: another run may be reading it.
func buildFlux(dir, work string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	object, archive := filepath.Join(work, "flux.o"), filepath.Join(work, "libflux.a")
	if err := run(exec.Command("gcc", "-O1", "-Wall", "-c", "flux/flux.c", "-o", object)); err != nil {
		return err
	}
	// D leaves out times, so equal sources make equal libraries.
	if err := run(exec.Command("ar", "rcsD", archive, object)); err != nil {
		return err
	}
	library, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	const pc = "Name: flux\nDescription: stand-in for libflux\nVersion: 0\nLibs: -lflux\n"
	return errors.Join(
		replaceFile(filepath.Join(dir, "libflux.a"), library),
		replaceFile(filepath.Join(dir, "flux.pc"), []byte(pc)),
	)
}

// replaceFile gives a file its content in one step, if it has another.
func replaceFile(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(content) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// run runs a command; its error holds all that the command said.
func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
