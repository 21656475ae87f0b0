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
// value: an ast.Node that is not evaluated, or the error why there is none. A
// statement that makes no node fails the script.
type evaluator struct {
	vars  map[string]any
	nodes []*node // as they were made
}

func (e *evaluator) run(program *ast.ProgramNode) error {
	for _, statement := range program.Nodes {
		switch s := statement.(type) {
		case *ast.DeclarationNode:
			v := e.value(s.Right)
			err, failed := v.(error)
			if _, isChain := s.Right.(*ast.ChainNode); isChain && failed {
				return err
			}
			e.vars[s.Left.Ident] = v
		case *ast.TypeDeclarationNode:
			e.vars[s.Node.Ident] = fmt.Errorf(
				"var %s of line %d has no value in the script: give it one there, such as var %[1]s = '…'", s.Node.Ident, s.Line())
		case *ast.DBRPNode, *ast.CommentNode:
		default:
			if err, failed := e.value(s).(error); failed {
				return err
			}
		}
	}
	return nil
}

func (e *evaluator) value(n ast.Node) any {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Literal
	case *ast.BoolNode:
		return n.Bool
	case *ast.DurationNode:
		return n.Dur
	case *ast.NumberNode:
		if n.IsInt {
			return n.Int64
		}
		return n.Float64
	case *ast.ListNode:
		return e.values(n.Nodes)
	case *ast.IdentifierNode:
		return e.variable(n)
	case *ast.BinaryNode:
		return e.joined(n)
	case *ast.ChainNode:
		return e.chain(n)
	}
	return n
}

func (e *evaluator) values(nodes []ast.Node) []any {
	all := make([]any, 0, len(nodes))
	for _, n := range nodes {
		all = append(all, e.value(n))
	}
	return all
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
func (e *evaluator) joined(n *ast.BinaryNode) any {
	both := e.values([]ast.Node{n.Left, n.Right})
	for _, v := range both {
		switch v.(type) {
		case error, ast.Node:
			return v
		}
	}
	left, ok := both[0].(string)
	right, also := both[1].(string)
	if n.Operator != ast.TokenPlus || !ok || !also {
		return n
	}
	if len(left)+len(right) > maxScript { // a few lines can double a text for ever
		return fmt.Errorf("a text of more than %d bytes, in line %d, is not put together here: write the value itself", maxScript, n.Line())
	}
	return left + right
}

// chain makes a node, or sets a property of one.
func (e *evaluator) chain(n *ast.ChainNode) any {
	left := e.value(n.Left)
	on, ok := left.(*node)
	if !ok {
		switch left.(type) {
		case error, ast.Node:
			return whyNoValue(left)
		}
		return fmt.Errorf("line %d: what stands before %s is no node", n.Line(), n.Operator)
	}
	call, ok := n.Right.(*ast.FunctionNode)
	if !ok {
		return n
	}
	args := e.values(call.Args)
	if n.Operator == ast.TokenDot {
		on.properties = append(on.properties, property{call.Func, call.Line(), args})
		return on
	}
	made := &node{name: call.Func, line: call.Line(), dynamic: n.Operator == ast.TokenAt, parent: on}
	if len(args) > 0 {
		made.properties = []property{{call.Func, call.Line(), args}}
	}
	e.nodes = append(e.nodes, made)
	return made
}
