package tick_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/tick"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// info is what the function tells Kapacitor of its options.
var info, _ = udf.New(udf.Config{}).Info()

// text writes options down as a script would have them.
func text(options []tick.Option) string {
	var all []string
	for _, o := range options {
		var args []string
		for _, v := range o.Values {
			switch v.Type {
			case agent.ValueType_STRING:
				args = append(args, fmt.Sprintf("%q", v.GetStringValue()))
			case agent.ValueType_BOOL:
				args = append(args, fmt.Sprint(v.GetBoolValue()))
			case agent.ValueType_DURATION:
				args = append(args, fmt.Sprint(v.GetDurationValue()/1e9, "s"))
			}
		}
		all = append(all, fmt.Sprintf("%d %s(%s)", o.Line, o.Name, strings.Join(args, ", ")))
	}
	return strings.Join(all, "; ")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script, want string
	}{
		{"none", `stream|from()@bigpanda()`, ""},
		{"every type", "stream|from()\n@bigpanda()\n.levelField('l')\n.attribute('a', 'b')\n.passThrough(FALSE)\n.maxAge(2h)",
			`3 levelField("l"); 4 attribute("a", "b"); 5 passThrough(false); 6 maxAge(7200s)`},
		{"what stands behind the next node is its own", `stream|from()@bigpanda().levelTag('x')|log().prefix('y')`, `1 levelTag("x")`},
		{"variables", "var key = 'k'\nvar age = 1m\nstream|from()@bigpanda().appKey(key).maxAge(age)", `3 appKey("k"); 3 maxAge(60s)`},
		{"texts that are joined", "var name = 'cpu'\nvar t = name + ':{{ .Group }}'\nstream|from()@bigpanda().id(t + '!')", `3 id("cpu:{{ .Group }}!")`},
		{"quotes within a text", `stream|from()@bigpanda().message('it\'s').details('''it's''')`, `1 message("it's"); 1 details("it's")`},
		{"a node in a variable", "var data = stream|from()\nvar bp = data|alert()@bigpanda()\nbp.host('h')", `3 host("h")`},
		{"what every node has", `stream|from()@bigpanda().quiet().host('h')`, `1 host("h")`},
		{"the rest of the script does not matter", "dbrp \"telegraf\".\"autogen\"\nvar f = lambda: \"usage\" > 1.5\nvar n int\nvar p = /x/\n" +
			"stream|from().where(f)|eval(lambda: -\"a\").as('b')|window().period(10s)|mean('a')|alert().crit(f).id(n)@bigpanda().host('h')", `5 host("h")`},
		{"of one of two", "stream|from()@other().host('o')@bigpanda().host('h')", `1 host("h")`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uses, err := tick.Uses(tt.script, "bigpanda")
			if err != nil || len(uses) != 1 {
				t.Fatalf("uses %v, error %v", uses, err)
			}
			options, err := uses[0].Options(info)
			if got := text(options); err != nil || got != tt.want {
				t.Errorf("options\n%s (%v), want\n%s", got, err, tt.want)
			}
		})
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script, want string // a part of the error
	}{
		{"no TICKscript", "stream|from(", "it is no TICKscript: unexpected EOF line 1"},
		{"too long, as for the parser's stack", "stream|from(" + strings.Repeat("(", 3_000_000), "it is longer than 262144 bytes"},
		{"a text that doubles and doubles", "var a = 'x'\n" + strings.Repeat("var a = a + a\n", 60) + "stream|from()@bigpanda().host(a)", "a text of more than 262144 bytes"},
		{"no text", "stream\xff", "it is not UTF-8"},
		{"a stroke that the parser stumbles over", " /\U0001D11E/", "unexpected / in line 1"},
		{"an unknown variable before a node", "data|alert()@bigpanda()", "line 1: there is no var data before it"},
		{"a text before a node", "var data = 'x'\ndata|alert()@bigpanda()", "line 2: what stands before"},
		{"an unknown variable", "stream|from()@bigpanda().host(h)", "line 1: .host(): line 1: there is no var h before it"},
		{"a variable without a value", "var h string\nstream|from()@bigpanda().host(h)", "var h of line 1 has no value in the script: give it one there"},
		{"a lambda", "stream|from()@bigpanda().host(lambda: \"h\")", "a lambda, in line 1, is not evaluated here: write the value itself"},
		{"a sum", "stream|from()@bigpanda().maxAge(1m + 1m)", "an expression other than 'text' + 'text', in line 1"},
		{"a call", "stream|from()@bigpanda().host(string(1))", "string(…), in line 1"},
		{"a list", "stream|from()@bigpanda().host(['a'])", "a list is no value"},
		{"a star", "stream|from()@bigpanda().host(*)", "* is no value"},
		{"a node", "var n = stream|from()\nn@bigpanda().host(n)", "a node is no value"},
		{"no option", "stream|from()@bigpanda()\n.hots('h')", "line 2: @bigpanda() has no option .hots()"},
		{"too many values", "stream|from()@bigpanda().host('a', 'b')", "line 1: the number of values that .host() takes is 1, not 2"},
		{"another type", "stream|from()@bigpanda().host(5)", "line 1: .host() takes a value of type string, not int"},
		{"a text for a duration", "stream|from()@bigpanda().maxAge('5m')", ".maxAge() takes a value of type duration, not string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uses, err := tick.Uses(tt.script, "bigpanda")
			if err == nil {
				_, err = uses[0].Options(info)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
		})
	}
}

