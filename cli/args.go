package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	programName = "bigpanda-udf"
	// functionMode is the name of the command that has none to type.
	functionMode = ""
	// functionNode is what the grammar calls it. It cannot be typed either.
	functionNode = "function"
)

const description = `
Delivers a BigPanda alert for each change of level that Kapacitor sees.

Without a command it is the user-defined function itself: it speaks Kapacitor's
protocol on stdin and stdout, and kapacitord starts it. Try "bigpanda-udf demo" to
see it work, and "bigpanda-udf send" to try the settings.

A flag wins over its environment variable (in brackets), that over the --handler
file, that over the --config file. The token is never a flag, since "ps" shows
those: set BIGPANDA_TOKEN, or name a file with --token-file.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings.`

// grammar is what kong knows of the command line.
type grammar struct {
	ShowVersion bool `name:"version" help:"Show the version."`

	Function functionFlags `cmd:"" default:"withargs" hidden:""`
	Serve    serveFlags    `cmd:"" help:"Be the function for any number of tasks, behind a socket."`
	Send     sendFlags     `cmd:"" help:"Send one test alert with the settings at hand."`
	Sandbox  sandboxFlags  `cmd:"" help:"Serve a BigPanda to work against, with faults on demand."`
	Demo     demoFlags     `cmd:"" help:"Show the whole way on this machine: a small fleet, an outage, every change delivered."`
	Replay   replayFlags   `cmd:"" help:"Show what would be sent for the points of a file; or send it."`
	Check    checkupFlags  `cmd:"" help:"Look at the settings, files, outbox and the way to BigPanda, and say what to mend."`
	Outbox   outboxFlags   `cmd:"" help:"See what waits for delivery, is held or was refused; send it again, drop or export it."`
	Version  versionFlags  `cmd:"" help:"Show the version."`
}

// command is a command line that was read.
type command struct {
	grammar
	name   string            // functionMode, or a subcommand
	flags  map[string]string // the settings that were given as flags, as text
	helped bool              // help was asked for, and printed
}

// parse reads the arguments. After an error the command still has its name.
func parse(p Process) (command, error) {
	c := command{flags: make(map[string]string)}
	k, err := newParser(p, &c)
	if err != nil {
		return c, err
	}
	args := p.Args
	helping := len(args) > 0 && args[0] == "help"
	if helping {
		args = append(slices.Clone(args[1:]), "--help")
	}
	c.name, args, err = scan(k.Model, args)
	if err != nil {
		if helping {
			c.name = "help"
		}
		return c, err
	}
	ctx, err := k.Parse(args)
	if c.helped {
		return c, nil
	}
	if err != nil {
		return c, usageError{explain(args, err)}
	}
	if c.ShowVersion {
		c.name = "version"
	}
	if node := ctx.Selected(); node != nil && takesSettings(node.Name) {
		for _, flag := range node.Flags {
			if !flag.Set || !isSetting(flag.Name) {
				continue
			}
			switch v := flag.Target.Interface().(type) {
			case *string:
				c.flags[flag.Name] = *v
			case *bool:
				c.flags[flag.Name] = fmt.Sprint(*v)
			}
		}
	}
	return c, nil
}

func newParser(p Process, c *command) (*kong.Kong, error) {
	// Of the flags that are no settings. Settings have layers of their own.
	variables := make(map[*kong.Flag]string)
	c.Replay.Options = newOptionFlags()
	return kong.New(&c.grammar,
		kong.Name(programName),
		kong.Description(strings.TrimSpace(description)),
		kong.Writers(p.Stdout, p.Stderr),
		// Kapacitor is answered also when the arguments are wrong, so kong
		// never ends the process.
		kong.Exit(func(int) { c.helped = true }),
		kong.ExplicitGroups([]kong.Group{{Key: "faults", Title: "Faults, from the start:"}, {Key: "options", Title: "Options of @bigpanda(), as in a TICKscript:"}}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoAppDescFormat: true, WrapUpperBound: 100}),
		helpVariables(),
		kong.PostBuild(func(k *kong.Kong) error {
			for _, node := range k.Model.Children {
				for _, flag := range node.Flags {
					name := variable(flag.Name)
					if !takesSettings(node.Name) || !isSetting(flag.Name) {
						name = variable(node.Name, flag.Name)
						variables[flag] = name
					}
					flag.Help += " [" + name + "]"
				}
			}
			return nil
		}),
		kong.Help(func(o kong.HelpOptions, ctx *kong.Context) error {
			if ctx.Selected() == nil {
				// Function mode has no name to ask for the help of.
				root := ctx.Model.Node
				root.Flags = append(root.Flags, childNamed(root, functionNode).Flags...)
				o.NoAppSummary = true
				fmt.Fprintf(p.Stdout, "Usage: %s [<command>] [flags]\n", programName)
			}
			return kong.DefaultHelpPrinter(o, ctx)
		}),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			if name, ok := variables[flag]; ok {
				if text, _ := p.LookupEnv(name); text != "" {
					return text, nil
				}
			}
			return nil, nil
		})),
	)
}

// takesSettings tells whether the settings are flags of a command.
func takesSettings(node string) bool {
	return slices.Contains([]string{functionNode, "serve", "send", "replay", "check", "outbox"}, node)
}
