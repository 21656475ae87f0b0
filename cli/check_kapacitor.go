package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/regularfile"

	"github.com/BurntSushi/toml"
)

// What a function's timeout should be within. Kapacitor takes any over a
// millisecond (services/udf/config.go).
const (
	kapacitorLeast = time.Millisecond
	saneLeast      = 5 * time.Second
	saneMost       = 5 * time.Minute
)

// kapacitorFlags name a kapacitor.conf, from which the settings of the function come
// in the place of flags and environment.
type kapacitorFlags struct {
	KapacitorConf string `placeholder:"FILE" help:"Look at the function of this kapacitor.conf, as kapacitord would start it."`
	Function      string `placeholder:"NAME" help:"Which function of --kapacitor-conf (those whose prog is this program)."`
}

// kapacitorConf is what is read of a kapacitor.conf.
type kapacitorConf struct {
	chosen []functionConf // those of its functions that are meant, by name

	UDF struct {
		Functions map[string]functionConf
	}
	BigPanda struct {
		Enabled, Global bool
		Token           string
	}
}

// functionConf is a section [udf.functions.NAME].
type functionConf struct {
	name    string
	Prog    string
	Args    []string
	Timeout any // so that a number gives a sentence
	Env     map[string]string
	Socket  string
}

// read reads the kapacitor.conf; nil: none was named. It hides the tokens in it.
func (f kapacitorFlags) read(c *command) (*kapacitorConf, error) {
	switch {
	case f.KapacitorConf == "" && f.Function != "":
		return nil, usagef("--function names one of a kapacitor.conf: add --kapacitor-conf FILE, or leave it out")
	case f.KapacitorConf == "":
		return nil, nil
	case len(c.flags) > 0:
		return nil, usagef("--%s means nothing with --kapacitor-conf: only what stands in that file counts",
			slices.Sorted(maps.Keys(c.flags))[0])
	}
	data, err := regularfile.Read(f.KapacitorConf, regularfile.MaxText)
	if err != nil {
		return nil, usagef("--kapacitor-conf: %w", err)
	}
	conf := new(kapacitorConf)
	if err := toml.Unmarshal(data, conf); err != nil {
		if twice := config.DefinedTwice(data); twice != "" {
			return nil, usagef("--kapacitor-conf: kapacitord does not start with %s: %s", f.KapacitorConf, twice)
		}
		// The error's own text may repeat a secret.
		where := ""
		if at := (toml.ParseError{}); errors.As(err, &at) {
			where = fmt.Sprintf(" in line %d", at.Position.Line)
		}
		return nil, usagef("--kapacitor-conf: %s is nothing that kapacitord would read%s: correct it", f.KapacitorConf, where)
	}
	c.hidden.add(conf.BigPanda.Token)
	names, err := conf.names(f)
	for _, name := range names {
		fn := conf.UDF.Functions[name]
		fn.name = name
		c.hidden.add(fn.token())
		conf.chosen = append(conf.chosen, fn)
	}
	return conf, err
}

func (fn functionConf) token() string { return fn.Env[config.Variable("token")] }

// command is the function's command line, and the environment that it has, whose
// secrets are hidden, too. After an error there is still a command.
func (fn functionConf) command(hidden *secrets) (c *command, env func(string) (string, bool), err error) {
	env = func(name string) (string, bool) {
		text, ok := fn.Env[name]
		if !ok && name == "HOME" { // kapacitord hands on its own
			if u, err := user.Current(); err == nil {
				return u.HomeDir, true
			}
		}
		return text, ok
	}
	c, err = parse(Process{Args: fn.Args, Stdout: io.Discard, Stderr: io.Discard, LookupEnv: env})
	c.hidden = hidden
	return c, env, err
}

// kapacitor checks the functions of a kapacitor.conf that are this program.
func (k *checkup) kapacitor(ctx context.Context, conf *kapacitorConf) {
	k.ok("user", "%s: what it may read, write and execute is looked at", k.user)
	if os.Geteuid() == 0 {
		k.note("user", "run this as whoever kapacitord runs as: sudo -u kapacitor "+programName+" check", "root may do everything, which says nothing of kapacitord")
	}
	secret := conf.BigPanda.Token != "" || slices.ContainsFunc(conf.chosen, func(fn functionConf) bool { return fn.token() != "" })
	k.file("kapacitor.conf", "kapacitor-conf", k.KapacitorConf, secret)
	if conf.BigPanda.Enabled && conf.BigPanda.Global {
		k.warn("[bigpanda]", "set enabled = false there", "every alert is sent twice: Kapacitor's own handler is on for all alerts")
	}
	k.server(ctx)
	for _, fn := range conf.chosen {
		k.function = fn.name
		if !k.JSON && !k.Quiet {
			k.printf("\n[udf.functions.%s]\n", plain(k.hidden.redact(fn.name)))
		}
		k.section(ctx, fn)
	}
}

