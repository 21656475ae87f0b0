package test

import (
	"os/exec"
	"strings"
	"testing"
)

// The program holds the client of NATS, and not the server, which this module is for.
func TestProgramHoldsNoServer(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-deps", ".")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := string(out)
	if !strings.Contains(deps, "github.com/nats-io/nats.go") || strings.Contains(deps, "nats-server") {
		t.Errorf("the program holds %s", deps)
	}
}
