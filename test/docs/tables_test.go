package docs

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bigpanda-udf/config"
	"bigpanda-udf/udf"
)

var update = flag.Bool("update", false, "write the tables that are made of the code")

// What a page holds between these two lines is made of the code.
const (
	tableBegins = "<!-- Made of the code: go test ./test/docs -update -->\n"
	tableEnds   = "<!-- The end of that. -->\n"
)

// The tables of options and settings are those of the code.
func TestTables(t *testing.T) {
	t.Parallel()
	for page, table := range map[string]string{"options.md": optionsTable(), "settings.md": settingsTable()} {
		path := filepath.Join("..", "..", "docs", page)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, begins := strings.Cut(string(text), tableBegins)
		_, after, ends := strings.Cut(rest, tableEnds)
		if !begins || !ends {
			t.Errorf("docs/%s has no table between %q and %q", page, tableBegins, tableEnds)
			continue
		}
		want := before + tableBegins + "\n" + table + "\n" + tableEnds + after
		if want == string(text) {
			continue
		}
		if !*update {
			t.Errorf("the table of docs/%s is not that of the code: go test ./test/docs -update", page)
			continue
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func optionsTable() string {
	var b strings.Builder
	b.WriteString("| option | what it says | default |\n| --- | --- | --- |\n")
	for _, o := range udf.OptionsHelp {
		row(&b, code(o.Usage()), o.Text, o.Default)
	}
	return b.String()
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| flag | environment | key in `[bigpanda]` | default | what it does |\n| --- | --- | --- | --- | --- |\n")
	row(&b, "(never a flag)", code(config.Variable("token")), code("token"), "", "The token of the BigPanda organisation.")
	for _, s := range config.Table {
		key := ""
		if s.InFile {
			key = code(s.Name)
		}
		flag := strings.TrimSpace("--" + s.Name + " " + s.Placeholder)
		row(&b, code(flag), code(config.Variable(s.Name)), key, code(s.FlagHelp("${default}")), strings.ReplaceAll(s.Help, " (${default})", ""))
	}
	return b.String()
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// row writes a row of a table.
func row(b *strings.Builder, cells ...string) {
	for _, cell := range cells {
		b.WriteString("| ")
		if cell != "" {
			b.WriteString(cell + " ")
		}
	}
	b.WriteString("|\n")
}
