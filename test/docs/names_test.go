package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/cli"
	"bigpanda-udf/stream"
)

// helps is the help of a command, and of all that it has below it.
func helps(t *testing.T, command ...string) string {
	t.Helper()
	text := helpOf(t, command...)
	_, list, _ := strings.Cut(text, "\nCommands:\n")
	for _, found := range regexp.MustCompile(`(?m)^  ([a-z][a-z -]*?)(?:  | <| \[|$)`).FindAllStringSubmatch(list, -1) {
		words := strings.Fields(found[1])
		text += helps(t, append(slices.Clone(command), words[len(words)-1])...)
	}
	return text
}

func helpOf(t *testing.T, command ...string) string {
	t.Helper()
	var out strings.Builder
	code := cli.Run(t.Context(), cli.Process{
		Args: append(command, "--help"), Stdout: &out, Stderr: &out,
		LookupEnv: func(string) (string, bool) { return "", false },
	})
	if code != 0 {
		t.Fatalf("the help of %q: exit code %d, %s", command, code, out.String())
	}
	return out.String()
}

// othersFlags are of other programs.
var othersFlags = []string{
	"--strip-components", "--from", "--from-file", "--file", "--filename", "--detach", "--signal", "--server", "--tlsca", "--nkey", "--force", "--output", "--include", "--now", "--noscripts", "--oldpackage", "--data-binary",
}

// Every flag and variable of the program that a page names is in its help, and every
// test and file of the project is there.
func TestNames(t *testing.T) {
	t.Parallel()
	help := helps(t)
	variables := regexp.MustCompile(`BIGPANDA_[A-Z_]+[A-Z]`).FindAllString(help, -1)
	variables = append(variables, "BIGPANDA_TOKEN", "BIGPANDA_CHROMIUM", // the second is of e2e
		stream.DefaultStream+"_DEAD", stream.DefaultStream+"_LEASE") // and these are none
	flags := append(regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(help, -1), othersFlags...)
	code, files := source(t)
	for _, page := range pages(t) {
		for _, flag := range regexp.MustCompile(`(?:^|[\s\x60(])(--[a-z][a-z-]+)`).FindAllStringSubmatch(page.Text, -1) {
			if !slices.Contains(flags, flag[1]) {
				t.Errorf("%s names the flag %s, which is in no help", page.Path, flag[1])
			}
		}
		for _, found := range regexp.MustCompile(`(\w*)(BIGPANDA_[A-Z_]+[A-Z])`).FindAllStringSubmatch(page.Text, -1) {
			// Kapacitor's own begin with its name.
			if found[1] == "" && !slices.Contains(variables, found[2]) {
				t.Errorf("%s names the variable %s, which is in no help", page.Path, found[2])
			}
		}
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`).FindAllString(page.Text, -1) {
			if !strings.Contains(code, "func "+name) {
				t.Errorf("%s names the test %s, which is not there", page.Path, name)
			}
		}
		for _, found := range regexp.MustCompile("`([\\w.-]+/)?([\\w.*-]+\\.(?:go|tick|service|socket|sh|snippet))`").FindAllStringSubmatch(page.Prose, -1) {
			name := found[1] + found[2]
			there := slices.ContainsFunc(files, func(file string) bool {
				matches, err := filepath.Match(found[2], filepath.Base(file))
				return err == nil && matches && strings.Contains(file, found[1])
			})
			if !there && name != "cpu.tick" {
				t.Errorf("%s names the file %s, which is not there", page.Path, name)
			}
		}
	}
}

// What a page says that the log says, the program says.
func TestLogTexts(t *testing.T) {
	t.Parallel()
	code, _ := source(t)
	n := 0
	for _, page := range pages(t) {
		for _, found := range regexp.MustCompile("the log says `([^`…]+)").FindAllStringSubmatch(page.Prose, -1) {
			n++
			if !strings.Contains(code, found[1]) {
				t.Errorf("%s: no log says %q", page.Path, found[1])
			}
		}
	}
	if n == 0 {
		t.Error("no page says what the log says")
	}
}

// source is the code of all Go files, and the paths of all files.
func source(t *testing.T) (code string, files []string) {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(project, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == ".git" || entry.Name() == "dist" {
				return filepath.SkipDir
			}
			return nil
		}
		files = append(files, path)
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		data, err := os.ReadFile(path)
		b.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), files
}
