package main

import (
	"regexp"
	"strings"

	"bigpanda-udf/cli"

	"github.com/alecthomas/kong"
)

// A page is what there is to say of one command: the program itself, or one of its
// subcommands at any depth.
type page struct {
	Path     []string // bigpanda-udf, outbox
	Summary  string   // one sentence
	Detail   string
	Args     []*kong.Positional
	Flags    []flag
	Commands []page
}

type flag struct {
	Name, Placeholder, Help, Variable, Group string
	Bool                                     bool
	Values                                   []string // all that may be written, or nil
}

// pages returns that of the program.
func pages() (page, error) {
	model, err := cli.Model()
	if err != nil {
		return page{}, err
	}
	program := pageOf(nil, model.Node)
	program.Summary, program.Detail, _ = strings.Cut(model.Help, "\n")
	for _, node := range model.Children {
		if node.Hidden { // function mode, which has no name to type
			program.Flags = append(program.Flags, flagsOf(node)...)
		}
	}
	return program, nil
}

func pageOf(parent []string, node *kong.Node) page {
	p := page{Path: append(parent[:len(parent):len(parent)], node.Name), Summary: node.Help, Detail: node.Detail, Args: node.Positional, Flags: flagsOf(node)}
	for _, child := range node.Children {
		if !child.Hidden {
			below := pageOf(p.Path, child)
			if len(parent) > 0 { // those of the program are function mode's
				below.Flags = append(below.Flags, p.Flags...)
			}
			p.Commands = append(p.Commands, below)
		}
	}
	return p
}

// helpAndVariable takes a flag's help apart.
var helpAndVariable = regexp.MustCompile(`(?s)^(.*) \[([A-Z0-9_]+)\]$`)

func flagsOf(node *kong.Node) (flags []flag) {
	for _, f := range node.Flags {
		if f.Hidden {
			continue
		}
		made := flag{Name: f.Name, Help: f.Help, Bool: f.IsBool(), Values: strings.Fields(f.Tag.Get("values"))}
		if !made.Bool {
			made.Placeholder = f.FormatPlaceHolder()
		}
		if parts := helpAndVariable.FindStringSubmatch(f.Help); parts != nil {
			made.Help, made.Variable = parts[1], parts[2]
		}
		if f.Group != nil {
			made.Group = strings.TrimSuffix(f.Group.Title, ":")
		}
		flags = append(flags, made)
	}
	return flags
}

// all returns a page and those below it.
func (p page) all() []page {
	pages := []page{p}
	for _, c := range p.Commands {
		pages = append(pages, c.all()...)
	}
	return pages
}

// name is that of the man page.
func (p page) name() string { return strings.Join(p.Path, "-") }
