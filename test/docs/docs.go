// Package docs reads what README.md and the pages of docs/ show, for the tests that
// run it: e2e/blocks, those of e2e with a real Kapacitor and of stream/test with real NATS
// servers. The tests of this folder look at what needs no run: links, names and tables. No
// program imports it.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A Page is a markdown file.
type Page struct {
	Path   string // below the project's folder, with slashes
	Text   string
	Blocks []Block
	Prose  string // Text without its blocks
}

// A Block is what stands between two fences.
type Block struct {
	Page     string
	Line     int // of its first fence
	Language string
	Text     string // with a line feed at its end
}

func (b Block) String() string { return fmt.Sprintf("%s:%d (%s)", b.Page, b.Line, b.Language) }

// Pages reads all pages of the project in the folder root.
func Pages(root string) (all []Page, err error) {
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	for _, path := range append([]string{filepath.Join(root, "README.md"), filepath.Join(root, "e2e", "README.md")}, paths...) {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return nil, err
		}
		page, err := parse(filepath.ToSlash(name), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, page)
	}
	return all, nil
}

// fence begins or ends a block, which may be indented, in a list.
var fence = regexp.MustCompile("^( *)```(.*)$")

func parse(path, text string) (Page, error) {
	page := Page{Path: path, Text: text}
	var block *Block
	var indent string
	n := 0
	for line := range strings.Lines(text) {
		n++
		found := fence.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case found != nil && block == nil:
			indent = found[1]
			block = &Block{Page: path, Line: n, Language: found[2]}
		case found != nil:
			page.Blocks = append(page.Blocks, *block)
			block = nil
		case block != nil:
			block.Text += strings.TrimPrefix(line, indent)
		default:
			page.Prose += line
		}
	}
	if block != nil {
		return page, fmt.Errorf("%s: the block has no end", block)
	}
	return page, nil
}

// A Step is a command of a session, and what it prints on both streams.
type Step struct{ Command, Output string }

// Steps are those of a block of the language console: a line that begins with "$ "
// is a command, which "> " goes on with, and what follows is its output.
func (b Block) Steps() (all []Step, err error) {
	for line := range strings.Lines(b.Text) {
		switch command, isCommand := strings.CutPrefix(line, "$ "); {
		case isCommand:
			all = append(all, Step{Command: command})
		case len(all) == 0:
			return nil, fmt.Errorf("%s: there is output before the first command", b)
		default:
			last := &all[len(all)-1]
			if more, goesOn := strings.CutPrefix(line, "> "); goesOn && last.Output == "" {
				last.Command += more
			} else {
				last.Output += line
			}
		}
	}
	return all, nil
}

// Shows tells whether a page shows this output of a command, up to spaces at line
// ends: an ellipsis in want is any text, one alone in its line any lines.
func Shows(want, got string) bool {
	var pattern strings.Builder
	for line := range strings.Lines(want) {
		if line = strings.TrimRight(line, " \n"); line == "…" {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", `.*`))
		pattern.WriteString(" *\n")
	}
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	return regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(got)
}
