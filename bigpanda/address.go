package bigpanda

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
)

// PublicURL returns the address of an endpoint as it may be shown: without user
// name, password, query and fragment, in which secrets are (reference/alerts has
// a token in the query). An ellipsis stands for what is left out.
func PublicURL(address string) string {
	address = strings.TrimSpace(address)
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "(not an address)"
	}
	shown := u.Scheme + "://"
	if u.User != nil {
		shown += "…@"
	}
	shown += u.Host
	if hasAccessToken(u.EscapedPath()) {
		return shown + "/…"
	}
	shown += u.EscapedPath()
	if strings.ContainsAny(address, "?#") {
		shown += "?…"
	}
	return shown
}

// AddressSecrets returns what nothing may show of an address, of an endpoint or
// of a proxy: user name and password, as they stand and as a proxy is told them,
// and the query, as a whole and value by value. An app key in the query is none:
// it stands in every alert.
func AddressSecrets(address string) (secrets []string) {
	if !strings.Contains(address, "://") {
		address = "http://" + address // as it is taken of a proxy
	}
	_, rest, _ := strings.Cut(address, "://")
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	if _, err := url.Parse(address); err != nil {
		authority = rest // the password may hold any character
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		login := unescaped(user) + ":" + unescaped(password)
		secrets = append(secrets, authority[:at], password, unescaped(password),
			base64.StdEncoding.EncodeToString([]byte(login)))
	}
	_, query, _ := strings.Cut(strings.ReplaceAll(rest, "#", "?"), "?")
	secrets = append(secrets, query)
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return strings.ContainsRune("?&;", r) }) {
		name, value, isPair := strings.Cut(part, "=")
		switch {
		case !isPair:
			secrets = append(secrets, name, unescaped(name))
		case name != "app_key":
			secrets = append(secrets, value, unescaped(value))
		}
	}
	return secrets
}

var percentEncoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescaped decodes what is percent-encoded, and leaves the rest as it is.
func unescaped(text string) string {
	return percentEncoded.ReplaceAllStringFunc(text, func(code string) string {
		decoded, _ := url.PathUnescape(code) // it is one
		return decoded
	})
}

// hasAccessToken reports whether a part of a URL names the parameter that holds a
// token (reference/oim-alerts), in any case of letters, and however often it is
// encoded.
func hasAccessToken(part string) bool {
	decoded := unescaped(part) // shorter, or the same
	return strings.Contains(strings.ToLower(part), "access_token") || decoded != part && hasAccessToken(decoded)
}
