package tick

import (
	"fmt"

	"github.com/influxdata/kapacitor/tick/ast"
)

// A node is one of the pipeline: stream, what | makes, or a function.
type node struct {
	name       string
	line       int
	dynamic    bool  // @name()
	parent     *node // nil for stream and batch
	properties []property
}

type property struct {
	name string
	line int
	args []any
}

// An evaluator follows a script from its first line to its last. What it makes of
// an expression is a literal, a []any, a *node, or what only fails who needs its
// value: an ast.Node that is not evaluated, or the error why there is none.
type evaluator struct {
	vars  map[string]any
	nodes []*node // as they were made
}

func (e *evaluator) run(program *ast.ProgramNode) error {
	for _, statement := range program.Nodes {
		switch s := statement.(type) {
		case *ast.DeclarationNode:
			v, err := e.value(s.Right)
			if err != nil {
				return err
			}
			e.vars[s.Left.Ident] = v
		case *ast.TypeDeclarationNode:
			e.vars[s.Node.Ident] = fmt.Errorf(
				"var %s of line %d has no value in the script: give it one there, such as var %[1]s = '…'", s.Node.Ident, s.Line())
		case *ast.DBRPNode, *ast.CommentNode:
		default:
			if _, err := e.value(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// value evaluates an expression. An error is of the script as a whole.
func (e *evaluator) value(n ast.Node) (any, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Literal, nil
	case *ast.BoolNode:
		return n.Bool, nil
	case *ast.DurationNode:
		return n.Dur, nil
	case *ast.NumberNode:
		if n.IsInt {
			return n.Int64, nil
		}
		return n.Float64, nil
	case *ast.ListNode:
		return e.values(n.Nodes)
	case *ast.IdentifierNode:
		return e.variable(n), nil
	case *ast.BinaryNode:
		return e.joined(n)
	case *ast.ChainNode:
		return e.chain(n)
	case *ast.FunctionNode:
		_, err := e.values(n.Args)
		return n, err
	}
	return n, nil
}

func (e *evaluator) values(nodes []ast.Node) ([]any, error) {
	all := make([]any, 0, len(nodes))
	for _, n := range nodes {
		v, err := e.value(n)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (e *evaluator) variable(n *ast.IdentifierNode) any {
	if v, ok := e.vars[n.Ident]; ok {
		return v
	}
	if n.Ident == "stream" || n.Ident == "batch" {
		root := &node{name: n.Ident, line: n.Line()}
		e.vars[n.Ident] = root
		return root
	}
	return fmt.Errorf("line %d: there is no var %s before it", n.Line(), n.Ident)
}

// joined is the sum of two texts, the one expression that scripts use for
// names and templates.
func (e *evaluator) joined(n *ast.BinaryNode) (any, error) {
	both, err := e.values([]ast.Node{n.Left, n.Right})
	if err != nil {
		return nil, err
	}
	for _, v := range both {
		switch v.(type) {
		case error, ast.Node:
			return v, nil
		}
	}
	left, ok := both[0].(string)
	right, also := both[1].(string)
	if n.Operator != ast.TokenPlus || !ok || !also {
		return n, nil
	}
	if len(left)+len(right) > maxScript { // a few lines can double a text for ever
		return fmt.Errorf("a text of more than %d bytes, in line %d, is not put together here: write the value itself", maxScript, n.Line()), nil
	}
	return left + right, nil
}

// chain makes a node, or sets a property of one.
func (e *evaluator) chain(n *ast.ChainNode) (any, error) {
	left, err := e.value(n.Left)
	if err != nil {
		return nil, err
	}
	on, ok := left.(*node)
	if !ok {
		switch left.(type) {
		case error, ast.Node:
			return nil, whyNoValue(left)
		}
		return nil, fmt.Errorf("line %d: what stands before %s is no node", n.Line(), n.Operator)
	}
	call, ok := n.Right.(*ast.FunctionNode)
	if !ok {
		return n, nil
	}
	args, err := e.values(call.Args)
	if err != nil {
		return nil, err
	}
	if n.Operator == ast.TokenDot {
		on.properties = append(on.properties, property{call.Func, call.Line(), args})
		return on, nil
	}
	made := &node{name: call.Func, line: call.Line(), dynamic: n.Operator == ast.TokenAt, parent: on}
	if len(args) > 0 {
		made.properties = []property{{call.Func, call.Line(), args}}
	}
	e.nodes = append(e.nodes, made)
	return made, nil
}
