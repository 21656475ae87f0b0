package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// project is its folder.
var project, _ = filepath.Abs(filepath.Join("..", ".."))

// pages reads them all.
func pages(t *testing.T) []Page {
	t.Helper()
	all, err := Pages(project)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	span    = regexp.MustCompile("`[^`]+`")
)

// anchor is what GitHub makes of a heading.
func anchor(text string) string {
	text = strings.ToLower(strings.TrimSpace(text))
	text = strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
			return r
		}
		return -1
	}, text)
	return text
}

// Every link of a page to a file of the project, and to a heading of a page, goes
// somewhere; and every page can be reached from README.md.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := pages(t)
	anchors := make(map[string][]string)
	for _, page := range all {
		for _, found := range heading.FindAllStringSubmatch(page.Prose, -1) {
			anchors[page.Path] = append(anchors[page.Path], anchor(found[1]))
		}
		for _, name := range anchors[page.Path] {
			if n := slices.Index(anchors[page.Path], name); anchors[page.Path][n+1:] != nil && slices.Contains(anchors[page.Path][n+1:], name) {
				t.Errorf("%s has the heading #%s twice", page.Path, name)
			}
		}
	}
	linked := make(map[string]bool)
	for _, page := range all {
		for _, found := range link.FindAllStringSubmatch(span.ReplaceAllString(page.Prose, "code"), -1) {
			target := found[1]
			if strings.Contains(target, "://") {
				continue
			}
			file, name, _ := strings.Cut(target, "#")
			to := page.Path
			if file != "" {
				to = path.Join(path.Dir(page.Path), file)
			}
			if _, err := os.Stat(filepath.Join(project, filepath.FromSlash(to))); err != nil {
				t.Errorf("%s links to %s: %v", page.Path, target, err)
			}
			if name != "" && !slices.Contains(anchors[to], name) {
				t.Errorf("%s links to %s: that page has the headings %q", page.Path, target, anchors[to])
			}
			linked[to] = true
		}
	}
	for _, page := range all {
		if !linked[page.Path] && strings.HasPrefix(page.Path, "docs/") {
			t.Errorf("no page links to %s", page.Path)
		}
	}
}

// README.md is read in ten minutes.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	const most = 200
	if n := strings.Count(pages(t)[0].Text, "\n"); n > most {
		t.Errorf("README.md has %d lines, more than %d: move something to docs/", n, most)
	}
}
