// Package blocks runs each block of README.md and of docs/, but those that need a real
// Kapacitor or real NATS servers.
package blocks

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/test"
	"bigpanda-udf/test/docs"

	"github.com/BurntSushi/toml"
)

// project is its folder.
var project, _ = filepath.Abs(filepath.Join("..", ".."))

// runElsewhere are the pages of which each block is run by another test.
var runElsewhere = map[string]string{
	"docs/getting-started.md": "e2e/docs_test.go",              // with the real Kapacitor
	"docs/nats.md":            "stream/test/docs_nats_test.go", // with real NATS servers
	"docs/nats-operating.md":  "stream/test/docs_nats_test.go",
}

// Each block of README.md and of docs/ is run: a page is one session on a machine of
// its own, see machine. A block of a language that is not known here fails, unless
// it shows a file of the project.
func TestBlocks(t *testing.T) {
	t.Parallel()
	pages, err := docs.Pages(project)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if file, elsewhere := runElsewhere[page.Path]; elsewhere {
			text, err := os.ReadFile(filepath.Join(project, file))
			if err != nil || !strings.Contains(string(text), filepath.Base(page.Path)) {
				t.Errorf("%s does not run %s (%v)", file, page.Path, err)
			}
			continue
		}
		if len(page.Blocks) == 0 {
			continue
		}
		t.Run(page.Path, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, page.Path)
			for _, block := range page.Blocks {
				switch block.Language {
				case "sh":
					if output, err := m.run(block.Text); err != nil {
						t.Errorf("%s: %v\n%s", block, err, output)
					}
				case "console":
					m.session(block)
				case "toml":
					checkTOML(t, m, block)
				case "js":
					checkScript(t, m, block)
				case "text", "":
					// A picture, of nothing that can be run.
					if !strings.Contains(block.Text, "─") && page.Path != "docs/design.md" {
						t.Errorf("%s: it shows nothing that can be run; an output belongs under its command, in a block of console", block)
					}
				default:
					if !shown(t, block.Text) {
						t.Errorf("%s: it is in no file of the project, and nothing here knows how to run it", block)
					}
				}
			}
		})
	}
}

// session runs the commands of a block, and compares what they print.
func (m *machine) session(block docs.Block) {
	steps, err := block.Steps()
	if err != nil {
		m.t.Error(err)
	}
	for _, step := range steps {
		output, err := m.run(step.Command)
		if !docs.Shows(step.Output, output) {
			m.t.Errorf("%s: %q prints\n%s(%v), and not\n%s", block, step.Command, output, err, step.Output)
		}
	}
}

// checkTOML reads a part of a kapacitor.conf: its functions start with their flags
// and environment, as Kapacitor starts them.
func checkTOML(t *testing.T, m *machine, block docs.Block) {
	var file struct {
		UDF struct {
			Functions map[string]struct {
				Prog, Socket, Timeout string
				Args                  []string
				Env                   map[string]string
			}
		}
		BigPanda map[string]any
	}
	meta, err := toml.Decode(block.Text, &file)
	if err != nil {
		t.Errorf("%s: %v", block, err)
		return
	}
	for _, key := range meta.Undecoded() {
		if key[0] == "udf" {
			t.Errorf("%s: a function has no key %s", block, key)
		}
	}
	for name, f := range file.UDF.Functions {
		if (f.Prog == "") == (f.Socket == "") || f.Timeout == "" {
			t.Errorf("%s: the function %s has not one of prog and socket, and a timeout", block, name)
		}
		flags := make(map[string]string)
		for i := 0; i < len(f.Args); i++ {
			flag, value, has := strings.Cut(strings.TrimPrefix(f.Args[i], "--"), "=")
			if !has && i+1 < len(f.Args) {
				i++
				value = f.Args[i]
			}
			flags[flag] = value
			if !slices.Contains(config.Names(), flag) {
				t.Errorf("%s: there is no flag --%s", block, flag)
			}
		}
		for variable := range f.Env {
			if !slices.Contains(config.Variables(), variable) {
				t.Errorf("%s: there is no variable %s", block, variable)
			}
		}
		if _, err := config.Resolve(flags, func(name string) (string, bool) { v, ok := f.Env[name]; return v, ok }); err != nil {
			t.Errorf("%s: the settings of %s are wrong: %v", block, name, err)
		}
	}
	if file.BigPanda != nil {
		path := m.file("bigpanda.conf", block.Text)
		if _, err := config.Resolve(map[string]string{"config": path}, func(string) (string, bool) { return "", false }); err != nil {
			t.Errorf("%s: %v", block, err)
		}
	}
}

// checkScript hands a TICKscript to replay, which reads its options and groups. That
// Kapacitor takes it is a test of e2e.
func checkScript(t *testing.T, m *machine, block docs.Block) {
	m.file("shown.tick", block.Text)
	function := "bigpanda"
	if strings.Contains(block.Text, "@bigpandaBatch") {
		function = "bigpandaBatch"
	}
	if output, err := m.run("bigpanda-udf replay points.lp --app-key k --tick shown.tick --function " + function); err != nil {
		t.Errorf("%s: %v\n%s", block, err, output)
	}
}

// shown tells whether some file that users copy from has the text, perhaps as a
// comment.
func shown(t *testing.T, text string) bool {
	bare := func(text string) string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			b.WriteString(strings.TrimSpace(strings.TrimLeft(line, "# ")) + "\n")
		}
		return b.String()
	}
	found := false
	for _, folder := range []string{"examples", "packaging", "monitoring", "topic"} {
		err := filepath.WalkDir(filepath.Join(project, folder), func(path string, entry os.DirEntry, err error) error {
			if os.IsNotExist(err) || err == nil && !entry.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(path)
			found = found || strings.Contains(bare(string(data)), bare(text))
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	return found
}

// run runs a text of shell commands, and returns what they print on both streams.
// The first one that fails is the last.
func (m *machine) run(text string) (output string, err error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), test.Patient)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", m.rewrite(text))
	cmd.WaitDelay = time.Second // what it started may have its output
	cmd.Dir, cmd.Env = m.work, m.env
	data, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("run %q: %w", text, err)
	}
	return m.shown(string(data)), err
}
