package cli

import (
	"bytes"
	"io"
	"log/slog"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/config"
	"bigpanda-udf/printable"
	"bigpanda-udf/regularfile"
)

const (
	// maxLogValue and maxLogLine are in bytes. Kapacitor stops reading a
	// function's stderr for good at a line over 64 KiB (bufio.MaxScanTokenSize),
	// and the function then blocks on the full pipe. A value may grow sixfold
	// when it is quoted.
	maxLogValue = 2 << 10
	maxLogLine  = 32 << 10
)

// tokenShown stands where the token stood, secretShown where what is secret in an
// address did: the query of the URL, a proxy's password.
const (
	tokenShown  = "[token]"
	secretShown = "[secret]"
)

// secrets are the tokens, and the secrets of addresses, that nothing may show
// (P9).
type secrets struct{ hidden printable.Secrets }

func (s *secrets) add(tokens ...string) { s.hidden.Add(tokenShown, tokens...) }

// addAddresses adds what is secret in the addresses of endpoints and proxies.
func (s *secrets) addAddresses(addresses ...string) {
	for _, address := range addresses {
		s.hidden.Add(secretShown, bigpanda.AddressSecrets(address)...)
	}
}

// addSettings adds what is secret in the settings and in the files that they name: a
// payload or an answer in the outbox may repeat it. A file that cannot be read hides
// nothing.
func (s *secrets) addSettings(of config.Settings) {
	s.add(of.Secrets...)
	s.addAddresses(of.Addresses...)
	for _, row := range config.Table {
		if !row.Secret {
			continue
		}
		if data, err := regularfile.Read(row.Show(of), regularfile.MaxText); err == nil {
			s.add(string(data))
		}
	}
}

// redact returns the text without the secrets.
func (s *secrets) redact(text string) string { return s.hidden.Redact(text) }

// cell is a text for a table, without the secrets: a property may hold what the token is.
func (s *secrets) cell(text string) string { return cell(s.redact(text)) }

// redactError returns the error with its text redacted; errors.As and Is see the
// original.
func (s *secrets) redactError(err error) error {
	if err == nil {
		return nil
	}
	return redactedError{s.redact(err.Error()), err}
}

type redactedError struct {
	text string
	err  error
}

func (e redactedError) Error() string { return e.text }
func (e redactedError) Unwrap() error { return e.err }

// newLogger logs to w, one line for each record, and bounds and redacts
// whatever a line may hold.
func newLogger(w io.Writer, level slog.Level, format string, hidden *secrets) *slog.Logger {
	o := &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			// Before quoting, which could hide a token in escapes.
			switch a.Value.Kind() {
			case slog.KindString, slog.KindAny:
				if _, isLevel := a.Value.Any().(slog.Level); !isLevel {
					a.Value = slog.StringValue(printable.Cut(hidden.redact(a.Value.String()), maxLogValue))
				}
			}
			return a
		},
	}
	if format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(&lineWriter{w, hidden}, o))
	}
	return slog.New(slog.NewTextHandler(&lineWriter{w, hidden}, o))
}

// lineWriter takes one line with each Write, as slog's handlers write. It is
// the last resort: many long values together, or a token in a key.
type lineWriter struct {
	w      io.Writer
	hidden *secrets
}

func (l *lineWriter) Write(line []byte) (int, error) {
	// slog escapes in JSON what encoding/json does: C1 and bidirectional marks are left
	// as they are. In logfmt it quotes a text with anything in it that is not drawn.
	text := printable.Cut(l.hidden.redact(string(printable.JSON(bytes.TrimRight(line, "\n")))), maxLogLine)
	if _, err := io.WriteString(l.w, text+"\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}
