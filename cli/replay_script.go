package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bigpanda-udf/regularfile"
	"bigpanda-udf/tick"

	"github.com/influxdata/kapacitor/udf/agent"
)

// An invocation is what Kapacitor would tell the function of its place in a task.
type invocation struct {
	task     string
	options  []*agent.Option
	grouping tick.Grouping
}

// invocation puts together what the flags and the TICKscript say. A flag wins over the
// script.
func (f *replayFlags) invocation(c *command) (u invocation, err error) {
	u.task = f.Task
	given, err := readOptions(c.options)
	if err != nil {
		return u, err
	}
	grouping, grouped := f.grouping()
	if f.Tick == "" {
		if f.Node != 0 || f.Function != "" {
			return u, usagef("--node and --function say where to look in a TICKscript: add --tick FILE, or leave them out")
		}
		if u.task == "" {
			u.task = "replay"
		}
		u.options, u.grouping = given, grouping
		return u, nil
	}
	if u.task == "" {
		u.task = strings.TrimSuffix(filepath.Base(f.Tick), filepath.Ext(f.Tick))
	}
	chosen, err := f.chooseUse()
	if err != nil {
		return u, usageError{err}
	}
	script, err := chosen.Options(optionInfo())
	if err != nil {
		return u, usagef("%s: %w", f.Tick, err)
	}
	for _, o := range script {
		_, isSet := c.flags[flagOfOption(o.Name)]
		if !isSet && !slices.ContainsFunc(given, func(flag *agent.Option) bool { return sameOption(flag, o.Option) }) {
			u.options = append(u.options, o.Option)
		}
	}
	u.options = append(u.options, given...)
	if u.grouping = grouping; !grouped {
		if u.grouping, err = chosen.Grouping(); err != nil {
			return u, usagef("%s: %w", f.Tick, err)
		}
	}
	return u, nil
}

// pointTags are the tags that say something of a point and nothing of its group:
// the level and the id, by whatever name.
func (u invocation) pointTags() []string {
	names := []string{"level", "alertID"}
	for _, o := range u.options {
		if o.Name == "levelTag" || o.Name == "idTag" {
			names = append(names, o.Values[0].GetStringValue())
		}
	}
	return names
}

// sameOption tells whether an option says what another one does. Those of two
// values say something of the first.
func sameOption(a, b *agent.Option) bool {
	return a.Name == b.Name && (len(a.Values) == 1 || a.Values[0].GetStringValue() == b.Values[0].GetStringValue())
}

// readScript reads a TICKscript. It may come through a pipe, which ends with
// whoever started this; a device may have no end.
func readScript(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, regularfile.MaxText+1))
	if err == nil && len(text) > regularfile.MaxText {
		err = fmt.Errorf("%s is larger than %d bytes", name, regularfile.MaxText)
	}
	return text, err
}

func (f *replayFlags) chooseUse() (u tick.Use, err error) {
	text, err := readScript(f.Tick)
	if err != nil {
		return u, fmt.Errorf("--tick: read the TICKscript: %w", err)
	}
	function := f.Function
	if function == "" {
		function = defaultFunction
	}
	uses, err := tick.Uses(string(text), function)
	if err != nil {
		return u, fmt.Errorf("%s: %w", f.Tick, err)
	}
	var lines []string
	for _, u := range uses {
		lines = append(lines, fmt.Sprint(u.Line))
	}
	where := fmt.Sprintf("lines %s", strings.Join(lines, ", "))
	switch {
	case len(uses) == 0:
		return u, fmt.Errorf("%s has no @%s(): add it behind the alert node, or name what the script calls the function with --function", f.Tick, function)
	case f.Node == 0 && len(uses) > 1:
		return u, fmt.Errorf("%s has %d uses of @%s() (%s): choose one with --node 1 to --node %[2]d", f.Tick, len(uses), function, where)
	case f.Node < 0 || f.Node > len(uses):
		return u, fmt.Errorf("--node is %d, but %s has %d of @%s(): choose one from 1", f.Node, f.Tick, len(uses), function)
	}
	return uses[max(f.Node, 1)-1], nil
}
