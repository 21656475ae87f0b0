package sandbox

import (
	"bytes"
	"encoding/json"
	"slices"
)

// field is one property of a JSON object. Both slices point into the body.
type field struct {
	name  []byte // unescaped
	value []byte // JSON, without white space around it
}

// scanner cuts a JSON text into pieces without decoding them. The text must
// have passed json.Valid: scanner looks for ends, not for mistakes. That way
// a request of thousands of alerts costs one pass, and no maps.
type scanner struct {
	data []byte
	at   int
}

// space skips white space and returns the byte after it, 0 at the end.
func (s *scanner) space() byte {
	for ; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
		default:
			return s.data[s.at]
		}
	}
	return 0
}

// value returns the next value and stands after it.
func (s *scanner) value() []byte {
	c := s.space()
	start := s.at
	switch c {
	case '"':
		s.skipString()
	case '{', '[':
		depth := 0
		for s.at < len(s.data) {
			switch s.data[s.at] {
			case '"':
				s.skipString()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			s.at++
			if depth == 0 {
				break
			}
		}
	default:
		for ; s.at < len(s.data); s.at++ {
			switch s.data[s.at] {
			case ',', ']', '}', ' ', '\t', '\r', '\n':
				return s.data[start:s.at]
			}
		}
	}
	return s.data[start:s.at]
}

// skipString steps over a string: to the first quote that an even number of
// backslashes stands before.
func (s *scanner) skipString() {
	s.at++
	for {
		s.at += bytes.IndexByte(s.data[s.at:], '"') + 1
		slashes := 0
		for s.data[s.at-2-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return
		}
	}
}

// next steps over the opening bracket or a comma, and reports whether an
// element follows.
func (s *scanner) next() bool {
	switch s.space() {
	case '{', '[', ',':
		s.at++
		c := s.space()
		return c != '}' && c != ']'
	}
	return false
}

// objectFields appends the properties of a JSON object to fields, sorted by
// name; equal names stay neighbours.
func objectFields(object []byte, fields []field) []field {
	s := scanner{data: object}
	first := len(fields)
	for s.next() {
		name := s.value()
		s.space()
		s.at++ // the colon
		fields = append(fields, field{unquote(name), s.value()})
	}
	slices.SortFunc(fields[first:], func(a, b field) int { return bytes.Compare(a.name, b.name) })
	return fields
}

// arrayItems returns an iterator over the items of a JSON array.
func arrayItems(array []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		s := scanner{data: array}
		for s.next() {
			if !yield(s.value()) {
				return
			}
		}
	}
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		panic("sandbox: a string that json.Valid took: " + err.Error())
	}
	return []byte(text)
}

// appendQuoted appends text as a JSON string in the one form that canonical
// payloads use: only what must be escaped is.
func appendQuoted(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendValue appends a value that holds no object in canonical form: strings
// in one spelling, no white space, numbers as they were written.
func appendValue(dst, value []byte) []byte {
	switch value[0] {
	case '"':
		if bytes.IndexByte(value, '\\') < 0 {
			return append(dst, value...)
		}
		return appendQuoted(dst, unquote(value))
	case '[':
		dst = append(dst, '[')
		first := true
		for item := range arrayItems(value) {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendValue(dst, item)
		}
		return append(dst, ']')
	}
	return append(dst, value...)
}

// appendObject appends an object in canonical form; fields are sorted.
func appendObject(dst []byte, fields []field) []byte {
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, f.name)
		dst = append(dst, ':')
		dst = appendValue(dst, f.value)
	}
	return append(dst, '}')
}
