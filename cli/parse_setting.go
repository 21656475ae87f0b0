package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// What follows turns a setting's text into its value. Each error is the mend.

func into(field func(*settings) *string) func(*settings, string) error {
	return func(s *settings, text string) error {
		*field(s) = text
		return nil
	}
}

func yesNo(field func(*settings) *bool) func(*settings, string) error {
	return func(s *settings, text string) error {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("write true or false")
		}
		*field(s) = v
		return nil
	}
}

func oneOf(field func(*settings) *string, words ...string) func(*settings, string) error {
	return func(s *settings, text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("write %s", strings.Join(words, " or "))
		}
		*field(s) = text
		return nil
	}
}

func atLeastOne(field func(*settings) *int) func(*settings, string) error {
	return func(s *settings, text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return errors.New("write a whole number from 1")
		}
		*field(s) = n
		return nil
	}
}

func lasting(field func(*settings) *time.Duration, least time.Duration) func(*settings, string) error {
	return func(s *settings, text string) error {
		d, err := time.ParseDuration(text)
		switch {
		case err != nil:
			return errors.New("write a number with its unit, such as 10s or 500ms")
		case d < least && least == 0:
			return errors.New("write 0s or more")
		case d < least:
			return fmt.Errorf("write %s or more", least)
		}
		*field(s) = d
		return nil
	}
}

func atLeastBytes(field func(*settings) *int64, least uint64) func(*settings, string) error {
	return func(s *settings, text string) error {
		n, err := humanize.ParseBytes(text)
		if err != nil || n < least || n > math.MaxInt64 {
			return fmt.Errorf("write a size of %s or more, such as 500MB or 4GiB", humanize.IBytes(least))
		}
		*field(s) = int64(n)
		return nil
	}
}

func parseRate(text string) (float64, error) {
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || rate < 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
		return 0, errors.New("write requests a second, such as 5 or 0.5, or 0 for no limit")
	}
	return rate, nil
}

func parseLogLevel(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return slog.LevelInfo, errors.New("write debug, info, warn or error")
}

// parseAutoAttributes takes "none" too, as an environment variable cannot be
// empty and set.
func parseAutoAttributes(text string) (string, error) {
	if strings.EqualFold(text, "none") {
		return "", nil
	}
	for word := range strings.SplitSeq(text, ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "tags", "fields", "":
		default:
			return defaultAutoAttributes, errors.New("write tags, fields, tags,fields or none")
		}
	}
	return text, nil
}

// shown is a bad value or an argument as it is repeated: bounded, and without the
// parts of a URL that may be a secret.
func shown(text string) string {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = "…" + rest[at:]
		}
		if query := strings.IndexAny(rest, "?#"); query >= 0 {
			rest = rest[:query] + "?…"
		}
		text = scheme + "://" + rest
	}
	return cut(text, 200)
}

// shownAll are arguments as they are repeated.
func shownAll(args []string) []string {
	all := make([]string, len(args))
	for i, arg := range args {
		all[i] = shown(arg)
	}
	return all
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
