package udf

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"text/template"
)

// A Whole and a Fraction are numbers that came as JSON, in which 95 may have been an
// integer or a float: so a template may print and compare either as both.
type (
	Whole    int64
	Fraction float64
)

// ParseNumber reads a number of JSON. One that is too large is infinite.
func ParseNumber(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && text != "-0" {
		return Whole(n)
	}
	f, _ := strconv.ParseFloat(text, 64)
	return Fraction(f)
}

// Format prints the JSON text, or what a verb of numbers asks for.
func (n Whole) Format(s fmt.State, verb rune) {
	switch verb {
	case 'e', 'E', 'f', 'F', 'g', 'G':
		fmt.Fprintf(s, fmt.FormatString(s, verb), float64(n))
	case 's', 'v':
		fmt.Fprintf(s, fmt.FormatString(s, 's'), strconv.FormatInt(int64(n), 10))
	default:
		fmt.Fprintf(s, fmt.FormatString(s, verb), int64(n))
	}
}

// Format is as that of Whole.
func (f Fraction) Format(s fmt.State, verb rune) {
	switch verb {
	case 's', 'v':
		fmt.Fprintf(s, fmt.FormatString(s, 's'), appendDouble(nil, float64(f)))
	default:
		fmt.Fprintf(s, fmt.FormatString(s, verb), float64(f))
	}
}

// comparisons are those of text/template, which do not compare an integer with a
// float.
func (b *budget) comparisons() template.FuncMap {
	all := make(template.FuncMap)
	for _, name := range []string{"ne", "lt", "le", "gt", "ge"} {
		compare := b.comparison(name)
		all[name] = func(one, other any) (bool, error) { return compare(one, other) }
	}
	eq := b.comparison("eq")
	all["eq"] = func(one, other any, others ...any) (bool, error) {
		for _, other := range append([]any{other}, others...) {
			if equal, err := eq(one, other); equal || err != nil {
				return equal, err
			}
		}
		return false, nil
	}
	return all
}

func (b *budget) comparison(name string) func(one, other any) (bool, error) {
	t := template.Must(template.New("").Parse("{{if " + name + " .One .Other}}true{{end}}"))
	return func(one, other any) (bool, error) {
		for _, v := range []any{one, other} {
			if text, ok := v.(string); ok && b.handle(len(text)) != nil {
				return false, b.over
			}
		}
		if x, y := reflect.ValueOf(one), reflect.ValueOf(other); x.CanInt() && y.CanFloat() {
			one = float64(x.Int())
		} else if x.CanFloat() && y.CanInt() {
			other = float64(y.Int())
		}
		var out strings.Builder
		err := t.Execute(&out, struct{ One, Other any }{one, other})
		return out.Len() > 0, err
	}
}
