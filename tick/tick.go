// Package tick reads off a TICKscript what a user-defined function in it gets
// from Kapacitor: its options, and the groups of its points.
//
// It follows the script as Kapacitor does, variables too, as far as that needs
// no server: values are literals, variables that hold one, and texts joined
// with +. It runs no node of the script.
package tick

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/influxdata/kapacitor/tick/ast"
	"github.com/influxdata/kapacitor/udf/agent"
)

// A Use is one call of a function in a script, such as @bigpanda().
type Use struct {
	Line int // where the call is, from 1
	node *node
}

// An Option is one property of a Use.
type Option struct {
	*agent.Option
	Line int
}

// Uses returns the calls of a function, in the order of the script. The error
// says what Kapacitor could not read either.
func Uses(script, function string) (uses []Use, err error) {
	program, err := parse(script)
	if err != nil {
		return nil, err
	}
	e := evaluator{vars: make(map[string]any)}
	if err := e.run(program); err != nil {
		return nil, err
	}
	for _, n := range e.nodes {
		if n.dynamic && n.name == function {
			uses = append(uses, Use{n.line, n})
		}
	}
	return uses, nil
}

// maxScript is how long a script may be, in bytes. The parser calls itself for
// each bracket, and would take all of the stack for millions of them.
const maxScript = 256 << 10

// parse is Kapacitor's own parser, some of whose slips are panics.
func parse(script string) (program *ast.ProgramNode, err error) {
	if len(script) > maxScript {
		return nil, fmt.Errorf("it is longer than %d bytes: is it a TICKscript?", maxScript)
	}
	if !utf8.ValidString(script) {
		return nil, errors.New("it is no TICKscript: it is not UTF-8")
	}
	// Its lexer, which is a goroutine of its own, steps back by the width of
	// the character behind the / here, and so out of the text.
	for i := range min(len(script)-1, utf8.UTFMax) {
		if script[i] == '/' && script[i+1] >= utf8.RuneSelf {
			return nil, errors.New("it is no TICKscript: unexpected / in line 1")
		}
	}
	defer func() {
		if failed, ok := recover().(runtime.Error); ok {
			err = fmt.Errorf("the parser fails: %w", failed)
		}
	}()
	root, err := ast.Parse(script)
	if err != nil {
		return nil, fmt.Errorf("it is no TICKscript: %s", strings.TrimPrefix(err.Error(), "parser: "))
	}
	program, ok := root.(*ast.ProgramNode)
	if !ok {
		return nil, fmt.Errorf("it is no TICKscript: it is a %T", root)
	}
	return program, nil
}

// Options returns the options of a use, checked as Kapacitor checks them
// against what the function says of itself (pipeline/udf.go).
func (u Use) Options(info *agent.InfoResponse) (options []Option, err error) {
	for _, p := range u.node.properties {
		known, ok := info.GetOptions()[p.name]
		if !ok {
			if p.name == "quiet" { // of every node
				continue
			}
			return nil, fmt.Errorf("line %d: @%s() has no option .%s()", p.line, u.node.name, p.name)
		}
		if got, want := len(p.args), len(known.GetValueTypes()); got != want {
			return nil, fmt.Errorf("line %d: the number of values that .%s() takes is %d, not %d", p.line, p.name, want, got)
		}
		o := &agent.Option{Name: p.name}
		for i, arg := range p.args {
			v, err := optionValue(arg)
			if err != nil {
				return nil, fmt.Errorf("line %d: .%s(): %w", p.line, p.name, err)
			}
			if want := known.ValueTypes[i]; v.Type != want {
				return nil, fmt.Errorf("line %d: .%s() takes a value of type %s, not %s", p.line, p.name, typeName(want), typeName(v.Type))
			}
			o.Values = append(o.Values, v)
		}
		options = append(options, Option{o, p.line})
	}
	return options, nil
}

func typeName(t agent.ValueType) string { return strings.ToLower(t.String()) }

func optionValue(arg any) (*agent.OptionValue, error) {
	switch v := arg.(type) {
	case string:
		return &agent.OptionValue{Type: agent.ValueType_STRING, Value: &agent.OptionValue_StringValue{StringValue: v}}, nil
	case bool:
		return &agent.OptionValue{Type: agent.ValueType_BOOL, Value: &agent.OptionValue_BoolValue{BoolValue: v}}, nil
	case int64:
		return &agent.OptionValue{Type: agent.ValueType_INT, Value: &agent.OptionValue_IntValue{IntValue: v}}, nil
	case float64:
		return &agent.OptionValue{Type: agent.ValueType_DOUBLE, Value: &agent.OptionValue_DoubleValue{DoubleValue: v}}, nil
	case time.Duration:
		return &agent.OptionValue{Type: agent.ValueType_DURATION, Value: &agent.OptionValue_DurationValue{DurationValue: int64(v)}}, nil
	}
	return nil, whyNoValue(arg)
}

// whyNoValue says what is there instead of a literal.
func whyNoValue(v any) error {
	what := "an expression"
	switch v := v.(type) {
	case error:
		return v
	case []any:
		return errors.New("a list is no value for it")
	case *ast.StarNode:
		return errors.New("* is no value for it")
	case *ast.LambdaNode:
		what = "a lambda"
	case *ast.FunctionNode:
		what = v.Func + "(…)"
	case *ast.BinaryNode:
		what = "an expression other than 'text' + 'text'"
	case *ast.ChainNode:
		what = "a property without ()"
	}
	if n, ok := v.(ast.Node); ok {
		return fmt.Errorf("%s, in line %d, is not evaluated here: write the value itself", what, n.Line())
	}
	return errors.New("a node is no value for it")
}
