package cli

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/tick"
	"bigpanda-udf/udf"

	"github.com/alecthomas/kong"
	"github.com/influxdata/influxql"
	"github.com/influxdata/kapacitor/udf/agent"
)

// defaultFunction is what the README's kapacitor.conf calls the function.
const defaultFunction = "bigpanda"

// replayFlags are the settings that say what is sent and how, and the points.
type replayFlags struct {
	File string `arg:"" optional:"" help:"Points as line protocol, gzipped or not; a stream's recording of Kapacitor's (.srpl); or - for stdin."`

	settingFlags

	JSON      bool     `name:"json" help:"Print each alert as the JSON that is posted when it goes alone."`
	Send      bool     `help:"Send the alerts, too."`
	Precision string   `default:"ns" placeholder:"UNIT" values:"ns us ms s m h" help:"The unit of the timestamps: ns, us, ms, s, m or h (${default})."`
	GroupBy   []string `sep:"," placeholder:"TAG,TAG" help:"Group the points by these tags; * for all."`
	Task      string   `placeholder:"NAME" help:"The task's name (that of the --tick file, else replay)."`
	Tick      string   `placeholder:"FILE" help:"Take the options and the groups from this TICKscript."`
	Node      int      `placeholder:"N" help:"Which @bigpanda() of the script, from 1."`
	Function  string   `placeholder:"NAME" help:"What kapacitor.conf and the script call the function (bigpanda)."`

	Options kong.Plugins `embed:""` // one flag for each option of a TICKscript
}

func newReplayFlags() any {
	meant := func(row config.Setting) bool { return row.Scope >= config.OfDelivery }
	return &replayFlags{Options: newOptionFlags(), settingFlags: settingsWhere(meant, map[string]string{
		"drain-timeout": "How long to wait for the delivery of each 1,000 alerts (${default}).",
		"log-level":     "Log debug, info, warn or error and above (warn).",
	})}
}

// Help is what kong prints above the flags.
func (replayFlags) Help() string {
	return `Reads points from a file and prints what the function would send for them.
Nothing is sent without --send, and the function's outbox is not touched.

The points must have a level, as those behind |alert() have: the other nodes of
a script are not run. A point without a time gets that of now.`
}

// flagOfOption is an option's name as a flag: levelField is --level-field.
func flagOfOption(option string) string {
	return strings.ToLower(regexp.MustCompile("[A-Z]").ReplaceAllString(option, "-$0"))
}

// optionInfo is all options of the function, as it tells Kapacitor.
func optionInfo() *agent.InfoResponse {
	info, err := udf.New(udf.Config{}).Info()
	if err != nil {
		panic(err) // it needs nothing
	}
	return info
}

// newOptionFlags makes a flag of each option that no setting has the name of.
func newOptionFlags() kong.Plugins {
	var made madeFlags
	info := optionInfo()
	for _, option := range slices.Sorted(maps.Keys(info.Options)) {
		name := flagOfOption(option)
		if slices.Contains(config.Names(), name) {
			continue
		}
		placeholder, example := "TEXT", "'TEXT'"
		switch types := info.Options[option].ValueTypes; {
		case len(types) == 2:
			placeholder, example = "A=B", "'A', 'B'"
		case types[0] == agent.ValueType_BOOL:
			placeholder, example = "TRUE", "TRUE"
		case types[0] == agent.ValueType_DURATION:
			placeholder, example = "10m", "10m"
		}
		made.add(reflect.TypeFor[[]string](), `option:%q name:%q placeholder:%q help:%q group:"options" sep:"none"`,
			option, name, placeholder, fmt.Sprintf(".%s(%s)", option, example))
	}
	return made.plugins()
}

func readOptions(given map[string][]string) (options []*agent.Option, err error) {
	info := optionInfo()
	for _, name := range slices.Sorted(maps.Keys(given)) {
		for _, text := range given[name] {
			o, err := optionOf(name, info.Options[name].ValueTypes, text)
			if err != nil {
				return nil, err
			}
			options = append(options, o)
		}
	}
	return options, nil
}

func optionOf(name string, types []agent.ValueType, text string) (*agent.Option, error) {
	texts := []string{text}
	if len(types) == 2 {
		first, second, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--%s is %q: write the option's two values with = between them", flagOfOption(name), config.Shown(text))
		}
		texts = []string{first, second}
	}
	o := &agent.Option{Name: name}
	for i, text := range texts {
		v := &agent.OptionValue{Type: types[i]}
		switch types[i] {
		case agent.ValueType_BOOL:
			b, err := strconv.ParseBool(text)
			if err != nil {
				return nil, usagef("--%s is %q: write true or false", flagOfOption(name), config.Shown(text))
			}
			v.Value = &agent.OptionValue_BoolValue{BoolValue: b}
		case agent.ValueType_DURATION:
			d, err := influxql.ParseDuration(text) // as in a TICKscript
			if err != nil {
				return nil, usagef("--%s is %q: write a duration, such as 10m or 1d", flagOfOption(name), config.Shown(text))
			}
			v.Value = &agent.OptionValue_DurationValue{DurationValue: int64(d)}
		default:
			v.Value = &agent.OptionValue_StringValue{StringValue: text}
		}
		o.Values = append(o.Values, v)
	}
	return o, nil
}

func (f *replayFlags) grouping() (g tick.Grouping, given bool) {
	for _, tag := range f.GroupBy {
		if tag == "*" {
			g.All = true
		} else if tag != "" {
			g.Tags = append(g.Tags, tag)
		}
	}
	slices.Sort(g.Tags)
	return g, len(f.GroupBy) > 0
}

// precisions are the units that Kapacitor takes (services/httpd), and what
// InfluxDB calls them.
var precisions = map[string]time.Duration{
	"n": time.Nanosecond, "ns": time.Nanosecond, "u": time.Microsecond, "us": time.Microsecond,
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
}
