package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// scan finds the command in the arguments, and returns its name with the
// arguments in kong's order, the command first. It finds what is unknown
// before kong does: to say in one sentence what was likely meant, and because
// a function with an unknown flag is still a function.
func scan(model *kong.Application, args []string) (name string, ordered []string, err error) {
	node := childNamed(model.Node, functionNode)
	word := firstWord(model, args)
	if word >= 0 {
		if n := childNamed(model.Node, args[word]); n != nil && n != node {
			node, name = n, n.Name
			args = append([]string{name}, slices.Delete(slices.Clone(args), word, word+1)...)
			word = -1
		}
	}
	if err := checkFlags(node, args); err != nil {
		return name, nil, err
	}
	if word >= 0 {
		var commands []string
		for _, n := range model.Leaves(true) {
			commands = append(commands, n.Name)
		}
		return name, nil, usagef("unknown command %q: %s", shown(args[word]),
			didYouMean(args[word], append(commands, "help"), "%q", "see "+programName+" --help"))
	}
	return name, args, nil
}

// firstWord returns the index of the first argument that is neither a flag nor
// the value of one, -1 if there is none.
func firstWord(model *kong.Application, args []string) int {
	takesValue := make(map[string]bool)
	for _, node := range append(model.Children, model.Node) {
		for _, flag := range node.Flags {
			takesValue[flag.Name] = !flag.IsBool()
		}
	}
	for i := 0; i < len(args); i++ {
		flag, isFlag := flagOf(args[i])
		if !isFlag {
			return i
		}
		if takesValue[flag] && !strings.Contains(args[i], "=") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
		}
	}
	return -1
}

// checkFlags finds the first flag that a command does not have.
func checkFlags(node *kong.Node, args []string) error {
	var known []string
	for _, flags := range node.AllFlags(false) {
		for _, flag := range flags {
			known = append(known, flag.Name)
		}
	}
	for _, arg := range args {
		if arg == "--" {
			break // what follows is no flag
		}
		flag, isFlag := flagOf(arg)
		if !isFlag || arg == "-h" || strings.HasPrefix(arg, "--") && slices.Contains(known, flag) {
			continue
		}
		if flag == "token" && takesSettings(node.Name) {
			return usagef("--token is no flag, as \"ps\" would show it: set BIGPANDA_TOKEN, or name a file with --token-file")
		}
		given, _, _ := strings.Cut(arg, "=")
		return usagef("unknown flag %s: %s", given, didYouMean(flag, known, "--%s", "see "+helpOf(node)))
	}
	return nil
}

func helpOf(node *kong.Node) string {
	if node.Name == functionNode {
		return programName + " --help"
	}
	return programName + " " + node.Name + " --help"
}

// flagOf returns the name of the flag that an argument is.
func flagOf(arg string) (name string, isFlag bool) {
	if arg == "-h" {
		return "help", true
	}
	name, isFlag = strings.CutPrefix(arg, "-")
	name = strings.TrimPrefix(name, "-")
	name, _, _ = strings.Cut(name, "=")
	return name, isFlag && name != ""
}

func childNamed(n *kong.Node, name string) *kong.Node {
	for _, child := range n.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// explain makes kong's error about a flag's value one that a person can act on,
// and puts the environment variable before it if the value came from there.
// args begin with the command.
func explain(args []string, err error) error {
	flag, _, _ := strings.Cut(err.Error(), ":")
	if !strings.HasPrefix(flag, "--") {
		return err
	}
	if strings.Contains(err.Error(), "(<EOL>)") {
		return fmt.Errorf("%s needs a value: write %s=…", flag, flag)
	}
	given := func(arg string) bool { return arg == flag || strings.HasPrefix(arg, flag+"=") }
	if len(args) == 0 || slices.ContainsFunc(args, given) {
		return err
	}
	return fmt.Errorf("%s: %w", variable(args[0], strings.TrimPrefix(flag, "--")), err)
}

// variable returns the name of the environment variable of a setting, or of a
// command's own flag.
func variable(words ...string) string {
	return "BIGPANDA_" + strings.ReplaceAll(strings.ToUpper(strings.Join(words, "_")), "-", "_")
}
