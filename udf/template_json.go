package udf

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"text/template"
)

// jsonFunctions are the two functions that the details template of Kapacitor's
// alert node has, and no other template (alert.go). They give the same text as
// there: <, > and & are escaped, json ends with a newline and jsonCompact does
// not, and what JSON cannot tell, such as NaN, renders as nothing.
var jsonFunctions = template.FuncMap{
	"json": func(v any) (string, error) {
		text, err := encode(v)
		if text != "" {
			text += "\n"
		}
		return text, err
	},
	"jsonCompact": encode,
}

// encode fails only on what is too long to be rendered, and before it makes a
// copy of that: a frame's fields may hold 64 MiB.
func encode(v any) (string, error) {
	tooLong := fmt.Errorf("JSON of more than %d bytes of text", maxRendered)
	if lengthOf(reflect.ValueOf(v)) > maxRendered {
		return "", tooLong
	}
	text, err := json.Marshal(v)
	switch {
	case err != nil:
		return "", nil
	case len(text) > maxRendered:
		return "", tooLong
	}
	return string(text), nil
}

// lengthOf is the number of bytes in all texts of a template's data.
func lengthOf(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Interface:
		return lengthOf(v.Elem())
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			n += lengthOf(entry.Key()) + lengthOf(entry.Value())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += lengthOf(v.Field(i))
		}
	}
	return n
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
