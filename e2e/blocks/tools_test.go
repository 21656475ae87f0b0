package blocks

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bigpanda-udf/cli"
	"bigpanda-udf/test"
)

// TestMain lets the test binary be the program and the other tools of a machine, by
// the name that it is executed with.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // most of the tests wait
	if os.Getenv(onMachine) != "" {
		os.Exit(tool())
	}
	test.Main(m, func() { os.Exit(program(os.Args[1:])) })
}

// onMachine in the environment says that the test binary is a tool of a machine. It
// is none of the names that the demo keeps from what it starts.
const onMachine = "DOCS_TEST_MACHINE"

// tool is what the test binary is executed as, and returns its exit code.
func tool() int {
	name := filepath.Base(os.Args[0])
	stand, isOne := tools[name]
	if !isOne {
		return program(os.Args[1:])
	}
	if err := stand(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s (a stand-in): %v\n", name, err)
		return 1
	}
	return 0
}

// toolNames are the programs that a machine has in its /usr/local/bin.
func toolNames() []string {
	names := []string{"bigpanda-udf"}
	for name := range tools {
		// One that is not to be had everywhere is a stand-in only where it is not.
		if name != "curl" || !has(name) {
			names = append(names, name)
		}
	}
	return names
}

// tools are stand-ins of what is not of this project: each refuses what it does not
// know. What Kapacitor says to the same commands is a test of e2e.
var tools = map[string]func(args []string) error{
	"sudo":      sudo,
	"kapacitor": word("define", "define-topic-handler", "show-topic-handler", "show-topic", "enable", "disable", "reload", "record", "replay", "show", "list", "delete", "stats"),
	"systemctl": word("restart", "stop", "start", "enable", "daemon-reload"),
	"dpkg":      word("-i", "-r", "-P"),
	"rpm":       word("-i", "-U", "-e"),
	"podman":    word("pull"),
	"skopeo":    word("copy"),
	"docker":    word("compose"),
	"kubectl":   word("create", "apply", "exec"),
	"chown":     word("-R"),
	"curl":      func([]string) error { return nil },
	"go":        word("build", "test"),
	"make":      madeTarget,
	"install":   func([]string) error { return nil },
	"mkdir":     func([]string) error { return nil },
	"promtool":  word("check", "test"),
}

func word(known ...string) func([]string) error {
	return func(args []string) error {
		if len(args) == 0 || !slices.Contains(known, args[0]) {
			return fmt.Errorf("the arguments %q are none of %q", args, known)
		}
		return nil
	}
}

// sudo executes what it is given, as whoever runs the tests.
func sudo(args []string) error {
	if len(args) > 1 && args[0] == "-u" {
		args = args[2:]
	}
	env := os.Environ()
	for len(args) > 0 && strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	if len(args) == 0 {
		return fmt.Errorf("there is no command")
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{path}, args[1:]...), env)
}

// madeTarget looks whether the Makefile has the targets.
func madeTarget(args []string) error {
	text, err := os.ReadFile(filepath.Join(os.Getenv("PROJECT"), "Makefile"))
	if err != nil {
		return err
	}
	for _, target := range args {
		if !strings.Contains(target, "=") && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(target)+`:`).Match(text) {
			return fmt.Errorf("there is no target %s", target)
		}
	}
	return nil
}

// ready is what the subcommands say that end with Ctrl-C alone, once they work.
var ready = map[string]string{
	"sandbox": "listens at",
	"serve":   "listening",
	"metrics": "metrics are served",
	"demo":    "until Ctrl-C",
}

// program is the program; where it would stay it is told to end once it works.
func program(args []string) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p := cli.Process{Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv}
	if len(args) == 0 {
		return cli.Run(ctx, p)
	}
	switch says := ready[args[0]]; {
	case says != "":
		if args[0] == "demo" {
			p.Args = append(args, "--speed=50")
		}
		p.Stdout, p.Stderr = &until{os.Stdout, says, stop}, &until{os.Stderr, says, stop}
		return cli.Run(ctx, p)
	case args[0] == "check":
		// Where the tests' folders are may be worth a warning.
		var output bytes.Buffer
		p.Stdout = io.MultiWriter(os.Stdout, &output)
		code := cli.Run(ctx, p)
		if code == 1 && !regexp.MustCompile(`(?m)^fail`).Match(output.Bytes()) {
			return 0
		}
		return code
	}
	return cli.Run(ctx, p)
}

// An until calls stop when the text is written.
type until struct {
	io.Writer
	text string
	stop func()
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.Writer.Write(p)
	if bytes.Contains(p, []byte(u.text)) {
		u.stop()
	}
	return n, err
}
