// Package cli is the command: its arguments, its settings, and the wiring of
// the other rooms into one process.
//
// It owns where a setting comes from (flag, environment, files, default), what
// is written on the two output streams, and the exit code. In function mode,
// which is no subcommand at all, stdout belongs to the protocol and a wrong
// flag or setting is answered by Init, not by the exit code (P2). It knows
// neither protocol bytes nor payload fields.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

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
	c, err := parse(p)
	if c.helped {
		return exitOK
	}
	if c.name == functionMode {
		return p.runFunction(ctx, c, err)
	}
	if err != nil {
		return p.fail(c.name, err)
	}
	switch c.name {
	case "serve":
		err = p.serve(ctx, c)
	case "send":
		err = p.send(ctx, c)
	case "sandbox":
		err = p.sandbox(ctx, c.Sandbox)
	case "demo":
		err = p.demo(ctx, c.Demo)
	case "replay":
		err = p.replay(ctx, c)
	case "check":
		err = p.check(ctx, c)
	case "outbox":
		err = p.outbox(ctx, c)
	case "version":
		err = p.version(c.Version)
	}
	if err != nil {
		return p.fail(c.name, err)
	}
	return exitOK
}

// usageError is an error that came before anything was tried.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// fail says what went wrong and returns the exit code for it.
func (p Process) fail(command string, err error) int {
	name := programName
	if command != "" {
		name += " " + command
	}
	hidden := new(secrets)
	if token, ok := p.LookupEnv(variable("token")); ok {
		hidden.add(token)
	}
	p.say("%s: %v", name, hidden.blotError(err))
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// say writes a message for people.
func (p Process) say(format string, args ...any) { fmt.Fprintf(p.Stderr, format+"\n", args...) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}
