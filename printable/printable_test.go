package printable

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"what draws something", "Größe 93 % 日本 😀 ⚠️ é →", "Größe 93 % 日本 😀 ⚠️ é →"},
		{"spaces", "a b\u00a0c\u3000d", "a b\u00a0c\u3000d"},
		{"control characters", "a\x1b[2Jb\rc\td\x00e\x7ff", "a·[2Jb·c·d·e·f"},
		{"an end of a line", "a\nb", "a·b"},
		{"control characters of eight bits", "a\u009b2Jb\u0085c\u0080d\u009fe", "a·2Jb·c·d·e"},
		{"such as bytes", "a\x9b2Jb", "a\uFFFD2Jb"},
		{"bidirectional marks", "a\u202eb\u2066c\u200fd\u061ce", "a·b·c·d·e"},
		{"separators", "a\u2028b\u2029c", "a·b·c"},
		{"zero width", "a\u200bb\u200dc\ufeffd\u00ade\u2060f", "a·b·c·d·e·f"},
		{"tags", "a\U000e0041b", "a·b"},
		{"private use", "a\ue000b\U00100000c", "a·b·c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Text(tt.text); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if got := Lines(tt.text); Text(got) != tt.want || strings.Count(got, "\n") != strings.Count(tt.text, "\n") {
				t.Errorf("as lines %q", got)
			}
		})
	}
}

// No character of Unicode that encoding/json leaves as it is reaches a terminal
// unless it is drawn, and the value is that of before.
func TestJSON(t *testing.T) {
	t.Parallel()
	for first := rune(0); first <= unicode.MaxRune; first += 0x400 {
		if first >= 0x3400 && first < 0xa000 || first >= 0x20000 && first < 0xe0000 || first >= 0xf0000 {
			continue // ideographs, nothing and private use, over and over
		}
		var text strings.Builder
		for r := first; r < first+0x400; r++ {
			text.WriteRune(r)
		}
		encoded, err := json.Marshal(map[string]string{text.String(): text.String()})
		if err != nil {
			t.Fatal(err)
		}
		got := JSON(encoded)
		for _, r := range string(got) {
			if !unicode.IsGraphic(r) {
				t.Errorf("U+%04X is shown", r)
			}
		}
		var back map[string]string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		if want := text.String(); back[want] != want {
			t.Errorf("the texts from U+%04X are others", first)
		}
	}
	for _, tt := range []struct{ name, encoded, want string }{
		{"tokens between", "{\n\t\"a\": 1\n}\n", "{\n\t\"a\": 1\n}\n"},
		{"no UTF-8", "{\"a\":\"b\x9bc\u009bd\"}", "{\"a\":\"b\uFFFDc\\u009bd\"}"},
		{"a character of two units", "\"\U000e0041\"", `"\udb40\udc41"`},
	} {
		if got := string(JSON([]byte(tt.encoded))); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func ExampleText() {
	fmt.Println(Text("up\x1b[2J"))
	// Output: up·[2J
}

// A file that was taken for one of a secret may be large: of what is shorter nothing
// is looked for in it, which would take minutes.
func TestLargeSecret(t *testing.T) {
	t.Parallel()
	var s Secrets
	s.Add("[token]", strings.Repeat("large ", 1<<18), "secret/secret")
	if got := s.RedactEchoes("a secret%2fsecret", false); got != "a [token]" {
		t.Errorf("%q", got)
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		text string
		max  int
		want string
	}{
		{"", 0, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc… (1 bytes more)"}, {"aéb", 2, "a… (3 bytes more)"},
	} {
		if got := Cut(tt.text, tt.max); got != tt.want {
			t.Errorf("%q cut at %d is %q, want %q", tt.text, tt.max, got, tt.want)
		}
	}
}