func TestUses(t *testing.T) {
	t.Parallel()
	script := "var data = stream|from()\ndata|alert()\n@bigpanda()\ndata|alert()@bigpanda()\ndata@bp()"
	for function, want := range map[string][]int{"bigpanda": {3, 4}, "bp": {5}, "other": nil} {
		uses, err := tick.Uses(script, function)
		var lines []int
		for _, u := range uses {
			lines = append(lines, u.Line)
		}
		if err != nil || !slices.Equal(lines, want) {
			t.Errorf("@%s() is in lines %v (%v), want %v", function, lines, err, want)
		}
	}
}

// The groups' names are those that Kapacitor gives them (models.ToGroupID).
func TestGrouping(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script, group string
	}{
		{"none", "stream|from()", ""},
		{"of from", "stream|from().groupBy('host')", "host=a"},
		{"in order of the alphabet", "stream|from().groupBy('host', 'cpu')", "cpu=0,host=a"},
		{"a list in a variable", "var by = ['host', 'cpu']\nstream|from().groupBy(by)", "cpu=0,host=a"},
		{"an empty list", "var by = []\nstream|from().groupBy(by)", ""},
		{"a tag that a point has not", "stream|from().groupBy('rack')", "rack="},
		{"all tags", "stream|from().groupBy(*)", "cpu=0,dc=x,host=a"},
		{"a list of all", "var by = [*]\nstream|from().groupBy(by)", "cpu=0,dc=x,host=a"},
		{"a node of its own", "stream|from().groupBy('dc')|groupBy('host')", "host=a"},
		{"all but one", "stream|from()|groupBy(*).exclude('dc')", "cpu=0,host=a"},
		{"the last property", "stream|from().groupBy('dc').groupBy('host')", "host=a"},
		{"behind other nodes", "stream|from().groupBy('host')|window().period(1m)|mean('x')|alert()", "host=a"},
		{"with the measurement", "stream|from().groupByMeasurement().groupBy('host')", "m\nhost=a"},
		{"the measurement alone", "stream|from().groupByMeasurement()", "m"},
		{"a measurement stays", "stream|from().groupByMeasurement()|groupBy('host')", "m\nhost=a"},
		{"the measurement of a node of its own", "stream|from()|groupBy('host').byMeasurement()", "m\nhost=a"},
		{"of a query, whose time is no tag", "batch|query('x').groupBy(time(1m), 'host')|alert()", "host=a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uses, err := tick.Uses(tt.script+"@bigpanda()", "bigpanda")
			if err != nil || len(uses) != 1 {
				t.Fatalf("uses %v, error %v", uses, err)
			}
			g, err := uses[0].Grouping()
			p := &agent.Point{Name: "m", Tags: map[string]string{"host": "a", "cpu": "0", "dc": "x"}}
			g.Apply(p)
			if err != nil || p.Group != tt.group {
				t.Errorf("the group is %q (%v), want %q", p.Group, err, tt.group)
			}
		})
	}
	uses, err := tick.Uses("var by list\nstream|from().groupBy(by)@bigpanda().host('h')", "bigpanda")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := uses[0].Grouping(); err == nil || !strings.Contains(err.Error(), "line 2: .groupBy(): var by of line 1 has no value in the script") {
		t.Errorf("the error of a group that is not known is %v", err)
	}
	lists, err := tick.Uses("var by = ['x']\n"+strings.Repeat("var by = [by, by]\n", 60)+"stream|from().groupBy(by)@bigpanda()", "bigpanda")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lists[0].Grouping(); err == nil || !strings.Contains(err.Error(), "a list is no value for it") {
		t.Errorf("the error of lists in lists is %v", err)
	}
	if _, err := uses[0].Options(info); err != nil {
		t.Errorf("the options are read with error %v", err)
	}
}

// The scripts that a user copies are read whole.
func TestExamples(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"cpu_usage.tick": "", "cpu_usage_check.tick": "host"} {
		script, err := os.ReadFile("../examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		uses, err := tick.Uses(string(script), "bigpanda")
		if err != nil || len(uses) != 1 {
			t.Fatalf("%s: uses %v, error %v", file, uses, err)
		}
		g, err := uses[0].Grouping()
		if got := strings.Join(g.Tags, ","); err != nil || got != want {
			t.Errorf("%s: grouped by %q (%v), want %q", file, got, err, want)
		}
		if _, err := uses[0].Options(info); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Whatever is in a script, it is read or refused.
func FuzzUses(f *testing.F) {
	f.Add("var by = ['host']\nstream|from().groupBy(by, *)|groupBy(*).exclude('x')|alert()@bigpanda().attribute('a', 'b' + 'c').maxAge(1m)")
	f.Add("dbrp \"a\".\"b\"\nvar n int\nvar f = lambda: \"x\" > -1.5 AND TRUE\nstream|from().where(f)@bigpanda().host(n)")
	f.Add("batch|query('''x''').groupBy(time(1m))@bigpanda().passThrough(FALSE) // end")
	f.Fuzz(func(t *testing.T, script string) {
		uses, err := tick.Uses(script, "bigpanda")
		for _, u := range uses {
			if err != nil {
				t.Fatalf("uses with error %v", err)
			}
			u.Options(info)
			if g, err := u.Grouping(); err == nil {
				g.Apply(&agent.Point{Tags: map[string]string{"host": "a"}})
			}
		}
	})
}