func (c kapacitorConf) names(f kapacitorFlags) (names []string, err error) {
	all := slices.Sorted(maps.Keys(c.UDF.Functions))
	if f.Function != "" {
		if _, ok := c.UDF.Functions[f.Function]; !ok {
			return nil, usagef("%s has no section [udf.functions.%s]: %s", f.KapacitorConf, f.Function,
				config.DidYouMean(f.Function, all, "%s", "paste kapacitor.conf.snippet"))
		}
		return []string{f.Function}, nil
	}
	for _, name := range all {
		fn := c.UDF.Functions[name]
		if filepath.Base(fn.Prog) == programName || isThisFile(fn.Prog) || fn.Prog == "" && strings.Contains(name+fn.Socket, defaultFunction) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no [udf.functions.NAME] whose prog is %s: paste kapacitor.conf.snippet, or name the section with --function", f.KapacitorConf, programName)
	}
	return names, nil
}

func isThisFile(prog string) bool {
	program, err := os.Executable()
	if err != nil {
		return false
	}
	this, err := os.Stat(program)
	if err != nil {
		return false
	}
	that, err := os.Stat(prog)
	return err == nil && os.SameFile(this, that)
}

func (k *checkup) section(ctx context.Context, fn functionConf) {
	k.timeout(fn.Timeout)
	if fn.Socket != "" {
		k.socket(fn)
		return
	}
	k.prog(fn.Prog)
	known := config.Variables()
	for _, name := range slices.Sorted(maps.Keys(fn.Env)) {
		if strings.HasPrefix(name, "BIGPANDA_") && !slices.Contains(known, name) {
			k.warn("env", config.DidYouMean(name, known, "%s", "leave it out"), "%s is no setting, and is not looked at", name)
		}
	}
	args := make([]string, len(fn.Args)) // as they may be shown
	for i, arg := range fn.Args {
		args[i] = config.Shown(arg)
	}
	c, env, err := fn.command(k.hidden)
	const hint = "see " + programName + " --help for what may stand there"
	switch {
	case err != nil:
		k.fail("args", "", "%s", err)
	case c.helped, c.name != functionMode:
		k.fail("args", hint, "%q make it a command, and no function", args)
	default:
		k.ok("args", "%q", args)
	}
	k.examine(ctx, c, env)
}

// timeout checks what Kapacitor waits for a sign of life.
func (k *checkup) timeout(v any) {
	const check, hint = "function's timeout", `write timeout = "10s"`
	text, ok := v.(string)
	d, err := time.ParseDuration(text)
	switch {
	case v == nil:
		k.fail(check, hint, "there is none, without which kapacitord does not start")
	case !ok, err != nil:
		k.fail(check, hint, "%v is no duration, so kapacitord does not start", v)
	case d <= kapacitorLeast:
		k.fail(check, hint, "%s is too short for kapacitord to start", d)
	case d < saneLeast:
		k.warn(check, hint, "%s is short: a stall of the disk that is longer ends the task", d)
	case d > saneMost:
		k.warn(check, hint, "%s is long: for so long nobody notices that a function hangs", d)
	default:
		k.ok(check, "%s", d)
	}
}

// prog checks whether kapacitord can start the program.
func (k *checkup) prog(prog string) {
	const hint = "install the program where everybody may execute it, such as /usr/local/bin, and name its full path"
	if prog == "" {
		k.fail("prog", `write prog = "/usr/local/bin/`+programName+`"`, "there is neither prog nor socket, so kapacitord does not start")
		return
	}
	if !strings.ContainsRune(prog, filepath.Separator) {
		found, err := exec.LookPath(prog)
		if err != nil {
			k.fail("prog", hint, "%s is not in the PATH", prog)
			return
		}
		k.note("prog", "name the full path", "%s is looked up in kapacitord's PATH: here it is %s", prog, found)
		prog = found
	}
	if _, ok := k.usable("prog", prog, use{0, "file", "execute", mayExecute, ""}, hint, hint); !ok {
		return
	}
	if !isThisFile(prog) {
		k.note("prog", "run "+prog+" check if the two may differ", "%s is another file than this program: it is checked by the rules of this one", prog)
		return
	}
	k.ok("prog", "%s, which %s may execute", prog, k.user)
}

// socket checks a function that is a process of its own. What settings that has,
// nobody knows here.
func (k *checkup) socket(fn functionConf) {
	if fn.Prog != "" || len(fn.Args) > 0 || len(fn.Env) > 0 {
		k.fail("socket", "leave out prog, args and env, or socket", "both a socket and a program are given, so kapacitord does not start")
		return
	}
	const hint = "start the process that listens there before kapacitord"
	writing := use{fs.ModeSocket, "socket", "write to", mayWrite, ""}
	if _, ok := k.usable("socket", fn.Socket, writing, hint, "let "+k.user+" write to it"); !ok {
		return
	}
	k.ok("socket", "%s, which %s may use; the settings are those of the process behind it", fn.Socket, k.user)
}
