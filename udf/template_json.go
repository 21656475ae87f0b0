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
var jsonFunctions = map[string]textFunction{
	"json": func(value any) string {
		if text := jsonCompact(value); text != "" {
			return text + "\n"
		}
		return ""
	},
	"jsonCompact": jsonCompact,
}

func jsonCompact(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
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
