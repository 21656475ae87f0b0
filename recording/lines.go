package recording

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxEntry is how long a point may be, in bytes: a quote that is never closed
// must not take all that follows into memory.
const maxEntry = 1 << 20

// lines gives a decoder the lines of a point, which are one, unless a text in it
// goes on in the next: then the decoder reads that. So it never is ahead of the
// point, and the line at hand is known.
type lines struct {
	in    *bufio.Reader
	n     int    // that were read
	first int    // of the point at hand; at the end of the file, the one behind it
	size  int    // of the point at hand
	text  []byte // what was not taken of the line at hand
}

// Read is for the decoder.
func (l *lines) Read(p []byte) (int, error) {
	if len(l.text) == 0 {
		if err := l.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.text)
	l.text = l.text[n:]
	return n, nil
}

// next reads the first line of a point, or what is before one. What was not taken
// of the line before is passed over.
func (l *lines) next() error {
	l.first, l.size = l.n+1, 0
	return l.more()
}

// more reads the next line, to its end also where it does not fit.
func (l *lines) more() error {
	before := l.size
	l.text = l.text[:0]
	for {
		part, err := l.in.ReadSlice('\n')
		if l.size += len(part); l.size <= maxEntry {
			l.text = append(l.text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && l.size > before:
		case err != nil:
			return err
		}
		l.n++
		if l.size > maxEntry {
			return &LineError{l.first, fmt.Errorf("the point is longer than %d bytes: is a quote missing?", maxEntry)}
		}
		return nil
	}
}
