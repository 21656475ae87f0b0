package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/cli"

	"github.com/alecthomas/kong"
)

// Every command has a page with each of its flags and their variables, and nothing
// that mandoc, where there is one, warns of.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeManPages("1.2.3", "2026-11-28", dir); err != nil {
		t.Fatal(err)
	}
	model, err := cli.Model()
	if err != nil {
		t.Fatal(err)
	}
	look := func(page string, flags []*kong.Flag) {
		text, err := os.ReadFile(filepath.Join(dir, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flags {
			parts := helpAndVariable.FindStringSubmatch(f.Help)
			if !strings.Contains(string(text), `\fB`+roff("--"+f.Name)+`\fR`) || parts != nil && !strings.Contains(string(text), ".B "+parts[2]) {
				t.Errorf("%s has no --%s, or not its variable", page, f.Name)
			}
		}
		if mandoc, err := exec.LookPath("mandoc"); err == nil {
			if out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", filepath.Join(dir, page)).CombinedOutput(); err != nil {
				t.Errorf("mandoc: %v\n%s", err, out)
			}
		}
	}
	for _, node := range model.Children {
		page := "bigpanda-udf-" + node.Name + ".1"
		if node.Hidden {
			page = "bigpanda-udf.1"
		}
		look(page, node.Flags)
		for _, below := range node.Children { // they take the flags of both
			look("bigpanda-udf-"+node.Name+"-"+below.Name+".1", append(below.Flags, node.Flags...))
		}
	}
}

