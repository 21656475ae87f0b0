// Package cli is the command: its arguments, its settings, and the wiring of
// the other rooms into one process.
//
// It owns what is written on the two output streams, and the exit code; what can be
// set, and by what, is package config's. A subcommand is a file, or files with one
// prefix, and a row of the table in args.go. In function mode,
// which is no subcommand at all, stdout belongs to the protocol and a wrong
// flag or setting is answered by Init, not by the exit code (P2). It knows
// neither protocol bytes nor payload fields.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"bigpanda-udf/config"
	"bigpanda-udf/printable"
	"bigpanda-udf/system"

	"github.com/mattn/go-isatty"
)

// The exit codes of every subcommand. Function mode ends with exitOK also
// after a failed Init, as Kapacitor has been told by then.
const (
	exitOK     = 0
	exitFailed = 1 // it was tried, and did not work
	exitUsage  = 2 // a wrong argument or setting: nothing was tried
)

// A Process is what the operating system hands to a program. Tests hand in
// their own, and so start the whole program without a new process.
type Process struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(name string) (value string, ok bool)
	// IsTerminal tells whether a stream is a person's terminal; nil asks the
	// operating system.
	IsTerminal func(stream any) bool

	// passingFileSystem is outbox's function, but in tests, whose folders may be on
	// one.
	passingFileSystem func(dir string) (name string, ok bool)
	// Times are how long the function waits for others.
	Times Times
}

// Run runs the program to its end and returns its exit code. The end of ctx
// does what SIGTERM does. Nothing but the function mode's frames and the
// answers of subcommands goes to Stdout.
func Run(ctx context.Context, p Process) int {
	if p.IsTerminal == nil {
		p.IsTerminal = isTerminal
	}
	if p.passingFileSystem == nil {
		p.passingFileSystem = system.PassingFileSystem
	}
	c, err := parse(p)
	switch {
	case c.helped:
		return exitOK
	case c.name == functionMode:
		return p.runFunction(ctx, c, err)
	case err == nil:
		err = c.chosen.run(ctx, p, c)
	}
	if err != nil {
		return p.fail(c, err)
	}
	return exitOK
}

// errSaid is what was said on stdout already.
var errSaid = errors.New("see above")

// usageError is an error that came before anything was tried.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// fail says what went wrong and returns the exit code for it.
func (p Process) fail(c *command, err error) int {
	if err == errSaid {
		return exitFailed
	}
	p.say("%s: %v", strings.TrimSpace(programName+" "+c.name), c.hidden.redactError(err))
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// settings are those of the process, with what it takes to work with them.
type settings struct {
	config.Settings
	hidden *secrets
}

// settings reads the settings, and hides what is secret in them.
func (c *command) settings(p Process) (settings, error) {
	s, err := config.Resolve(c.flags, p.LookupEnv)
	c.hidden.addSettings(s)
	if err != nil {
		err = usageError{err}
	}
	return settings{Settings: s, hidden: c.hidden}, err
}

// newLogger logs as the settings say.
func (s settings) newLogger(w io.Writer) *slog.Logger {
	return newLogger(w, s.LogLevel, s.LogFormat, s.hidden)
}

// logWarnings logs what the operator should know of the settings.
func (s settings) logWarnings(log *slog.Logger) {
	for _, warning := range s.Warnings {
		log.Warn(s.hidden.redact(warning))
	}
}

// sayWarnings says it to whoever has typed a command.
func (s settings) sayWarnings(p Process, command string) {
	for _, warning := range s.Warnings {
		p.say("%s %s: warning: %s", programName, command, s.hidden.redact(warning))
	}
}

// secrets returns what nothing may show of the arguments and the environment, of
// which settings may not have been made.
func (p Process) secrets() *secrets {
	hidden := new(secrets)
	token, _ := p.LookupEnv(config.Variable("token"))
	hidden.add(token)
	url, _ := p.LookupEnv(config.Variable("url"))
	hidden.addAddresses(append(config.ProxyVariables(p.LookupEnv), url)...)
	hidden.addAddresses(slices.DeleteFunc(slices.Clone(p.Args), func(arg string) bool { return !strings.Contains(arg, "://") })...)
	return hidden
}

// say writes a message for people. It may have several lines.
func (p Process) say(format string, args ...any) {
	fmt.Fprintln(p.Stderr, printable.Lines(fmt.Sprintf(format, args...)))
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}
