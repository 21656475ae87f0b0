package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the program: for the scripts, and for the
// demo, which starts itself. Where the tests' own folders are (in a container, or
// in memory) is nothing that a check is to find. More tests run at once than there
// are processors, as most of them wait.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // a -parallel of the command line wins
	testscript.Main(inMemory{m}, map[string]func(){programName: func() {
		times := testTimes
		if os.Getenv(noLooks) != "" {
			times.Outbox.Look = time.Hour
		}
		os.Exit(Run(context.Background(), Process{
			Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv,
			Times: times, passingFileSystem: lasting,
		}))
	}})
}

// inMemory are the tests with their folders in memory; testscript's own folder, which the
// program is executed from, is not.
type inMemory struct{ *testing.M }

func (m inMemory) Run() int {
	test.InMemory()
	return m.M.Run()
}

// noLooks in the environment has the program look for orphans never: for sessions in
// which what is stopped is to be nobody else's.
const noLooks = "BIGPANDA_UDF_TEST_NO_LOOKS"

// lasting is a file system that stays.
func lasting(string) (string, bool) { return "", false }

// TestScripts runs the sessions in testdata. Their own commands:
//
//	api [FAULTS]         start a sandbox and set BIGPANDA_URL, and OIM_URL; FAULTS are JSON
//	freeport NAME        set a variable to a loopback address that nobody listens at
//	await ADDRESS        wait until somebody does
//	awaitsocket PATH     the same for a unix socket
//	exits CODE PROGRAM…  run a program that ends with this code
//	hides TEXT           neither stdout nor stderr holds the text
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           scriptCondition,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TOKEN", testToken)
			e.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"api": func(ts *testscript.TestScript, _ bool, args []string) {
				var faults sandbox.Faults
				if len(args) > 0 {
					var err error
					faults, err = sandbox.ParseFaults([]byte(args[0]))
					ts.Check(err)
				}
				api := sandbox.New(sandbox.Options{Token: testToken, Faults: faults})
				server := httptest.NewServer(api)
				ts.Defer(func() {
					api.Close()
					server.Close()
				})
				ts.Setenv("BIGPANDA_URL", server.URL+sandbox.Path)
				ts.Setenv("OIM_URL", server.URL+sandbox.OIMPath)
			},
			"freeport": func(ts *testscript.TestScript, _ bool, args []string) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				defer l.Close()
				ts.Setenv(args[0], l.Addr().String())
			},
			"await":       func(ts *testscript.TestScript, _ bool, args []string) { await(ts, "tcp", args[0]) },
			"awaitsocket": func(ts *testscript.TestScript, _ bool, args []string) { await(ts, "unix", ts.MkAbs(args[0])) },
			"exits":       exits,
			"hides": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, stream := range []string{"stdout", "stderr"} {
					if strings.Contains(ts.ReadFile(stream), args[0]) {
						ts.Fatalf("P9: %s shows %q", stream, args[0])
					}
				}
			},
		},
	})
}

// scriptCondition knows [race]: a script of texts that the program prints without a
// second goroutine skips under the race detector, with which each start costs several
// times as much.
func scriptCondition(name string) (bool, error) {
	if name == "race" {
		return test.Race, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// await waits until somebody listens.
func await(ts *testscript.TestScript, network, address string) {
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("nobody listens at %s: %v", address, err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

// exits runs a program, and fails unless it ends with the code that is given.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %v: %v", args[1:], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("it ends with %d, want %d", got, want)
	}
}
