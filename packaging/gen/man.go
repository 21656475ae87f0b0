package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// files are those of the packages, for the page of the program.
const files = `/etc/bigpanda-udf/bigpanda-udf.env
	The settings of the daemon, one NAME=value in a line.
/etc/bigpanda-udf/token
	The token of the BigPanda organisation, and nothing else.
/var/lib/bigpanda-udf
	The outbox, in which alerts wait until BigPanda has them.
/usr/share/doc/bigpanda-udf
	kapacitor.conf.snippet, TICKscripts, and how all of it is used.
`

func writeManPages(version, date, folder string) error {
	program, err := pages()
	if err != nil {
		return err
	}
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return err
	}
	for _, p := range program.all() {
		path := filepath.Join(folder, p.name()+".1")
		if err := os.WriteFile(path, []byte(manPage(program, p, version, day)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manPage writes in the macros of man(7).
func manPage(program, p page, version string, day time.Time) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.TH %s 1 "%s" "%s %s" "User Commands"`, strings.ToUpper(roff(p.name())), day.Format("January 2, 2006"), program.Path[0], roff(version))
	line(".SH NAME\n%s \\- %s", roff(p.name()), roff(strings.ToLower(p.Summary[:1])+strings.TrimSuffix(p.Summary[1:], ".")))
	line(".SH SYNOPSIS\n.B %s", roff(strings.Join(p.Path, " ")))
	if len(p.Commands) > 0 {
		line(`[\fIcommand\fR]`)
	}
	for _, a := range p.Args {
		line("%s", roff(a.Summary()))
	}
	line(`[\fIflags\fR]`)
	line(".SH DESCRIPTION\n%s", roff(p.Summary))
	if p.Detail != "" {
		line(".PP\n%s", paragraphs(p.Detail))
	}
	if len(p.Commands) > 0 {
		line(".SH COMMANDS")
		for _, c := range p.Commands {
			line(".TP\n.BR %s (1)\n%s", roff(c.name()), roff(c.Summary))
		}
	}
	if len(p.Args) > 0 {
		line(".SH ARGUMENTS")
		for _, a := range p.Args {
			line(".TP\n.I %s\n%s", roff(a.Name), roff(a.Help))
		}
	}
	manFlags(line, p)
	if p.name() == program.name() {
		line(".SH FILES")
		for entry := range strings.Lines(files) {
			if text, ok := strings.CutPrefix(entry, "\t"); ok {
				b.WriteString(roff(text))
			} else {
				b.WriteString(".TP\n.I " + roff(entry))
			}
		}
	}
	line(".SH SEE ALSO\n%s", seeAlso(program, p))
	return b.String()
}

// manFlags writes the flags, those of a group under its title and behind those of none,
// and the environment.
func manFlags(line func(string, ...any), p page) {
	line(".SH OPTIONS")
	group, environment := "", ""
	byGroup := slices.SortedStableFunc(slices.Values(p.Flags), func(a, b flag) int { return cmp.Compare(a.Group, b.Group) })
	for _, f := range byGroup {
		if f.Group != group {
			group = f.Group
			line(".SS %s", roff(group))
		}
		value := ""
		if f.Placeholder != "" {
			value = `=\fI` + roff(f.Placeholder) + `\fR`
		}
		line(".TP\n\\fB%s\\fR%s\n%s", roff("--"+f.Name), value, roff(f.Help))
		if f.Variable != "" {
			line("Environment: %s.", roff(f.Variable))
			environment += fmt.Sprintf("\n.TP\n.B %s\nThe same as %s.", f.Variable, roff("--"+f.Name))
		}
	}
	if environment != "" {
		line(".SH ENVIRONMENT\nA flag wins over its variable.%s", environment)
	}
}

func seeAlso(program, p page) string {
	var names []string
	for _, other := range program.all() {
		if other.name() != p.name() {
			names = append(names, ".BR "+roff(other.name())+" (1)")
		}
	}
	return strings.Join(names, ",\n")
}

// paragraphs keeps the lines of what is indented, as examples are.
func paragraphs(text string) string {
	var out []string
	verbatim := false
	for l := range strings.Lines(strings.TrimSpace(text)) {
		l = strings.TrimRight(l, "\n")
		if indented := strings.HasPrefix(l, "  "); indented != verbatim && l != "" {
			verbatim = indented
			out = append(out, map[bool]string{true: ".PP\n.nf", false: ".fi\n.PP"}[verbatim])
		}
		switch {
		case l == "" && !verbatim:
			out = append(out, ".PP")
		case l == "":
			out = append(out, "")
		default:
			out = append(out, roff(l))
		}
	}
	if verbatim {
		out = append(out, ".fi")
	}
	// A change of mode makes a paragraph of its own.
	return strings.NewReplacer(".PP\n.PP", ".PP", "\n\n.fi", "\n.fi").Replace(strings.Join(out, "\n"))
}

// roff writes a text so that nothing in it is taken for a macro.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
