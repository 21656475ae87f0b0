package udf

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
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

// textFunctions are functions that make texts, by name.
type textFunctions map[string]func(values ...any) (string, error)

// functions are those of text/template that make texts, which would write
// <no value> or <nil> for a missing value, those that compare, and others besides.
func (b *budget) functions(further textFunctions) template.FuncMap {
	all := template.FuncMap{
		"print":    b.text(plain(fmt.Sprint)),
		"printf":   b.printf,
		"println":  b.text(plain(fmt.Sprintln)),
		"html":     b.text(plain(template.HTMLEscaper)),
		"js":       b.text(plain(template.JSEscaper)),
		"urlquery": b.text(plain(template.URLQueryEscaper)),
	}
	maps.Copy(all, b.comparisons())
	for name, f := range further {
		all[name] = b.text(f)
	}
	return all
}

func plain(f func(...any) string) func(...any) (string, error) {
	return func(values ...any) (string, error) { return f(values...), nil }
}

// text returns f within the budget. f may make several times the bytes that it
// is given; it is not called with more than are left.
func (b *budget) text(f func(...any) (string, error)) func(...any) (string, error) {
	return func(values ...any) (string, error) {
		values = present(values...)
		given := 0
		for _, v := range values {
			bytes, _ := b.measure(v)
			given += bytes
		}
		return b.within(given, func() (string, error) { return f(values...) })
	}
}

// within takes the bytes that a function is given, calls it, and takes those
// that it made.
func (b *budget) within(given int, f func() (string, error)) (string, error) {
	if err := b.handle(given); err != nil {
		return "", err
	}
	made, err := f()
	if err != nil {
		return "", err
	}
	return made, b.handle(len(made))
}

// printf is fmt's, which fills each value up to the width that its verb has, and
// takes a value as often as verbs name it by its number.
func (b *budget) printf(format string, values ...any) (string, error) {
	values = present(values...)
	times := 1
	if strings.Contains(format, "[") {
		times = strings.Count(format, "%")
	}
	width := widest(format, values)
	given := len(format)
	for _, v := range values {
		if given <= b.bytes { // what is left of it fits into an int
			bytes, parts := b.measure(v)
			given += times * (bytes + parts*width)
		}
	}
	return b.within(given, func() (string, error) { return fmt.Sprintf(format, values...), nil })
}

// maxWidth is the largest width or precision that fmt takes.
const maxWidth = 1_000_000

// widest returns the largest width or precision that a format asks for.
func widest(format string, values []any) (width int) {
	star := -1 // that * may stand for; not yet looked for
	for _, verb := range strings.Split(format, "%")[1:] {
		number := 0
	flags:
		for _, c := range []byte(verb) {
			switch {
			case c >= '0' && c <= '9':
				number = min(10*number+int(c-'0'), maxWidth)
				width = max(width, number)
				continue
			case c == '*':
				if star < 0 {
					star = largest(values)
				}
				width = max(width, star)
			case !strings.ContainsRune("+-# .[]", rune(c)):
				break flags
			}
			number = 0
		}
	}
	return width
}

// largest returns the largest width that one of the values may be.
func largest(values []any) (width int) {
	for _, v := range values {
		if n := reflect.ValueOf(v); n.CanInt() {
			width = max(width, int(min(max(n.Int(), -n.Int()), maxWidth)))
		}
	}
	return width
}

// numberBytes is about what a number or a time takes as a text.
const numberBytes = 32

// measure returns about how many bytes a value has as a text, and of how many
// parts it is that a width counts for. It stops once that is over the budget.
func (b *budget) measure(v any) (bytes, parts int) {
	switch v := v.(type) {
	case string:
		return len(v), 1
	case nothing:
		return 0, 0
	case float64, int64, bool, int, time.Time, time.Duration:
		return numberBytes, 1
	}
	var add func(reflect.Value)
	add = func(v reflect.Value) {
		bytes += numberBytes
		parts++
		if bytes > b.bytes {
			return
		}
		switch v.Kind() {
		case reflect.String:
			bytes += v.Len()
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				add(v.Elem())
			}
		case reflect.Map:
			for i := v.MapRange(); i.Next() && bytes <= b.bytes; {
				add(i.Key())
				add(i.Value())
			}
		case reflect.Slice, reflect.Array:
			for i := 0; i < v.Len() && bytes <= b.bytes; i++ {
				add(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				add(v.Field(i))
			}
		}
	}
	add(reflect.ValueOf(v))
	return bytes, parts
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
				return v, b.handle(formatGrowth * len(v))
			case []byte:
				return v, b.handle(formatGrowth * len(v))
			}
			return v, nil
		},
	}
}

// formatGrowth is how much longer a time's Format makes a layout, at most.
const formatGrowth = 4

// countIn lets each execution of a list count.
func countIn(list *parse.ListNode, steps int) {
	c := call(list.Pos, stepFunc)
	c.Args = append(c.Args, &parse.NumberNode{
		NodeType: parse.NodeNumber, Pos: list.Pos, IsInt: true, Int64: int64(steps), Text: fmt.Sprint(steps),
	})
	pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: list.Pos, Cmds: []*parse.CommandNode{c}}
	list.Nodes = append([]parse.Node{&parse.ActionNode{NodeType: parse.NodeAction, Pos: list.Pos, Pipe: pipe}}, list.Nodes...)
}

// countArguments lets the arguments count of what does not count by itself:
// methods, one of which (Format of a time) makes texts, and where it is repeated,
// functions, such as eq, which looks through them.
func (w *walker) countArguments(pipe *parse.PipeNode) {
	var counted []*parse.CommandNode
	for i, c := range pipe.Cmds {
		first, isFunction := c.Args[0].(*parse.IdentifierNode)
		if counts := !isFunction; counts || w.repeats && w.functions[first.Ident] == nil {
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
