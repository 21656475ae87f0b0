package udf

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/influxql"
	"github.com/influxdata/kapacitor/udf/agent"
)

// An argument is one value of an option, as the option wants it.
type argument struct {
	text     string
	bool     bool
	duration time.Duration
}

// wanted says in an error what an option takes.
var wanted = map[agent.ValueType]string{
	agent.ValueType_STRING:   "a text in quotes, such as 'text'",
	agent.ValueType_BOOL:     "TRUE or FALSE",
	agent.ValueType_DURATION: "a duration, such as 10m",
}

// convert brings the values to the types that an option has. Kapacitor gives
// them so, but a pipeline that went through JSON comes back with '10s' as a
// duration and '5' as an integer (pipeline/udf.go): those become the text
// again.
func convert(values []*agent.OptionValue, types []agent.ValueType) ([]argument, error) {
	if len(values) != len(types) {
		return nil, fmt.Errorf("takes %s, not %d", [...]string{1: "one value", 2: "two values"}[len(types)], len(values))
	}
	args := make([]argument, len(values))
	for i, v := range values {
		var ok bool
		switch types[i] {
		case agent.ValueType_STRING:
			args[i].text, ok = asText(v)
		case agent.ValueType_BOOL:
			args[i].bool, ok = asBool(v)
		case agent.ValueType_DURATION:
			args[i].duration, ok = asDuration(v)
		}
		if !ok {
			return nil, fmt.Errorf("takes %s, not a value of type %s", wanted[types[i]], strings.ToLower(v.GetType().String()))
		}
	}
	return args, nil
}

func asText(v *agent.OptionValue) (string, bool) {
	switch v := v.GetValue().(type) {
	case *agent.OptionValue_StringValue:
		return v.StringValue, true
	case *agent.OptionValue_IntValue:
		return fmt.Sprint(v.IntValue), true
	case *agent.OptionValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue), true
	case *agent.OptionValue_BoolValue:
		return fmt.Sprint(v.BoolValue), true
	case *agent.OptionValue_DurationValue:
		return influxql.FormatDuration(time.Duration(v.DurationValue)), true
	}
	return "", false
}

func asBool(v *agent.OptionValue) (bool, bool) {
	switch v := v.GetValue().(type) {
	case *agent.OptionValue_BoolValue:
		return v.BoolValue, true
	case *agent.OptionValue_StringValue:
		b, err := strconv.ParseBool(v.StringValue)
		return b, err == nil
	}
	return false, false
}

func asDuration(v *agent.OptionValue) (time.Duration, bool) {
	switch v := v.GetValue().(type) {
	case *agent.OptionValue_DurationValue:
		return time.Duration(v.DurationValue), true
	case *agent.OptionValue_StringValue:
		d, err := time.ParseDuration(v.StringValue)
		return d, err == nil
	}
	return 0, false
}
