package udf

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// What one execution of a template may take. The points of a whole read wait
// for each other, and a keepalive behind them (P6): so it is some milliseconds,
// and by count, so that both members of a pair come to the same end (P10).
const (
	// maxSteps is how many nodes of a template may be executed in loops and in
	// templates that are called: a list of all tags takes some hundred.
	maxSteps = 10_000
	// iterationSteps and callSteps are what an iteration and a call count beside
	// their nodes. Calls within calls take stack.
	iterationSteps = 3
	callSteps      = 20
	// maxHandled is how many bytes of text its functions may take and make.
	maxHandled = 256 << 10
	// stepBytes is how much of a constant text counts as one step.
	stepBytes = 64
)

var (
	errSteps   = fmt.Errorf("it takes more than %d steps: a loop or a template that is called goes on for too long", maxSteps)
	errHandled = fmt.Errorf("its functions take and make more than %d bytes of text", maxHandled)
)

// A budget is what is left to one execution of a template.
type budget struct {
	steps, bytes int
	over         error // why it is used up
}

func (b *budget) renew() { *b = budget{steps: maxSteps, bytes: maxHandled} }

func (b *budget) step(n int) error {
	if b.steps -= n; b.steps < 0 {
		b.over = errSteps
	}
	return b.over
}

func (b *budget) handle(n int) error {
	if b.bytes -= n; b.bytes < 0 {
		b.over = errHandled
	}
	return b.over
}

// A textFunction makes a text of one value.
type textFunction func(value any) string

// functions are those of text/template that make texts, which would write
// <no value> or <nil> for a missing value, those that compare, and others besides.
// Texts that they are given count before (see countArguments); what they make of
// them is a few times as long at most.
func (b *budget) functions(further map[string]textFunction) template.FuncMap {
	all := comparisons()
	all["printf"] = b.printf
	for name, f := range map[string]func(...any) string{
		"print": fmt.Sprint, "println": fmt.Sprintln,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
	} {
		all[name] = func(values ...any) (string, error) {
			if err := b.take(values...); err != nil {
				return "", err
			}
			return f(present(values...)...), nil
		}
	}
	for name, f := range further {
		all[name] = func(value any) (string, error) {
			if err := b.take(value); err != nil {
				return "", err
			}
			return f(value), nil
		}
	}
	return all
}

// take takes the values that a function is given, but for those that are texts.
func (b *budget) take(values ...any) error {
	for _, v := range values {
		if _, counted := v.(string); counted {
			continue
		}
		bytes, _ := measure(v)
		if err := b.handle(bytes); err != nil {
			return err
		}
	}
	return nil
}

// measure returns how many bytes a value has as a text, and at most of how many
// parts it is that a width counts for.
func measure(v any) (bytes, parts int) {
	if text, ok := v.(string); ok {
		return len(text), 1
	}
	bytes = len(fmt.Sprint(v))
	switch reflect.ValueOf(v).Kind() {
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Struct, reflect.Pointer:
		return bytes, bytes + 1
	}
	return bytes, 1
}

// printf is fmt's, which fills each value up to the width that its verb has, and
// takes a value as often as verbs name it by its number.
func (b *budget) printf(format string, values ...any) (string, error) {
	times, width := 1, widest(format, values)
	if strings.Contains(format, "[") {
		times = strings.Count(format, "%")
	}
	for _, v := range values {
		bytes, parts := measure(v)
		if err := b.handle(times * (bytes + parts*width)); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf(format, present(values...)...), nil
}

// maxWidth is the largest width or precision that fmt takes.
const maxWidth = 1_000_000

// widest returns the largest width or precision that a format asks for.
func widest(format string, values []any) (width int) {
	isNoDigit := func(r rune) bool { return r < '0' || r > '9' }
	for _, verb := range strings.Split(format, "%")[1:] {
		flags := strings.TrimSuffix(verb, strings.TrimLeft(verb, "-+# 0123456789.*[]"))
		for number := range strings.FieldsFuncSeq(flags, isNoDigit) {
			n, _ := strconv.Atoi(number) // as large as it gets, if it is too large
			width = max(width, n)
		}
		for _, v := range values {
			if n := reflect.ValueOf(v); n.CanInt() && strings.Contains(flags, "*") {
				width = max(width, int(n.Int()), -int(n.Int()))
			}
		}
	}
	return min(width, maxWidth)
}

// The functions that compile writes into a template.
const (
	printFunc    = "_print"    // every printed value goes through
	rangeFunc    = "_range"    // what a range goes over goes through
	stepFunc     = "_step"     // stands first in what is repeated
	argumentFunc = "_argument" // arguments go through
)

func (b *budget) counters() template.FuncMap {
	return template.FuncMap{
		printFunc: func(v any) any { return present(v)[0] },
		// Before it goes over a map, range sorts it.
		rangeFunc: func(v any) (any, error) {
			if m := reflect.ValueOf(v); m.Kind() == reflect.Map {
				return v, b.step(m.Len())
			}
			return v, nil
		},
		stepFunc: func(n int) (string, error) { return "", b.step(n) },
		argumentFunc: func(v any) (any, error) {
			switch v := v.(type) {
			case string:
				return v, b.handle(len(v))
			case []byte:
				return v, b.handle(len(v))
			}
			return v, nil
		},
	}
}

// countIn lets each execution of a list count.
func countIn(list *parse.ListNode, steps int) {
	c := call(list.Pos, stepFunc)
	c.Args = append(c.Args, &parse.NumberNode{
		NodeType: parse.NodeNumber, Pos: list.Pos, IsInt: true, Int64: int64(steps), Text: fmt.Sprint(steps),
	})
	pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: list.Pos, Cmds: []*parse.CommandNode{c}}
	list.Nodes = append([]parse.Node{&parse.ActionNode{NodeType: parse.NodeAction, Pos: list.Pos, Pipe: pipe}}, list.Nodes...)
}

// countArguments lets the arguments count of all that is called, functions and
// methods: each looks through them, and some make texts of them.
func countArguments(pipe *parse.PipeNode) {
	var counted []*parse.CommandNode
	for i, c := range pipe.Cmds {
		if i > 0 {
			counted = append(counted, call(c.Pos, argumentFunc))
		}
		for j, a := range c.Args[1:] {
			switch a.(type) {
			case *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
				continue
			}
			wrapped := call(a.Position(), argumentFunc)
			wrapped.Args = append(wrapped.Args, a)
			c.Args[j+1] = &parse.PipeNode{NodeType: parse.NodePipe, Pos: a.Position(), Cmds: []*parse.CommandNode{wrapped}}
		}
		counted = append(counted, c)
	}
	pipe.Cmds = counted
}

// call is a call of a function, as yet without arguments.
func call(pos parse.Pos, function string) *parse.CommandNode {
	return &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{parse.NewIdentifier(function).SetPos(pos)},
	}
}
