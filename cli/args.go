package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"bigpanda-udf/config"

	"github.com/alecthomas/kong"
)

const (
	programName = "bigpanda-udf"
	// functionMode is the name of the command that has none to type.
	functionMode = ""
	// functionNode is what the grammar calls it. It cannot be typed either.
	functionNode = "the function"
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

// A commandRow is one row of the commands: what kong knows of it, and its flags.
type commandRow struct {
	name, help string
	flags      func() any
	tags       []string
}

// commands are all there are. A new one is a row, and a struct of flags that is a
// subcommand. The function is the one that has no name to type.
var commands = []commandRow{
	{functionNode, "", func() any { return &functionFlags{settingsWhere(allSettings, nil)} }, []string{`default:"withargs"`, `hidden:""`}},
	{"serve", "Be the function for any number of tasks, behind a socket.",
		func() any { return &serveFlags{settingFlags: settingsWhere(allSettings, nil)} }, nil},
	{"send", "Send one test alert with the settings at hand.",
		func() any { return &sendFlags{settingFlags: settingsWhere(ofAPI, nil)} }, nil},
	{"sandbox", "Serve a BigPanda to work against, with faults on demand.", func() any { return &sandboxFlags{} }, nil},
	{"demo", "Show all of it on this machine: a small fleet, an outage, every change delivered.", func() any { return &demoFlags{} }, nil},
	{"replay", "Show what would be sent for the points of a file; or send it.", newReplayFlags, nil},
	{"deliver", "Take the alerts that functions with --nats have published to BigPanda.", newDeliverFlags, nil},
	{"cluster", "See what is in the stream of --nats, who delivers it, and its dead letters; hand over.", newClusterFlags, nil},
	{"metrics", "Serve the state of all outboxes of this host to Prometheus.",
		func() any { return &metricsFlags{settingFlags: settingsWhere(ofOutboxAndNATS, nil)} }, nil},
	{"check", "Look at the settings, files, outbox and the connection to BigPanda, and say what to correct.",
		func() any { return &checkupFlags{settingFlags: settingsWhere(allSettings, nil)} }, nil},
	{"outbox", "See what waits for delivery, is held or was refused; send it again, drop or export it.", newOutboxFlags, nil},
	{"topic-handler", "Print the handler of a topic that sends its events to the daemon.", func() any { return &topicHandlerFlags{} }, nil},
	{"version", "Show the version.", func() any { return &versionFlags{} }, nil},
}

// grammar is what kong knows of the command line besides the commands.
type grammar struct {
	ShowVersion bool `name:"version" help:"Show the version."`
}

// settingFlags are the flags of settings, one for each row of a scope. They are
// texts without defaults: config reads flags, environment and files alike, and
// names in its errors where a bad value came from.
type settingFlags struct {
	Settings kong.Plugins `embed:""`
}

// settingsWhere makes the flags of the rows that are meant. help are the texts that
// are others than those of the rows, by name.
func settingsWhere(meant func(config.Setting) bool, help map[string]string) settingFlags {
	var made madeFlags
	for _, row := range config.Table {
		if !meant(row) {
			continue
		}
		kind := reflect.TypeFor[*string]()
		if row.Placeholder == "" {
			kind = reflect.TypeFor[*bool]()
		}
		group := ""
		if config.OfNATS(row.Name) {
			group = "nats"
		}
		made.add(kind, "setting:%q name:%[1]q placeholder:%q help:%q values:%q group:%q",
			row.Name, row.Placeholder, row.FlagHelp(help[row.Name]), strings.Join(row.Values(), " "), group)
	}
	return settingFlags{made.plugins()}
}

func allSettings(config.Setting) bool { return true }

func ofAPI(row config.Setting) bool { return row.Scope == config.OfAPI }

func ofOutbox(row config.Setting) bool { return row.Name == "config" || row.Name == "outbox" }

func ofOutboxAndNATS(row config.Setting) bool { return ofOutbox(row) || config.OfNATS(row.Name) }

// madeFlags are flags of a table: the fields of a struct that kong fills.
type madeFlags []reflect.StructField

// add adds one, with the tag that says to kong what it is.
func (m *madeFlags) add(kind reflect.Type, tag string, args ...any) {
	*m = append(*m, reflect.StructField{Name: fmt.Sprint("Flag", len(*m)), Type: kind, Tag: reflect.StructTag(fmt.Sprintf(tag, args...))})
}

func (m madeFlags) plugins() kong.Plugins {
	return kong.Plugins{reflect.New(reflect.StructOf(m)).Interface()}
}

func isSetting(flag *kong.Flag) bool { return flag.Tag.Has("setting") }

// A subcommand is a struct of flags, and what it does.
type subcommand interface {
	run(ctx context.Context, p Process, c *command) error
}

// command is a command line that was read.
type command struct {
	grammar
	name      string              // functionMode, or a subcommand
	chosen    subcommand          // nil: the function, or nothing was chosen
	below     any                 // of those below it, the one that was
	flags     map[string]string   // the settings that were given as flags, as text
	options   map[string][]string // those of a TICKscript that were, by name
	variables map[string]string   // those that other flags were read from, by flag
	helped    bool                // help was asked for, and printed
	hidden    *secrets            // what no output may show: of arguments and environment, and of the settings once they are read
}

// parse reads the arguments. After an error the command still has its name.
func parse(p Process) (*command, error) {
	c := &command{flags: make(map[string]string), options: make(map[string][]string), variables: make(map[string]string), hidden: p.secrets()}
	args := p.Args
	helping := len(args) > 0 && args[0] == "help"
	if helping {
		args = append(slices.Clone(args[1:]), "--help")
	}
	k, err := newParser(p, c, needed(args))
	if err != nil {
		return c, err
	}
	var typed *kong.Node
	typed, c.name, args = commandFirst(k.Model.Node, args)
	ctx, err := k.Parse(args)
	if c.helped {
		return c, nil
	}
	if err != nil {
		err = usageError{c.explain(typed, args, err)}
		if helping && c.name == functionMode {
			c.name = "help"
		}
		return c, err
	}
	for _, step := range ctx.Path {
		switch flag := step.Flag; {
		case step.Command != nil:
			if c.name == functionMode && step.Command.Name != functionNode {
				c.name = step.Command.Name // it stood behind "--"
			}
			if target := step.Command.Target.Addr().Interface(); c.chosen == nil {
				c.chosen, _ = target.(subcommand)
			} else {
				c.below = target
			}
		case flag == nil:
		case isSetting(flag):
			c.flags[flag.Name] = fmt.Sprint(flag.Target.Elem())
		case flag.Tag.Has("option"):
			c.options[flag.Tag.Get("option")] = flag.Target.Interface().([]string)
		}
	}
	if c.ShowVersion {
		c.name, c.chosen = "version", new(versionFlags)
	}
	return c, nil
}

// needed are the commands that a parser of these arguments has to know: one costs a
// fraction of all.
func needed(args []string) []commandRow {
	name := functionNode
	if len(args) > 0 {
		name = args[0]
	}
	i := slices.IndexFunc(commands, func(row commandRow) bool { return row.name == name })
	if i < 0 {
		return commands // it stands behind a flag, or is none
	}
	return commands[i : i+1]
}

func newParser(p Process, c *command, commands []commandRow) (*kong.Kong, error) {
	var dynamic kong.OptionFunc = func(k *kong.Kong) error {
		for _, row := range commands {
			if err := kong.DynamicCommand(row.name, row.help, "", row.flags(), row.tags...).Apply(k); err != nil {
				return err
			}
		}
		return nil
	}
	return kong.New(&c.grammar, dynamic,
		kong.Name(programName),
		kong.Description(strings.TrimSpace(description)),
		kong.Writers(p.Stdout, p.Stderr),
		// Kapacitor is answered also when the arguments are wrong, so kong
		// never ends the process.
		kong.Exit(func(int) { c.helped = true }),
		kong.ExplicitGroups([]kong.Group{{Key: "faults", Title: "Faults, from the start:"}, {Key: "topics", Title: "Events of topics:"}, {Key: "nats", Title: "NATS JetStream:"}, {Key: "options", Title: "Options of @bigpanda(), as in a TICKscript:"}}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoAppDescFormat: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.PostBuild(func(k *kong.Kong) error {
			for _, command := range k.Model.Children {
				for _, node := range withChildren(command) {
					for _, flag := range node.Flags {
						flag.Help += " [" + variable(command.Name, flag) + "]"
					}
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
			name := variable(c.name, flag)
			text, _ := p.LookupEnv(name)
			text = strings.TrimSpace(text)                               // as config does
			if text == "" || isSetting(flag) || c.name == functionMode { // settings have layers of their own
				return nil, nil
			}
			c.variables[flag.Name] = name
			return text, nil
		})),
	)
}

// variable is the environment variable of a flag. All commands below one share theirs.
func variable(command string, flag *kong.Flag) string {
	if isSetting(flag) {
		return config.Variable(flag.Name)
	}
	first, _, _ := strings.Cut(command, " ")
	return config.Variable(first, flag.Name)
}

func withChildren(n *kong.Node) []*kong.Node {
	all := []*kong.Node{n}
	for _, child := range n.Children {
		all = append(all, withChildren(child)...)
	}
	return all
}

func childNamed(n *kong.Node, name string) *kong.Node {
	i := slices.IndexFunc(n.Children, func(child *kong.Node) bool { return child.Name == name })
	if i < 0 {
		return nil
	}
	return n.Children[i]
}

// commandFirst returns the command in the arguments, with its name in words, and the
// arguments with these before its flags: kong takes flags that come earlier for those
// of the function, or of another default.
func commandFirst(root *kong.Node, args []string) (command *kong.Node, name string, ordered []string) {
	takesValue := make(map[string]bool)
	for _, node := range withChildren(root) {
		for _, flag := range node.Flags {
			takesValue["--"+flag.Name] = !flag.IsBool()
		}
	}
	command = root
	words := 0
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		switch {
		case takesValue[args[i]] && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"):
			i++
			continue
		case strings.HasPrefix(args[i], "-") && args[i] != "-":
			continue
		}
		next := childNamed(command, args[i])
		if next == nil {
			break
		}
		command = next
		args = slices.Concat(args[:words], args[i:i+1], args[words:i], args[i+1:])
		words++
	}
	return command, strings.Join(args[:words], " "), args
}

// explain makes kong's error one that a person can act on, and puts the environment
// variable before an error about a value that came from there.
func (c *command) explain(typed *kong.Node, args []string, err error) error {
	help := "see " + strings.TrimSpace(programName+" "+c.name) + " --help"
	text := err.Error()
	if flag, ok := strings.CutPrefix(text, "unknown flag "); ok {
		flag, _, _ = strings.Cut(flag, ",") // behind which kong has suggestions of its own
		return unknownFlag(flag, cmp.Or(typed.DefaultCmd, typed), help, args)
	}
	if word, ok := strings.CutPrefix(text, "unexpected argument "); ok {
		if typed.DefaultCmd == nil {
			return fmt.Errorf("unexpected argument %s: leave it out, or %s", config.Shown(word), help)
		}
		var commands []string
		for _, n := range typed.Children {
			if !n.Hidden {
				commands = append(commands, n.Name)
			}
		}
		if c.name == functionMode {
			commands = append(commands, "help")
		}
		return fmt.Errorf("unknown command %q: %s", config.Shown(word), config.DidYouMean(word, commands, "%q", help))
	}
	flag, _, _ := strings.Cut(text, ":")
	variable, ok := c.variables[strings.TrimPrefix(flag, "--")]
	switch {
	case ok:
		return fmt.Errorf("%s: %w", variable, err)
	case strings.HasPrefix(flag, "--") && strings.Contains(text, "(<EOL>)"):
		return fmt.Errorf("%s needs a value: write %s=…", flag, flag)
	}
	return err
}

// unknownFlag is the error of a flag that a command does not have. Of one with a
// single hyphen kong names the first letter alone.
func unknownFlag(flag string, node *kong.Node, help string, args []string) error {
	if !strings.HasPrefix(flag, "--") {
		i := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, flag) })
		flag, _, _ = strings.Cut(args[max(i, 0)], "=")
	}
	name := strings.TrimLeft(flag, "-")
	var known []string
	for _, f := range slices.Concat(node.AllFlags(false)...) {
		known = append(known, f.Name)
	}
	if name == "token" && slices.Contains(known, "token-file") {
		return errors.New("--token is no flag, as \"ps\" would show it: set BIGPANDA_TOKEN, or name a file with --token-file")
	}
	if config.OfNATS(name) && !slices.Contains(known, "nats") {
		return fmt.Errorf("unknown flag %s: this command does nothing by way of NATS, so leave it out", flag)
	}
	return fmt.Errorf("unknown flag %s: %s", flag, config.DidYouMean(name, known, "--%s", help))
}