// What a help text may hold is shown, and no macro.
func TestManText(t *testing.T) {
	t.Parallel()
	p := page{Path: []string{"p"}, Summary: "It is.", Detail: ".dot\n\n  'example\n\n  C:\\x\n\nend - of it", Flags: []flag{{Name: "f", Placeholder: "X", Help: "'tis \\ .", Group: "G"}}}
	text := manPage(p, p, "1", time.Unix(0, 0))
	for _, want := range []string{"\n\\&.dot\n", ".nf\n  'example\n\n  C:\\ex\n.fi\n", "end \\- of it", "\n\\&'tis \\e .\n", ".SS G\n", "January 1, 1970"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

// completed returns what bash offers for a line whose last word is being typed.
func completed(t *testing.T, script string, words ...string) []string {
	t.Helper()
	const complete = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bigpanda_udf; printf '%s\n' "${COMPREPLY[@]}"`
	out, err := exec.Command("bash", append([]string{"-uc", complete, script}, words...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Fields(string(out))
}

// offeredByFish returns what fish offers for a line, or nil where there is no fish.
func offeredByFish(t *testing.T, dir, line string) (offered []string) {
	t.Helper()
	if _, err := exec.LookPath("fish"); err != nil {
		return nil
	}
	cmd := exec.Command("fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, filepath.Join(dir, "bigpanda-udf.fish"), line)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for candidate := range strings.Lines(string(out)) {
		candidate, _, _ = strings.Cut(strings.TrimSpace(candidate), "\t")
		offered = append(offered, strings.TrimPrefix(candidate, "--log-format="))
	}
	return offered
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeCompletions(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	for line, want := range map[string]string{
		"bigpanda-udf sa":                 "sandbox",
		"bigpanda-udf --token-f":          "--token-file",
		"bigpanda-udf serve --batch-so":   "--batch-socket",
		"bigpanda-udf serve --retry-aft":  "",
		"bigpanda-udf send --token-file ": "", // a file's name
		"bigpanda-udf sandbox --retry-a":  "--retry-after",
	} {
		if got := strings.Join(completed(t, filepath.Join(dir, "bigpanda-udf.bash"), strings.Split(line, " ")...), " "); got != want {
			t.Errorf("%q is completed to %q, want %q", line, got, want)
		}
	}
	// What a setting may be is offered by each shell, with and without "=".
	bash := func(words ...string) []string { return completed(t, filepath.Join(dir, "bigpanda-udf.bash"), words...) }
	for _, offered := range []struct {
		want string
		got  []string
	}{
		{"stream batch", bash("bigpanda-udf", "serve", "--edge", "")},
		{"stream batch", bash("bigpanda-udf", "--edge", "=")},
		{"batch", bash("bigpanda-udf", "--edge", "=", "b")},
		{"tags tags,fields", bash("bigpanda-udf", "replay", "--auto-attributes", "t")},
		{"logfmt json", bash("bigpanda-udf", "check", "--log-format", "")},
		{strings.Join(bigpanda.Statuses, " "), bash("bigpanda-udf", "send", "--status", "")},
		{"ns us ms s m h", bash("bigpanda-udf", "replay", "--precision", "")},
		{"debug info warn error", offeredByFish(t, dir, "bigpanda-udf serve --log-level ")},
		{"json", offeredByFish(t, dir, "bigpanda-udf --log-format=j")},
	} {
		got, want := slices.Sorted(slices.Values(offered.got)), slices.Sorted(slices.Values(strings.Fields(offered.want)))
		if got != nil && !slices.Equal(got, want) {
			t.Errorf("%q are offered, want %q", got, want)
		}
	}
	zsh, err := os.ReadFile(filepath.Join(dir, "_bigpanda-udf"))
	if err != nil || !strings.Contains(string(zsh), ":LEVEL:(debug info warn error)'") {
		t.Errorf("zsh offers no levels (%v)", err)
	}
	for shell, script := range map[string]string{"zsh": "_bigpanda-udf", "fish": "bigpanda-udf.fish"} {
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		if out, err := exec.Command(shell, "-n", filepath.Join(dir, script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// A module whose licence nobody has read ends the release.
func TestLicences(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := addLicences(&out, strings.NewReader(`{"components": [{"name": "std"}, {"name": "go.yaml.in/yaml/v3"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		Components []struct {
			Licenses []struct{ Expression string }
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &sbom); err != nil || len(sbom.Components) != 2 || sbom.Components[1].Licenses[0].Expression != "MIT AND Apache-2.0" {
		t.Errorf("%v: %s", err, out.String())
	}
	err = addLicences(&out, strings.NewReader(`{"components": [{"name": "example.com/new"}]}`))
	if err == nil || !strings.Contains(err.Error(), "licences.txt does not know example.com/new") {
		t.Errorf("the error is %v", err)
	}
}

// What an installed file names as a variable is one of the program's, and the
// documentation has the Dockerfile as it is.
func TestInstalledFiles(t *testing.T) {
	t.Parallel()
	program, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"BIGPANDA_TOKEN": true} // which is no flag
	for _, p := range program.all() {
		for _, f := range p.Flags {
			known[f.Variable] = true
		}
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	variable := regexp.MustCompile(`BIGPANDA_[A-Z_]*[A-Z]`)
	for _, name := range []string{
		"packaging/etc/bigpanda-udf.env", "packaging/systemd/bigpanda-udf.service", "packaging/systemd/bigpanda-udf-metrics.service", "packaging/image/Dockerfile",
		"packaging/systemd/bigpanda-udf-deliver.service", "examples/containers/compose.yaml", "examples/kubernetes/deliver.yaml",
		"examples/nats/compose/compose.yaml", "examples/nats/compose/kapacitor.conf", "docs/containers.md",
	} {
		found := variable.FindAllString(read(name), -1)
		if len(found) == 0 {
			t.Errorf("%s names no variable", name)
		}
		for _, v := range found {
			if !known[v] {
				t.Errorf("%s names %s, which is no variable of the program", name, v)
			}
		}
	}
	if !strings.Contains(read("docs/containers.md"), "```Dockerfile\n"+read("examples/containers/Dockerfile")+"```\n") {
		t.Error("docs/containers.md has another Dockerfile than examples/containers")
	}
}
