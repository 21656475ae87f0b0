package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"bigpanda-udf/config"
)

// Kapacitor never reads another line of stderr after one over 64 KiB.
const kapacitorLine = 64 << 10

func TestLogLinesAreBounded(t *testing.T) {
	t.Parallel()
	for _, format := range []string{config.FormatLogfmt, config.FormatJSON} {
		for _, tt := range []struct {
			name string
			args []any
		}{
			{"a long text", []any{"text", strings.Repeat("x", 1<<20)}},
			{"a text that grows when it is quoted", []any{"text", strings.Repeat("\x01", 1<<20)}},
			{"a long error", []any{"error", errors.New(strings.Repeat("é", 1<<20))}},
			{"many long texts", manyTexts()},
			{"a group", []any{slog.Group("g", "text", strings.Repeat("x", 1<<20))}},
			{"a line break", []any{"text", "two\nlines"}},
		} {
			t.Run(format+" "+tt.name, func(t *testing.T) {
				var out bytes.Buffer
				newLogger(&out, slog.LevelInfo, format, new(secrets)).Info("m", tt.args...)
				if n := strings.Count(out.String(), "\n"); n != 1 || !strings.HasSuffix(out.String(), "\n") {
					t.Errorf("%d lines, want 1", n)
				}
				if out.Len() > kapacitorLine/2+100 {
					t.Errorf("the line is of %d bytes", out.Len())
				}
				if !utf8.Valid(out.Bytes()) {
					t.Error("it is cut within a character")
				}
			})
		}
	}
}

func manyTexts() []any {
	var args []any
	for i := range 200 {
		args = append(args, fmt.Sprint("k", i), strings.Repeat("x", 1<<12))
	}
	return args
}

func TestLongLogLineStaysJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	newLogger(&out, slog.LevelInfo, config.FormatJSON, new(secrets)).Info(strings.Repeat("m", 1<<20), "text", strings.Repeat("\"", 1<<20))
	if !json.Valid(out.Bytes()) {
		t.Errorf("%d bytes that are not JSON", out.Len())
	}
}

// P9: no part of a log line shows a token, however it got there.
func TestLogHidesTokens(t *testing.T) {
	t.Parallel()
	for _, token := range []string{testToken, `to"ken=4711`, "4711 spaced"} {
		hidden := new(secrets)
		hidden.add(token)
		for _, format := range []string{config.FormatLogfmt, config.FormatJSON} {
			var out bytes.Buffer
			log := newLogger(&out, slog.LevelDebug, format, hidden)
			log.With("with", token).WithGroup("g").Error("message "+token,
				"text", "Bearer "+token,
				"error", fmt.Errorf("wrapped: %w", errors.New(token)),
				"any", []string{token},
				"struct", struct{ Token string }{token},
				slog.Group("inner", "text", token))
			escaped, _ := json.Marshal(token)
			if strings.Contains(out.String(), token) || strings.Contains(out.String(), strings.Trim(string(escaped), `"`)) {
				t.Errorf("%s of %q:\n%s", format, token, out.String())
			}
			if strings.Count(out.String(), tokenShown) < 6 {
				t.Errorf("something else is missing in %s", out.String())
			}
		}
	}
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := newLogger(&out, slog.LevelWarn, config.FormatLogfmt, new(secrets))
	log.Info("quiet")
	log.Warn("loud", "n", 1)
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "level=WARN msg=loud n=1\n") {
		t.Errorf("the log is %q", got)
	}
}

// P9: what is in a file of a secret is hidden, and the file's name is not.
func TestFilesOfSecretsAreHidden(t *testing.T) {
	t.Parallel()
	for _, row := range config.Table {
		if !row.Secret {
			continue
		}
		holds := "what " + row.Name + " holds\nin two lines"
		file := write(t, row.Name, holds+"\n")
		s, err := config.Resolve(map[string]string{row.Name: file}, environment(nil))
		if err != nil {
			t.Fatal(err)
		}
		hidden := new(secrets)
		hidden.addSettings(s)
		if got, want := hidden.redact(holds+" "+file), tokenShown+" "+file; got != want {
			t.Errorf("%s: %q, want %q", row.Name, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	hidden := new(secrets)
	hidden.add("", "any", " abcdefgh\n", "abcdefgh-ijk", "abcdefgh")
	hidden.addAddresses("https://h/?lmnopqrs=tuvwxyz0", "", "http://company.example/?a=any")
	if got, want := hidden.redact("abcdefgh abcdefgh-ijk abcdefg any company tuvwxyz0 ?lmnopqrs=tuvwxyz0"), "[token] [token] abcdefg any company [secret] ?[secret]"; got != want {
		t.Errorf("redacted to %q, want %q", got, want)
	}
	err := usageError{errors.New("abcdefgh is bad")}
	redacted := hidden.redactError(err)
	if redacted.Error() != "[token] is bad" || !errors.As(redacted, new(usageError)) {
		t.Errorf("the error is redacted to %#v", redacted)
	}
	if hidden.redactError(nil) != nil {
		t.Error("no error becomes one")
	}
}
