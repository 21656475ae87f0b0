package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/printable"
	"bigpanda-udf/udf"

	"github.com/dustin/go-humanize"
)

// A field turns a setting's text into its value, and the value into what people
// read. The error of set is what to write.
type field struct {
	kind kind // of the value in a file
	set  func(s *Settings, text string) error
	show func(s *Settings) string
	// words are all that may be written, where that is a list.
	words []string
}

func fieldOf[T any](k kind, at func(*Settings) *T, parse func(string) (T, error), show func(T) string) field {
	return field{
		kind: k,
		set: func(s *Settings, text string) error {
			v, err := parse(text)
			if err == nil {
				*at(s) = v
			}
			return err
		},
		show: func(s *Settings) string { return show(*at(s)) },
	}
}

func same(text string) string { return text }

func text(at func(*Settings) *string) field { return textShown(at, same) }

func address(at func(*Settings) *string) field { return textShown(at, bigpanda.PublicURL) }

func textShown(at func(*Settings) *string, show func(string) string) field {
	return fieldOf(textKey, at, func(text string) (string, error) { return text, nil }, show)
}

func yesNo(at func(*Settings) *bool) field {
	return fieldOf(boolKey, at, func(text string) (bool, error) {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return false, errors.New("write true or false")
		}
		return v, nil
	}, strconv.FormatBool)
}

// among gives a field the list of what may be written.
func (f field) among(words ...string) field {
	f.words = words
	return f
}

func oneOf(at func(*Settings) *string, words ...string) field {
	return fieldOf(textKey, at, func(text string) (string, error) {
		if !slices.Contains(words, text) {
			return "", fmt.Errorf("write %s", strings.Join(words, " or "))
		}
		return text, nil
	}, same).among(words...)
}

// fromOne is a whole number, up to most if that is not 0.
func fromOne(at func(*Settings) *int, most int) field {
	hint := "write a whole number from 1"
	if most > 0 {
		hint += fmt.Sprintf(" to %d", most)
	}
	return fieldOf(wholeKey, at, func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || most > 0 && n > most {
			return 0, errors.New(hint)
		}
		return n, nil
	}, strconv.Itoa)
}

func lasting(at func(*Settings) *time.Duration, least time.Duration) field {
	return fieldOf(durationKey, at, func(text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, errors.New("write a number with its unit, such as 10s or 500ms")
		}
		if d < least {
			return 0, fmt.Errorf("write %s or more", least)
		}
		return d, nil
	}, time.Duration.String)
}

func atLeastBytes(at func(*Settings) *int64, least uint64) field {
	return fieldOf(textKey, at, func(text string) (int64, error) {
		n, err := humanize.ParseBytes(text)
		if err != nil || n < least || n > math.MaxInt64 {
			return 0, fmt.Errorf("write a size of %s or more, such as 500MB or 4GiB", humanize.IBytes(least))
		}
		return int64(n), nil
	}, func(n int64) string { return humanize.IBytes(uint64(n)) })
}

func perSecond(at func(*Settings) *float64) field {
	return fieldOf(numberKey, at, func(text string) (float64, error) {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || rate < 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
			return 0, errors.New("write requests a second, such as 5 or 0.5, or 0 for no limit")
		}
		return rate, nil
	}, func(rate float64) string { return strconv.FormatFloat(rate, 'g', -1, 64) })
}

var logLevel = fieldOf(textKey, func(s *Settings) *slog.Level { return &s.LogLevel }, func(text string) (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(text, level.String()) {
			return level, nil
		}
	}
	return 0, errors.New("write debug, info, warn or error")
}, func(level slog.Level) string { return strings.ToLower(level.String()) }).among("debug", "info", "warn", "error")

// attributes takes "none" too, as an environment variable cannot be empty and set.
func attributes(at func(*Settings) *string) field {
	return fieldOf(textKey, at, func(text string) (string, error) {
		if strings.EqualFold(text, "none") {
			return "", nil
		}
		if _, _, err := udf.ParseAutoAttributes(text); err != nil {
			return "", errors.New("write tags, fields, tags,fields or none")
		}
		return text, nil
	}, same).among("tags", "fields", "tags,fields", "none")
}

// Shown is a bad value or an argument as it is repeated: bounded, and without the
// parts of a URL that may be a secret.
func Shown(text string) string {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = "…" + rest[at:]
		}
		if query := strings.IndexAny(rest, "?#"); query >= 0 {
			rest = rest[:query] + "?…"
		}
		text = scheme + "://" + rest
	}
	return printable.Cut(text, 200)
}
