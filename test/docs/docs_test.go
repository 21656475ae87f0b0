package docs

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	page, err := parse("p.md", "a\n\n  ```console\n  $ one \\\n  > more\n  out\n  $ two\n  ```\nb\n")
	if err != nil || len(page.Blocks) != 1 || page.Prose != "a\n\nb\n" {
		t.Fatalf("%+v (%v)", page, err)
	}
	steps, err := page.Blocks[0].Steps()
	if want := []Step{{"one \\\nmore\n", "out\n"}, {"two\n", ""}}; err != nil || !slices.Equal(steps, want) {
		t.Errorf("the steps are %q (%v), want %q", steps, err, want)
	}
	if _, err := parse("p.md", "```sh\nx\n"); err == nil {
		t.Error("a block without an end is taken")
	}
}

func TestShows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want, got string
		shows           bool
	}{
		{"equal", "a  b\nc\n", "a  b\nc\n", true},
		{"spaces at the end", "a\n", "a   \n", true},
		{"another line", "a\n", "b\n", false},
		{"one more line", "a\n", "a\nb\n", false},
		{"any text", "a … c\n", "a b. c\n", true},
		{"any lines", "a\n…\nd\n", "a\nb\nc\nd\n", true},
		{"no lines", "a\n…\n", "a\n", true},
		{"nothing", "", "", true},
		{"what is special", "a.*(\n", "a.*(\n", true},
	} {
		if got := Shows(tt.want, tt.got); got != tt.shows {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
