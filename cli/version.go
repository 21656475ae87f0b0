package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// What a release is built with (packaging/release.sh), as -ldflags "-X
// bigpanda-udf/cli.Version=…". Of any other build the Go command says what it knows.
var (
	Version string // of the release, without "v"
	Commit  string // in full
	Date    string // of the commit, RFC 3339
)

type versionFlags struct {
	JSON bool `name:"json" help:"Print one JSON object."`
}

// build is what the program was made of.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"` // "+changes" when it was not all committed
	Date     string `json:"date,omitempty"`   // of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"` // such as linux/amd64
}

func currentBuild() build {
	b := build{Version: Version, Commit: Commit, Date: Date, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok && b.Version == "" {
		if info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		set := make(map[string]string)
		for _, s := range info.Settings {
			set[s.Key] = s.Value
		}
		b.Commit, b.Date = set["vcs.revision"], set["vcs.time"]
		if b.Commit != "" && set["vcs.modified"] == "true" {
			b.Commit += "+changes"
		}
	}
	b.Version = cmp.Or(b.Version, "devel")
	return b
}

func (f *versionFlags) run(_ context.Context, p Process, _ *command) error {
	b := currentBuild()
	if f.JSON {
		return p.printJSON(b)
	}
	fmt.Fprintln(p.Stdout, programName, b.Version)
	if b.Commit != "" {
		fmt.Fprintln(p.Stdout, strings.TrimSpace("commit "+b.Commit+" "+b.Date))
	}
	fmt.Fprintln(p.Stdout, b.Go, b.Platform)
	return nil
}
