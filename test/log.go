package test

import (
	"bytes"
	"sync"
)

// A LogBuffer is a buffer that may be written while a test reads it.
type LogBuffer struct {
	mu   sync.Mutex // guards what follows
	b    bytes.Buffer
	more chan struct{} // closed at the next Write, where somebody waits for one
}

// Write appends to the buffer.
func (l *LogBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return l.b.Write(p)
}

// has reports whether a text was written, and returns what is closed when more is.
func (l *LogBuffer) has(text string) (written bool, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return bytes.Contains(l.b.Bytes(), []byte(text)), l.more
}

// String returns what was written.
func (l *LogBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
