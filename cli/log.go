package cli

import (
	"bytes"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

const (
	formatLogfmt = "logfmt"
	formatJSON   = "json"

	// maxLogValue and maxLogLine are in bytes. Kapacitor stops reading a
	// function's stderr for good at a line over 64 KiB (bufio.MaxScanTokenSize),
	// and the function then blocks on the full pipe. A value may grow sixfold
	// when it is quoted.
	maxLogValue = 2 << 10
	maxLogLine  = 32 << 10
)

// tokenShown stands where the token stood.
const tokenShown = "[token]"

// secrets are the tokens that nothing may show (P9). Safe for concurrent use;
// the zero value holds none.
type secrets struct {
	mu     sync.RWMutex
	tokens []string // longest first, as one may hold another
}

func (s *secrets) add(tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tokens {
		if t = strings.TrimSpace(t); t != "" && !slices.Contains(s.tokens, t) {
			s.tokens = append(s.tokens, t)
		}
	}
	slices.SortStableFunc(s.tokens, func(a, b string) int { return len(b) - len(a) })
}

// blot returns the text with each token blotted out.
func (s *secrets) blot(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.tokens {
		text = strings.ReplaceAll(text, t, tokenShown)
	}
	return text
}

// blotError returns the error with its text blotted out; errors.As and Is see
// the original.
func (s *secrets) blotError(err error) error {
	if err == nil {
		return nil
	}
	return blottedError{s.blot(err.Error()), err}
}

type blottedError struct {
	text string
	err  error
}

func (e blottedError) Error() string { return e.text }
func (e blottedError) Unwrap() error { return e.err }

// newLogger logs to w, one line for each record, and bounds and blots out
// whatever a line may hold.
func newLogger(w io.Writer, level slog.Level, format string, hidden *secrets) *slog.Logger {
	o := &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			// Before quoting, which could hide a token in escapes.
			switch a.Value.Kind() {
			case slog.KindString, slog.KindAny:
				if _, isLevel := a.Value.Any().(slog.Level); !isLevel {
					a.Value = slog.StringValue(cut(hidden.blot(a.Value.String()), maxLogValue))
				}
			}
			return a
		},
	}
	w = &lineWriter{w: w, hidden: hidden}
	if format == formatJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// lineWriter takes one line with each Write, as slog's handlers write. It is
// the last resort: many long values together, or a token in a key.
type lineWriter struct {
	w      io.Writer
	hidden *secrets
}

func (l *lineWriter) Write(line []byte) (int, error) {
	text := cut(l.hidden.blot(string(bytes.TrimRight(line, "\n"))), maxLogLine)
	if _, err := io.WriteString(l.w, text+"\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}
