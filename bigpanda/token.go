package bigpanda

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

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

// token hands out the token that is valid now. It holds all by pointers, which fmt
// does not follow inside another value.
type token struct {
	file    string             // empty: it never changes
	hidden  *printable.Secrets // gets each token before it is handed out
	current atomic.Pointer[string]
}

// newToken reads the token from the file, or takes the text when there is no
// file.
func newToken(o Options, hidden *printable.Secrets) (*token, error) {
	t := &token{file: o.TokenFile, hidden: hidden}
	var text string
	var err error
	if t.file != "" {
		text, err = t.read()
	} else if strings.TrimSpace(o.Token) == "" {
		err = errors.New("use token: there is none; set BIGPANDA_TOKEN to the organisation's API token, or name a file that holds it with --token-file")
	} else if text, err = t.take(o.Token); err != nil {
		err = fmt.Errorf("use token: %w", err)
	}
	t.current.Store(&text)
	return t, err
}

// read reads the token file. The error names the file and the hint.
func (t *token) read() (string, error) {
	text, err := regularfile.Read(t.file, maxTokenFile)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsRune(t.file, os.PathSeparator) {
		// Not repeated: it may be the token, put in the wrong place.
		return "", errors.New("read token file: there is no file of the name that is given; give its full path, or set BIGPANDA_TOKEN if it is the token itself")
	}
	if err != nil {
		return "", fmt.Errorf("read token file %s: %w; name a file that this process may read", t.file, regularfile.Cause(err))
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return "", fmt.Errorf("read token file %s: it is empty; put the organisation's API token into it", t.file)
	}
	token, err := t.take(string(text))
	if err != nil {
		err = fmt.Errorf("read token file %s: %w", t.file, err)
	}
	return token, err
}

func (t *token) get() string { return *t.current.Load() }

// renew reads the file anew after used was not accepted. On an error the token
// stays as it was.
func (t *token) renew(used string) error {
	current := t.current.Load()
	if t.file == "" || *current != used {
		return nil // another request was faster
	}
	text, err := t.read()
	if err == nil {
		t.current.CompareAndSwap(current, &text)
	}
	return err
}

// take checks and trims a token, and adds it to what is hidden. Its errors say
// nothing of what it is.
func (t *token) take(text string) (string, error) {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // UTF-8, and both kinds of UTF-16
		if strings.HasPrefix(text, mark) {
			return "", errors.New("it begins with a byte-order mark; save it as plain text without one (UTF-8 without BOM)")
		}
	}
	text = strings.TrimSpace(text)
	if len(text) > maxToken {
		return "", fmt.Errorf("it is longer than %d bytes; give the organisation's API token and nothing else", maxToken)
	}
	if word, _, found := strings.Cut(text, " "); found && strings.EqualFold(word, "bearer") {
		return "", errors.New("it begins with the word Bearer; give the token alone")
	}
	for n, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("character %d is one that no token has, such as a space or a line's end; copy it again, on one line", n+1)
		}
	}
	t.hidden.Add(redacted, text)
	return text, nil
}

// redact replaces the token in a text, and what is secret in an address.
func (c *Client) redact(text string) string { return c.token.hidden.RedactEchoes(text, false) }

// redactAnswer replaces the token in an answer's body and shortens it to what is
// kept. cut says that the body goes on behind what was read, maybe in the
// middle of a token.
func (c *Client) redactAnswer(body string, cut bool) string {
	// Looking through all of a long answer would cost more than the rest of the
	// request. Behind what is kept, there is room for a token in any form.
	if window := 2*maxAnswer + 6*len(c.token.get()); len(body) > window {
		body, cut = body[:window], true
	}
	return shorten(c.token.hidden.RedactEchoes(strings.ToValidUTF8(body, "\uFFFD"), cut), maxAnswer)
}
