package config

import (
	"errors"
	"fmt"
	"strings"

	"bigpanda-udf/printable"

	"github.com/BurntSushi/toml"
)

// maxTwice is how many are named of what stands in a file twice.
const maxTwice = 10

// DefinedTwice says which sections and keys of a TOML file stand there twice, and
// what to do about each; "" if the file's first fault is another one. A second
// [udf] is what comes of pasting one into the kapacitor.conf that Kapacitor is
// shipped with.
func DefinedTwice(data []byte) string {
	lines := strings.Split(string(data), "\n")
	var found []string
	for range maxTwice {
		var at toml.ParseError
		var file map[string]any
		if !errors.As(toml.Unmarshal([]byte(strings.Join(lines, "\n")), &file), &at) {
			break
		}
		key, twice := strings.CutPrefix(at.Message, "Key '")
		key, _, closed := strings.Cut(key, "' has already been defined")
		n := at.Position.Line
		if !twice || !closed || n < 1 || n > len(lines) {
			break
		}
		key = printable.Text(printable.Cut(key, 200))
		isSection := strings.HasPrefix(strings.TrimSpace(lines[n-1]), "[")
		switch {
		case !isSection:
			found = append(found, fmt.Sprintf("the key %s stands a second time in line %d: keep one", key, n))
		case emptySection(lines[n:]):
			found = append(found, fmt.Sprintf("the section [%s] stands a second time in line %d: leave that line out", key, n))
		default:
			// What stands below would become a part of another section, so
			// nothing can be said of it.
			found = append(found, fmt.Sprintf("the section [%s] stands a second time in line %d: leave that line out, "+
				"and move what is below it to the first [%[1]s]", key, n))
			return strings.Join(found, "; ")
		}
		lines[n-1] = ""
	}
	return strings.Join(found, "; ")
}

// emptySection tells whether nothing stands below a section's line but other
// sections.
func emptySection(below []string) bool {
	for _, line := range below {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return strings.HasPrefix(line, "[")
		}
	}
	return true
}
