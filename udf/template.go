package udf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// The data of the templates, as Kapacitor's alert node gives them to its own
// (alert.go and alert/types.go): each sees what was made before it.

type idData struct {
	Name     string // the measurement
	TaskName string
	Group    string // the group-by tags; "nil" without any
	Tags     map[string]string
}

type incidentData struct {
	idData
	ID string
}

type messageData struct {
	incidentData
	Fields   map[string]any
	Level    string
	Time     time.Time
	Duration time.Duration
}

type detailsData struct {
	messageData
	Message string
}

type attributeData struct {
	detailsData
	Details string
}

var (
	idNames        = []string{"Name", "TaskName", "Group", "Tags"}
	incidentNames  = append(slices.Clone(idNames), "ID")
	messageNames   = append(slices.Clone(incidentNames), "Fields", "Level", "Time", "Duration")
	detailsNames   = append(slices.Clone(messageNames), "Message")
	attributeNames = append(slices.Clone(detailsNames), "Details")
)

// printFunc is the function that every printed value goes through, rangeFunc
// that for what a range goes over.
const (
	printFunc = "_print"
	rangeFunc = "_range"
)

// maxTurns is how far a template may count: a number may come with the data,
// and nothing else that a range goes over is larger than the point.
const maxTurns = 1000

func countable(v any) (any, error) {
	switch n := reflect.ValueOf(v); {
	case n.CanInt() && n.Int() > maxTurns, n.CanUint() && n.Uint() > maxTurns:
		return nil, fmt.Errorf("range over %d: a template may count to %d", v, maxTurns)
	}
	return v, nil
}

// functions are those of text/template that would write <no value> or <nil>
// for a missing value, and printFunc.
var functions = template.FuncMap{
	printFunc:  func(v any) any { return present(v)[0] },
	rangeFunc:  countable,
	"print":    func(v ...any) string { return fmt.Sprint(present(v...)...) },
	"printf":   func(f string, v ...any) string { return fmt.Sprintf(f, present(v...)...) },
	"println":  func(v ...any) string { return fmt.Sprintln(present(v...)...) },
	"html":     func(v ...any) string { return template.HTMLEscaper(present(v...)...) },
	"js":       func(v ...any) string { return template.JSEscaper(present(v...)...) },
	"urlquery": func(v ...any) string { return template.URLQueryEscaper(present(v...)...) },
}

// nothing is what a missing value renders as, whatever the verb of a printf.
type nothing struct{}

func (nothing) Format(fmt.State, rune) {}

// present puts nothing in the place of missing values.
func present(values ...any) []any {
	for i, v := range values {
		if v == nil {
			values[i] = nothing{}
		}
	}
	return values
}

// compile parses a template and checks that it asks for known names only. What
// it prints is made to leave out missing values, where text/template would
// print <no value>: missingkey=zero does not, for a map of interfaces. further
// are functions that only this template has.
func compile(text string, names []string, further template.FuncMap) (*template.Template, error) {
	t, err := template.New("").Funcs(functions).Funcs(further).Parse(text)
	if err != nil {
		if misplaced := misplacedJSON(err); misplaced != nil {
			return nil, misplaced
		}
		return nil, fmt.Errorf("parse template: %s", strings.TrimPrefix(err.Error(), "template: :"))
	}
	for _, named := range t.Templates() {
		if named.Tree == nil {
			continue
		}
		// What a {{define}} gets as its dot is known only where it is called.
		w := walker{names: names, rootDot: named.Name() == ""}
		w.walk(named.Root, w.rootDot)
		if w.err != nil {
			return nil, w.err
		}
	}
	return t, nil
}

// A walker goes over a parsed template.
type walker struct {
	names   []string
	rootDot bool // $ is the data
	err     error
}

// walk looks at one node; dot says whether the dot is the template's data there.
func (w *walker) walk(n parse.Node, dot bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				w.walk(c, dot)
			}
		}
	case *parse.ActionNode:
		w.walk(n.Pipe, dot)
		if len(n.Pipe.Decl) == 0 {
			through(n.Pipe, printFunc)
		}
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				w.walk(c, dot)
			}
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			w.walk(a, dot)
		}
	case *parse.ChainNode:
		w.walk(n.Node, dot)
	case *parse.FieldNode:
		if dot {
			w.check(n.Ident[0])
		}
	case *parse.VariableNode:
		if w.rootDot && n.Ident[0] == "$" && len(n.Ident) > 1 {
			w.check(n.Ident[1])
		}
	case *parse.IfNode:
		w.branch(&n.BranchNode, dot, dot)
	case *parse.WithNode:
		w.branch(&n.BranchNode, dot, false)
	case *parse.RangeNode:
		w.branch(&n.BranchNode, dot, false)
		through(n.Pipe, rangeFunc)
	case *parse.TemplateNode:
		w.walk(n.Pipe, dot)
	}
}

// through sends a pipeline's value through a function.
func through(pipe *parse.PipeNode, function string) {
	pipe.Cmds = append(pipe.Cmds, &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: pipe.Pos,
		Args: []parse.Node{parse.NewIdentifier(function).SetPos(pipe.Pos)},
	})
}

func (w *walker) branch(n *parse.BranchNode, dot, inside bool) {
	w.walk(n.Pipe, dot)
	w.walk(n.List, inside)
	w.walk(n.ElseList, dot)
}

func (w *walker) check(name string) {
	if w.err == nil && !slices.Contains(w.names, name) {
		w.err = fmt.Errorf("this template has no {{ .%s }}: it knows .%s", name, strings.Join(w.names, ", ."))
	}
}

// render executes a template. It never returns invalid UTF-8, which neither
// JSON nor the protocol can carry.
func render(t *template.Template, data any) (string, error) {
	var b rendered
	if err := t.Execute(&b, data); err != nil {
		return "", err
	}
	return strings.ToValidUTF8(b.text.String(), "\uFFFD"), nil
}

// maxRendered is how many bytes a template may make: more than any alert can
// carry, and too little for a loop that was not meant so to take the memory.
const maxRendered = 1 << 20

// rendered is the text of a template as it is made.
type rendered struct{ text strings.Builder }

func (r *rendered) Write(b []byte) (int, error) {
	if r.text.Len()+len(b) > maxRendered {
		return 0, fmt.Errorf("it makes more than %d bytes of text", maxRendered)
	}
	return r.text.Write(b)
}
