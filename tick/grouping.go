package tick

import (
	"fmt"
	"slices"

	"github.com/influxdata/kapacitor/models"
	"github.com/influxdata/kapacitor/tick/ast"
	"github.com/influxdata/kapacitor/udf/agent"
)

// A Grouping says which points are one group, as .groupBy() does. The zero
// Grouping has all points in one.
type Grouping struct {
	All     bool     // by all tags, but those in Exclude
	Tags    []string // by these
	Exclude []string
	ByName  bool // by the measurement, too
}

// Grouping returns how the points are grouped that reach a use: by the nearest
// groupBy before it.
func (u Use) Grouping() (g Grouping, err error) {
	found := false
	for n := u.node.parent; n != nil; n = n.parent {
		own, groups, err := n.grouping()
		if err != nil {
			return g, err
		}
		own.ByName = own.ByName || g.ByName
		if groups && !found {
			g, found = own, true
		}
		g.ByName = own.ByName
	}
	return g, nil
}

// grouping reads a node's own, and whether it has one. The groupBy of a from
// or query node is a property, that of a node called groupBy its arguments.
func (n *node) grouping() (g Grouping, found bool, err error) {
	for _, p := range n.properties {
		switch {
		case p.name == "groupBy":
			found = true
			if err := g.by(p); err != nil {
				return g, false, fmt.Errorf("line %d: .groupBy(): %w, or say it with --group-by", p.line, err)
			}
		case p.name == "groupByMeasurement", p.name == "byMeasurement" && n.name == "groupBy":
			g.ByName = true
		case p.name == "exclude" && n.name == "groupBy":
			for _, arg := range p.args {
				name, ok := arg.(string)
				if !ok {
					return g, false, fmt.Errorf("line %d: .exclude(): %w", p.line, whyNoValue(arg))
				}
				g.Exclude = append(g.Exclude, name)
			}
		}
	}
	return g, found, nil
}

// by takes the tags of one groupBy, which takes the place of an earlier one.
func (g *Grouping) by(p property) error {
	g.All, g.Tags = false, nil
	for _, arg := range p.args {
		list, ok := arg.([]any)
		if !ok {
			list = []any{arg}
		}
		for _, item := range list { // a list in it is no tag
			switch v := item.(type) {
			case *ast.StarNode:
				g.All = true
			case string:
				g.Tags = append(g.Tags, v)
			case *ast.FunctionNode:
				if v.Func != "time" { // of a query: no tag
					return whyNoValue(v)
				}
			default:
				return whyNoValue(item)
			}
		}
	}
	slices.Sort(g.Tags) // as Kapacitor does: the order is part of the group's name
	return nil
}

// Apply puts a point into its group.
func (g Grouping) Apply(p *agent.Point) {
	p.Dimensions = nil
	p.ByName = g.ByName
	if g.All {
		for name := range p.Tags {
			if !slices.Contains(g.Exclude, name) {
				p.Dimensions = append(p.Dimensions, name)
			}
		}
		slices.Sort(p.Dimensions)
	} else {
		p.Dimensions = g.Tags
	}
	p.Group = string(models.ToGroupID(p.Name, p.Tags, models.Dimensions{ByName: p.ByName, TagNames: p.Dimensions}))
}
