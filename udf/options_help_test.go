package udf

import (
	"testing"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Every option has its help, with the arguments that Kapacitor is told of.
func TestOptionsHelp(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, help := range OptionsHelp {
		o, there := optionTable[help.Name]
		if !there || seen[help.Name] {
			t.Errorf("%s is no option, or is there twice", help.Name)
		}
		seen[help.Name] = true
		if len(help.Arguments) != len(o.types) || help.Text == "" {
			t.Errorf("%s has the help %+v, and %d arguments", help.Name, help, len(o.types))
			continue
		}
		for i, word := range help.Arguments {
			if text := word[0] == '\''; text != (o.types[i] == agent.ValueType_STRING) {
				t.Errorf("%s: the argument %s is a %s", help.Name, word, o.types[i])
			}
		}
	}
	if len(seen) != len(optionTable) {
		t.Errorf("%d options have a help, of %d", len(seen), len(optionTable))
	}
}
