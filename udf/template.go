package udf

import (
	"cmp"
	"errors"
	"fmt"
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

// A compiled template is not for concurrent use: each execution is counted on
// its one budget.
type compiled struct {
	*template.Template
	budget *budget
}

// maxTemplate is how long the text of a template may be, in bytes: more than
// anybody writes. What stands outside of loops is not counted, but by this.
const maxTemplate = 64 << 10

// compile parses a template and checks that it asks for known names only. What
// it prints is made to leave out missing values, where text/template would
// print <no value>: missingkey=zero does not, for a map of interfaces. And it is
// made to count what it does. further are functions that only this template has.
func compile(text string, names []string, further textFunctions) (*compiled, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("the template is longer than %d bytes: make it shorter", maxTemplate)
	}
	c := &compiled{budget: new(budget)}
	functions := c.budget.functions(further)
	t, err := template.New("").Funcs(functions).Parse(text)
	if err != nil {
		if misplaced := misplacedJSON(err); misplaced != nil {
			return nil, misplaced
		}
		return nil, fmt.Errorf("parse template: %s", strings.TrimPrefix(err.Error(), "template: :"))
	}
	// Only now: no template may call these by itself.
	c.Template = t.Funcs(c.budget.counters())
	for _, named := range t.Templates() {
		if named.Tree == nil {
			continue
		}
		// What a {{define}} gets as its dot is known only where it is called.
		isMain := named.Name() == ""
		w := walker{names: names, functions: functions, rootDot: isMain, repeats: !isMain}
		w.walk(named.Root, w.rootDot)
		if w.err != nil {
			return nil, w.err
		}
		if !isMain {
			countIn(named.Root, w.nodes+callSteps)
		}
	}
	return c, nil
}

// A walker goes over a parsed template.
type walker struct {
	names     []string
	functions template.FuncMap // that count what they do
	rootDot   bool             // $ is the data
	repeats   bool             // what is walked over may be executed many times
	nodes     int              // that were walked over; those of a loop count in it
	err       error
}

// walk looks at one node; dot says whether the dot is the template's data there.
func (w *walker) walk(n parse.Node, dot bool) {
	w.nodes++
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
			w.countArguments(n)
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
		w.walk(n.Pipe, dot)
		w.walk(n.ElseList, dot)
		through(n.Pipe, rangeFunc)
		outside := *w
		w.nodes, w.repeats = 0, true
		w.walk(n.List, false)
		countIn(n.List, w.nodes+iterationSteps)
		w.nodes, w.repeats = outside.nodes, outside.repeats
	case *parse.StringNode:
		w.nodes += len(n.Text) / stepBytes
	case *parse.TemplateNode:
		w.walk(n.Pipe, dot)
		if n.Name == "" && w.err == nil { // the whole, whose nodes do not count
			w.err = errors.New("a template without a name is called: give it one with {{ define }}")
		}
	}
}

// through sends a pipeline's value through a function.
func through(pipe *parse.PipeNode, function string) {
	pipe.Cmds = append(pipe.Cmds, call(pipe.Pos, function))
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
func render(t *compiled, data any) (string, error) {
	var b rendered
	t.budget.renew()
	err := t.Execute(&b, data)
	if err = cmp.Or(t.budget.over, err); err != nil {
		return "", err
	}
	return validText(b.text.String()), nil
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
