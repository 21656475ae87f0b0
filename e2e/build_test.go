package e2e

import (
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
	function   string // bigpanda-udf
)

// buildFunction builds the program of the module above, as it is shipped:
// static, without cgo.
func buildFunction(dir string) (string, error) {
	path := filepath.Join(dir, "bigpanda-udf")
	return path, goBuild("..", path, ".", "CGO_ENABLED=0")
}

// buildKapacitord builds Kapacitor's server and returns its path. Its Flux
// part links a C library through pkg-config, for which flux/ has a stand-in.
// Where that is goes through CGO_CFLAGS and CGO_LDFLAGS: they are part of the
// key of Go's build cache, and what pkg-config says is not.
func buildKapacitord(dir string) (string, error) {
	flux, err := goList("github.com/influxdata/flux")
	if err != nil {
		return "", err
	}
	include := filepath.Join(flux, "libflux", "include")
	if err := buildFlux(dir, include); err != nil {
		return "", fmt.Errorf("build the stand-in for libflux: %w", err)
	}
	path := filepath.Join(dir, "kapacitord")
	return path, goBuild(".", path, "./kapacitord", "CGO_ENABLED=1", "PKG_CONFIG_PATH="+dir,
		"CGO_CFLAGS=-O2 -I"+include, "CGO_LDFLAGS=-O2 -L"+dir)
}

// buildFlux makes the static library and its flux.pc in dir. A file that is
// there with the same content is left alone: another run may be reading it.
func buildFlux(dir, include string) error {
	work, err := os.MkdirTemp(dir, "flux-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	object, archive := filepath.Join(work, "flux.o"), filepath.Join(work, "libflux.a")
	if err := run(exec.Command("gcc", "-O1", "-Wall", "-I", include, "-c", "flux/flux.c", "-o", object)); err != nil {
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

// goBuild builds the package pkg of the module in dir into the file out. The
// tag is the server's own: see kapacitord/main.go.
func goBuild(dir, out, pkg string, env ...string) error {
	cmd := exec.Command("go", "build", "-tags", "kapacitord", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	return run(cmd)
}

// goList returns the folder in which the source of a module is.
func goList(module string) (string, error) {
	// A fresh machine has the module's go.mod file, but not yet its source.
	if err := run(exec.Command("go", "mod", "download", module)); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{ .Dir }}", module).Output()
	if err != nil {
		return "", fmt.Errorf("look up module %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// run runs a command; its error holds all that the command said.
func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
