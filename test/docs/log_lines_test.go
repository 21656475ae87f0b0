package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every line that the program logs as a warning or an error is on the page about
// monitoring, with what to do, and nothing is there that is never logged. A row is how
// the line begins, with an ellipsis for what differs.
func TestLogLines(t *testing.T) {
	t.Parallel()
	page := pages(t)[slices.IndexFunc(pages(t), func(p Page) bool { return p.Path == "docs/monitoring.md" })]
	_, section, found := strings.Cut(page.Text, "\n## Log lines that ask for an action\n")
	if !found {
		t.Fatal("docs/monitoring.md has no section about log lines")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	rows := make(map[string]bool) // whether a line begins so
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(section, -1) {
		if row[1] != "line" && row[1] != "---" {
			rows[row[1]] = false
		}
	}
	lines := readSources(t).logLines(t)
	if len(lines) < 50 || len(rows) == 0 {
		t.Fatalf("%d lines are logged, and %d documented", len(lines), len(rows))
	}
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		there := false
		for row := range rows {
			if rest, begins := strings.CutPrefix(line, row); begins && (rest == "" || strings.ContainsAny(rest[:1], ":,; (")) {
				rows[row], there = true, true
			}
		}
		if !there {
			t.Errorf("%s logs %q: docs/monitoring.md does not say what to do then", lines[line], line)
		}
	}
	for row, isLogged := range rows {
		if !isLogged {
			t.Errorf("docs/monitoring.md has the line %q, which is not logged", row)
		}
	}
}

// logLevels are the methods of a slog.Logger that log a warning or an error, with the
// place of the message among their arguments.
var logLevels = map[string]int{"Warn": 0, "Error": 0, "WarnContext": 1, "ErrorContext": 1, "Log": 2, "LogAttrs": 2}

// sources are those of the packages that the program is made of.
type sources struct {
	files    *token.FileSet
	packages map[string][]*ast.File // by folder, below the project's
}

// readSources follows what is imported, beginning with the program.
func readSources(t *testing.T) sources {
	t.Helper()
	c := sources{token.NewFileSet(), make(map[string][]*ast.File)}
	for folders := []string{"."}; len(folders) > 0; folders = folders[1:] {
		folder := folders[0]
		if c.packages[folder] != nil {
			continue
		}
		paths, err := filepath.Glob(filepath.Join(project, folder, "*.go")) // of every system
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(c.files, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			c.packages[folder] = append(c.packages[folder], file)
			for _, imported := range file.Imports {
				path, _ := strconv.Unquote(imported.Path.Value)
				if below, own := strings.CutPrefix(path, "bigpanda-udf/"); own {
					folders = append(folders, below)
				}
			}
		}
	}
	return c
}

// logLines are the messages of all lines that are a warning or an error, and the place
// of one that logs it. What comes from elsewhere than the code is an ellipsis.
func (c sources) logLines(t *testing.T) map[string]string {
	t.Helper()
	lines := make(map[string]string)
	for _, files := range c.packages {
		for _, file := range files {
			for _, f := range file.Decls {
				ast.Inspect(f, func(n ast.Node) bool {
					call, isCall := n.(*ast.CallExpr)
					if !isCall {
						return true
					}
					message := logged(call)
					if message == nil || strings.HasSuffix(types.ExprString(message), "hidden.redact(warning)") {
						return true
					}
					for _, text := range (scope{files, f, 0}).texts(message) {
						if strings.Trim(text, "…") == "" {
							t.Errorf("%s: what is logged cannot be read from the code", c.files.Position(call.Pos()))
						}
						lines[text] = c.files.Position(call.Pos()).String()
					}
					return true
				})
			}
		}
	}
	return lines
}

