package cli

import (
	"io"

	"github.com/alecthomas/kong"
)

// Model is the command line as kong knows it, of which packaging/gen makes the man
// pages and the completions. The flags of function mode are those of a hidden
// command; the help of a flag ends with its environment variable in brackets, and its
// tag "values" is what may be written, where that is a list.
func Model() (*kong.Application, error) {
	none := func(string) (string, bool) { return "", false }
	k, err := newParser(Process{Stdout: io.Discard, Stderr: io.Discard, LookupEnv: none}, new(command), commands)
	if err != nil {
		return nil, err
	}
	return k.Model, nil
}
