package printable

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// MinSecret is how long a secret must be to be searched for in what is shown, in
// bytes: a shorter one is likely a part of words.
const MinSecret = 8

// Secrets are texts that nothing may show: tokens, passwords. Those shorter than
// MinSecret are not searched for. Safe for concurrent use; the zero value holds none.
type Secrets struct {
	mu  sync.RWMutex // guards all
	all []secret     // longest first, as one may hold another
}

type secret struct {
	text, shown string // what stands in its place
	// The text as others may write it. It is made when it is needed: of a file of
	// credentials it takes some tenths of a second.
	echo func() *regexp.Regexp
}

// Add adds secrets, without the blanks around them; shown is what stands in their
// place.
func (s *Secrets) Add(shown string, texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		text = strings.TrimSpace(text)
		known := func(other secret) bool { return other.text == text }
		if len(text) >= MinSecret && !slices.ContainsFunc(s.all, known) {
			s.all = append(s.all, secret{text, shown, sync.OnceValue(func() *regexp.Regexp { return echoOf(text) })})
		}
	}
	slices.SortStableFunc(s.all, func(a, b secret) int { return len(b.text) - len(a.text) })
}

// Redact returns a text without the secrets.
func (s *Secrets) Redact(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, secret := range s.all {
		text = strings.ReplaceAll(text, secret.text, secret.shown)
	}
	return text
}

// RedactEchoes is Redact for what a server says that was told the secrets: it may
// write them as JSON, a URL or HTML does. cut says that the text goes on behind its
// end, which may be the beginning of a secret.
func (s *Secrets) RedactEchoes(text string, cut bool) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, secret := range s.all {
		if len(text) >= len(secret.text) { // however it is written, it is no shorter
			text = secret.echo().ReplaceAllString(text, secret.shown)
		}
	}
	for _, secret := range s.all {
		for n := len(secret.text) - 1; n > 0 && cut; n-- {
			if before, found := strings.CutSuffix(text, secret.text[:n]); found {
				return before + secret.shown
			}
		}
	}
	return text
}

// echoOf finds a text as it stands, or as JSON, a URL or HTML writes it, any
// character of which may be escaped.
func echoOf(text string) *regexp.Regexp {
	var pattern strings.Builder
	for _, r := range text {
		plain := string(r)
		fmt.Fprintf(&pattern, `(?:\\?%s|%s|(?i:\\u%04x|`, regexp.QuoteMeta(plain), regexp.QuoteMeta(html.EscapeString(plain)), r)
		for _, c := range []byte(plain) {
			fmt.Fprintf(&pattern, "%%%02x", c)
		}
		fmt.Fprintf(&pattern, "|&#x0*%x;|&#0*%d;))", r, r)
	}
	return regexp.MustCompile(pattern.String())
}