// logged is the message of a call that logs a warning or an error. A warning of the
// settings is logged where they are used.
func logged(call *ast.CallExpr) ast.Expr {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		if f.Name != "append" {
			return nil
		}
		if to, ok := call.Args[0].(*ast.SelectorExpr); ok && to.Sel.Name == "Warnings" {
			return call.Args[1]
		}
	case *ast.SelectorExpr:
		at, is := logLevels[f.Sel.Name]
		if is && len(call.Args) > at && types.ExprString(f.X) != "http" && (at < 2 || !regexp.MustCompile(`Level(Debug|Info)$`).MatchString(types.ExprString(call.Args[1]))) {
			return call.Args[at]
		}
	}
	return nil
}

// A scope is what the texts of an expression are read from.
type scope struct {
	files []*ast.File // of the package
	in    ast.Decl    // where the expression is
	depth int         // how often something else was looked up: a text may be made of itself
}

// texts are what an expression may be. A parameter is what the package calls with, a
// field what it is set to in a literal, a variable what is assigned to it, and a call
// what the function returns.
func (s scope) texts(e ast.Expr) (all []string) {
	if s.depth > 5 {
		return []string{"…"}
	}
	from := func(in ast.Decl, e ast.Expr) {
		for _, text := range (scope{s.files, in, s.depth + 1}).texts(e) {
			if text != "" && !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return []string{text}
		}
	case *ast.BinaryExpr:
		for _, left := range s.texts(e.X) {
			for _, right := range s.texts(e.Y) {
				all = append(all, left+right)
			}
		}
	case *ast.CallExpr:
		if types.ExprString(e.Fun) == "fmt.Sprintf" {
			verb := regexp.MustCompile(`%[^a-z%]*[a-z]`)
			for _, format := range s.texts(e.Args[0]) {
				all = append(all, verb.ReplaceAllString(format, "…"))
			}
			break
		}
		s.each(func(in ast.Decl, n ast.Node) {
			if f, ok := in.(*ast.FuncDecl); ok && calls(e, f.Name.Name) {
				if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
					from(in, r.Results[0])
				}
			}
		})
	case *ast.Ident:
		if i := s.parameter(e.Name); i >= 0 {
			name := s.in.(*ast.FuncDecl).Name.Name
			s.each(func(in ast.Decl, n ast.Node) {
				if call, ok := n.(*ast.CallExpr); ok && calls(call, name) && i < len(call.Args) {
					from(in, call.Args[i])
				}
			})
			break
		}
		s.each(func(in ast.Decl, n ast.Node) {
			switch n := n.(type) {
			case *ast.ValueSpec: // of the function, or of the package
				for i, name := range n.Names {
					if _, local := in.(*ast.FuncDecl); name.Name == e.Name && i < len(n.Values) && (in == s.in || !local) {
						from(in, n.Values[i])
					}
				}
			case *ast.AssignStmt:
				for i, to := range n.Lhs {
					if types.ExprString(to) == e.Name && in == s.in && len(n.Lhs) == len(n.Rhs) {
						from(in, n.Rhs[i])
					}
				}
			}
		})
	case *ast.SelectorExpr:
		s.each(func(in ast.Decl, n ast.Node) {
			if pair, ok := n.(*ast.KeyValueExpr); ok && types.ExprString(pair.Key) == e.Sel.Name {
				from(in, pair.Value)
			}
		})
	}
	if len(all) == 0 {
		return []string{"…"}
	}
	return all
}

// parameter is the place of one among those of the function, or -1.
func (s scope) parameter(name string) int {
	f, ok := s.in.(*ast.FuncDecl)
	if !ok {
		return -1
	}
	i := 0
	for _, field := range f.Type.Params.List {
		for _, n := range field.Names {
			if n.Name == name {
				return i
			}
			i++
		}
	}
	return -1
}

func calls(call *ast.CallExpr, name string) bool {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name == name
	case *ast.SelectorExpr:
		return f.Sel.Name == name
	}
	return false
}

// each visits all of the package.
func (s scope) each(visit func(in ast.Decl, n ast.Node)) {
	for _, file := range s.files {
		for _, f := range file.Decls {
			ast.Inspect(f, func(n ast.Node) bool {
				if n != nil {
					visit(f, n)
				}
				return true
			})
		}
	}
}
