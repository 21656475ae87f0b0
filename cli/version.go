package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is the release, set by -ldflags "-X bigpanda-udf/cli.Version=…".
// Without it the module's version counts.
var Version string

type versionFlags struct {
	JSON bool `name:"json" help:"Print one JSON object."`
}

// build is what the program was made of.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // "+changes" when it was not all committed
	Go      string `json:"go"`
}

func currentBuild() build {
	b := build{Version: Version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		set := make(map[string]string)
		for _, s := range info.Settings {
			set[s.Key] = s.Value
		}
		b.Commit = set["vcs.revision"]
		if b.Commit != "" && set["vcs.modified"] == "true" {
			b.Commit += "+changes"
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

func (f *versionFlags) run(_ context.Context, p Process, _ *command) error {
	b := currentBuild()
	if f.JSON {
		return p.printJSON(b)
	}
	fmt.Fprintln(p.Stdout, programName, b.Version)
	if b.Commit != "" {
		fmt.Fprintln(p.Stdout, "commit", b.Commit)
	}
	fmt.Fprintln(p.Stdout, b.Go)
	return nil
}
