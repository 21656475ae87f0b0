package cli

import (
	"fmt"
	"log/slog"
	"strings"

	"bigpanda-udf/bigpanda"
)

// What is said of a token that is shorter than printable.MinSecret.
const (
	shortToken     = "the token is shorter than 8 characters: what is so short is found in words, so it is not hidden where it is repeated"
	hintShortToken = "put the organisation's whole API token in its place"
)

// newClient makes the client that the settings describe. Every error names the
// setting and says what to do.
func (s settings) newClient() (*bigpanda.Client, error) {
	if s.Token == "" && s.TokenFile == "" {
		why := ""
		if s.usesNATS() {
			why = ", and this posts to BigPanda itself"
		}
		return nil, usagef("no token%s: set BIGPANDA_TOKEN or BIGPANDA_TOKEN_FILE "+
			"(for Kapacitor in [udf.functions.bigpanda.env] of kapacitor.conf), or token-file in [bigpanda] of the --config file", why)
	}
	o := s.Options
	o.Secrets, o.UserAgent = &s.hidden.hidden, programName+"/"+currentBuild().Version
	client, err := bigpanda.NewClient(o)
	if err != nil {
		return nil, usageError{s.nameOrigin(err, clientErrors)}
	}
	return client, nil
}

// warnOfShortToken is for the log.
func warnOfShortToken(client *bigpanda.Client, log *slog.Logger) {
	if client.ShortToken() {
		log.Warn(shortToken + ": " + hintShortToken)
	}
}

// An errorOf says how an error about a setting begins.
type errorOf struct{ words, setting string }

// clientErrors are those of the client's options.
var clientErrors = []errorOf{{"token file", "token-file"}, {"CA file", "ca-file"}, {"use url", "url"}, {"use token", "token"}}

// nameOrigin puts before an error about a setting where that came from, which
// whoever takes the setting cannot know.
func (s settings) nameOrigin(err error, all []errorOf) error {
	for _, about := range all {
		if where := s.Where[about.setting]; where != "" && strings.HasPrefix(strings.TrimPrefix(err.Error(), "read "), about.words) {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	return err
}
