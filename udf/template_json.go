package udf

import (
	"encoding/json"
	"fmt"
	"strings"
)

// jsonFunctions are the two functions that the details template of Kapacitor's
// alert node has, and no other template (alert.go). They give the same text as
// there: <, > and & are escaped, json ends with a newline and jsonCompact does
// not, and what JSON cannot tell, such as NaN, renders as nothing.
var jsonFunctions = textFunctions{
	"json": func(values ...any) (string, error) {
		text, err := encode(values)
		if text != "" {
			text += "\n"
		}
		return text, err
	},
	"jsonCompact": func(values ...any) (string, error) { return encode(values) },
}

func encode(values []any) (string, error) {
	if len(values) != 1 {
		return "", fmt.Errorf("it takes one value, not %d", len(values))
	}
	if values[0] == (nothing{}) {
		values[0] = nil
	}
	text, err := json.Marshal(values[0])
	if err != nil {
		return "", nil
	}
	return string(text), nil
}

// misplacedJSON is the error of a template that may not have those functions and
// asks for one; nil for any other error.
func misplacedJSON(err error) error {
	for name := range jsonFunctions {
		if strings.Contains(err.Error(), fmt.Sprintf("function %q not defined", name)) {
			return fmt.Errorf("only .details() has the function %s, as in Kapacitor: move it there, or name single values here", name)
		}
	}
	return nil
}
