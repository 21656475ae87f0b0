// Package printable makes text that came from outside fit for a terminal and a
// log: payloads, answers, tags, names of files.
//
// It owns which characters are shown as they are: those that draw something, and
// spaces (unicode.IsGraphic). All others are made visible. A terminal obeys
// control characters, those from U+0080 to U+009F as well; bidirectional marks and
// the line and paragraph separators (U+2028, U+2029) put text elsewhere than it
// is; and with invisible characters, such as zero-width spaces and joiners,
// two names look like one. That an emoji made of several, or a word of a script
// that uses joiners, falls into its parts is the price.
package printable

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Mark is in the place of a character that is not shown.
const Mark = '·'

// Text returns a text in which each character that is not shown is a Mark, the
// end of a line too, and each byte that is not UTF-8 is U+FFFD.
func Text(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return Mark
	}, text)
}

// Lines is Text of each line, for a text that has several.
func Lines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = Text(lines[i])
	}
	return strings.Join(lines, "\n")
}

// JSON returns encoded JSON with each character that is not shown escaped, which
// it can only be within a text: the value stays the same. encoding/json escapes
// only those below U+0020, and U+2028 and U+2029. Control characters of ASCII
// between the tokens are left alone, and bytes that are not UTF-8 are U+FFFD.
func JSON(encoded []byte) []byte {
	isHidden := func(r rune) bool { return r >= 0x7f && !unicode.IsGraphic(r) }
	if utf8.Valid(encoded) && bytes.IndexFunc(encoded, isHidden) < 0 {
		return encoded
	}
	out := make([]byte, 0, len(encoded)+64)
	for _, r := range string(encoded) {
		high, low := utf16.EncodeRune(r)
		switch {
		case !isHidden(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// Cut returns at most max bytes of a text, and how many more there were.
func Cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	end := max
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes more)", text[:end], len(text)-end)
}
