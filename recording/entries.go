package recording

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxEntry is how long a point may be, in bytes: a quote that is never closed
// must not take all that follows into memory.
const maxEntry = 1 << 20

// entries splits line protocol into points, which are lines, unless a text in
// one of them goes on in the next.
type entries struct {
	in    *bufio.Reader
	lines int // that were read
	long  int // how much of the line at hand does not fit
}

func newEntries(in io.Reader) entries { return entries{in: bufio.NewReader(in)} }

// line returns the next line without its end, and its number. At the end of the
// file the number is that of the line behind it.
func (e *entries) line() (text []byte, number int, err error) {
	number = e.lines + 1
	for {
		part, err := e.in.ReadSlice('\n')
		if room := maxEntry - len(text); len(part) > room {
			e.long += len(part) - room
			part = part[:room]
		}
		text = append(text, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(text) > 0:
		case err != nil:
			return nil, number, err
		}
		e.lines++
		return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")), number, nil
	}
}

// next returns the next point's text and the number of its first line.
func (e *entries) next() (entry []byte, number int, err error) {
	entry, number, err = e.line()
	if err != nil {
		return nil, number, err
	}
	var q quotes
	for part := entry; e.long == 0 && q.open(part); {
		part, _, err = e.line()
		if errors.Is(err, io.EOF) {
			return entry, number, nil // the decoder says what is missing
		}
		if err != nil {
			return nil, number, err
		}
		if len(entry)+len(part) > maxEntry {
			e.long = len(part)
			break
		}
		entry = append(append(entry, '\n'), part...)
	}
	if e.long > 0 {
		e.long = 0
		return nil, number, &LineError{number, fmt.Errorf("the point is longer than %d bytes: is a quote missing?", maxEntry)}
	}
	return entry, number, nil
}

// quotes finds out whether a point's text goes on behind a line: a quote opens
// one only as the first character of a field's value.
type quotes struct {
	fields, value, quoted bool
}

// open reads on through a line, and reports whether a text is open at its end.
func (q *quotes) open(line []byte) bool {
	if !q.fields && isBlank(line) {
		return false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		first := q.value
		q.value = false
		switch {
		case c == '\\':
			i++
		case q.quoted:
			q.quoted = c != '"'
		case !q.fields:
			q.fields = c == ' '
		case c == '=':
			q.value = true
		case c == '"':
			q.quoted = first
		}
	}
	return q.quoted
}
