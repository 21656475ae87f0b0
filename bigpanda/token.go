package bigpanda

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"bigpanda-udf/printable"
	"bigpanda-udf/regularfile"
)

const (
	// redacted stands wherever the token would, redactedOther for what is secret in
	// the address of the endpoint or the proxy.
	redacted      = "[token]"
	redactedOther = "[secret]"
	// maxToken is how long a token may be, in bytes. BigPanda's are far shorter;
	// a server would refuse the header of a longer one.
	maxToken = 4 << 10
	// maxTokenFile leaves room for what is trimmed.
	maxTokenFile = 2 * maxToken
)

// token hands out the token that is valid now.
type token struct {
	file    string       // empty: it never changes
	onToken func(string) // Options.OnToken; never nil
	hidden  *printable.Secrets

	mu      sync.Mutex
	current *secret // guarded by mu
}

// newToken reads the token from the file, or takes the text when there is no
// file. hidden gets each token.
func newToken(o Options, hidden *printable.Secrets) (*token, error) {
	t := &token{file: o.TokenFile, onToken: o.OnToken, hidden: hidden}
	if t.onToken == nil {
		t.onToken = func(string) {}
	}
	var err error
	if t.file == "" {
		if strings.TrimSpace(o.Token) == "" {
			return nil, errors.New("use token: there is none; set BIGPANDA_TOKEN to the organisation's API token, or name a file that holds it with --token-file")
		}
		if t.current, err = newSecret(o.Token, hidden); err != nil {
			return nil, fmt.Errorf("use token: %w", err)
		}
	} else if t.current, err = readToken(t.file, hidden); err != nil {
		return nil, err
	}
	t.onToken(t.current.text)
	return t, nil
}

// readToken reads a token file. The error names the file and the hint.
func readToken(file string, hidden *printable.Secrets) (*secret, error) {
	text, err := regularfile.Read(file, maxTokenFile)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsRune(file, os.PathSeparator) {
		// Not repeated: it may be the token, put in the wrong place.
		return nil, errors.New("read token file: there is no file of the name that is given; give its full path, or set BIGPANDA_TOKEN if it is the token itself")
	}
	if err != nil {
		return nil, fmt.Errorf("read token file %s: %w; name a file that this process may read", file, regularfile.Cause(err))
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, fmt.Errorf("read token file %s: it is empty; put the organisation's API token into it", file)
	}
	s, err := newSecret(string(text), hidden)
	if err != nil {
		return nil, fmt.Errorf("read token file %s: %w", file, err)
	}
	return s, nil
}

func (t *token) get() *secret {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current
}

// renew reads the file anew after used was not accepted. On an error the token
// stays as it was.
func (t *token) renew(used *secret) error {
	if t.file == "" {
		return nil
	}
	if t.get() != used {
		return nil // another request was faster
	}
	s, err := readToken(t.file, t.hidden) // not under the lock: a disk may be slow
	if err != nil || s.text == used.text {
		return err
	}
	t.onToken(s.text)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == used {
		t.current = s
	}
	return nil
}

// secret is one token, and what hides it in a text. It is only ever held by
// pointer, which fmt does not follow inside another value.
type secret struct {
	text   string
	hidden *printable.Secrets // the token, and whatever else the client must not show
}

// newSecret checks and trims a token, and adds it to what is hidden. Its errors say
// nothing of what it is.
func newSecret(text string, hidden *printable.Secrets) (*secret, error) {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // UTF-8, and both kinds of UTF-16
		if strings.HasPrefix(text, mark) {
			return nil, errors.New("it begins with a byte-order mark; save it as plain text without one (UTF-8 without BOM)")
		}
	}
	text = strings.TrimSpace(text)
	if len(text) > maxToken {
		return nil, fmt.Errorf("it is longer than %d bytes; give the organisation's API token and nothing else", maxToken)
	}
	if word, _, found := strings.Cut(text, " "); found && strings.EqualFold(word, "bearer") {
		return nil, errors.New("it begins with the word Bearer; give the token alone")
	}
	for n, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("character %d is one that no token has, such as a space or a line's end; copy it again, on one line", n+1)
		}
	}
	hidden.Add(redacted, text)
	return &secret{text, hidden}, nil
}

// redact replaces the token in a text, and what is secret in an address.
func (s *secret) redact(text string) string { return s.hidden.RedactEchoes(text, false) }

// redactAnswer replaces the token in an answer's body and shortens it to what is
// kept. cut says that the body goes on behind what was read, maybe in the
// middle of a token.
func (s *secret) redactAnswer(body string, cut bool) string {
	// Looking through all of a long answer would cost more than the rest of the
	// request. Behind what is kept, there is room for a token in any form.
	if window := 2*maxAnswer + 6*len(s.text); len(body) > window {
		body, cut = body[:window], true
	}
	return shorten(s.hidden.RedactEchoes(strings.ToValidUTF8(body, "\uFFFD"), cut), maxAnswer)
}
