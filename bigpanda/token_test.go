package bigpanda

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"bigpanda-udf/printable"
)

// wants starts a server that accepts the tokens of a list, one after the other,
// and returns what it was given.
func wants(t *testing.T, tokens ...string) (address string, given func() []string) {
	var mu sync.Mutex
	var all []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if all[len(all)-1] != tokens[min(len(all), len(tokens))-1] {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestTokenFileIsReadAnewAfter401(t *testing.T) {
	t.Parallel()
	address, given := wants(t, "old", "new", "new", "new")
	file := writeFile(t, "token", "old\n")
	c := dial(t, Options{URL: address, Token: "unused", TokenFile: file})
	if _, e := send(t, c); e != nil {
		t.Fatal(e)
	}
	if err := os.WriteFile(file, []byte(" new \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, e := send(t, c); e == nil || e.Class != Hold || e.Reason != ReasonToken {
		t.Fatalf("%+v, want hold", e)
	}
	if _, e := send(t, c); e != nil {
		t.Fatal(e)
	}
	if got := fmt.Sprint(given()); got != "[old old new]" {
		t.Errorf("the server was given %s", got)
	}
}

func TestTokenStaysWhenItsFileCannotBeRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(file string) error
		hint   string
	}{
		{"it is gone", os.Remove, "no such file"},
		{"it is empty", func(file string) error { return os.WriteFile(file, nil, 0o600) }, "empty"},
		{"it makes no sense", func(file string) error { return os.WriteFile(file, []byte("one\ntwo"), 0o600) }, "one line"},
		{"it is the same", func(file string) error { return os.WriteFile(file, []byte("old"), 0o600) }, "check the token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address, given := wants(t, "other", "old")
			file := writeFile(t, "token", "old")
			c := dial(t, Options{URL: address, TokenFile: file})
			if err := tt.change(file); err != nil {
				t.Fatal(err)
			}
			if _, e := send(t, c); e == nil || e.Reason != ReasonToken || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("%+v, want %q", e, tt.hint)
			}
			if _, e := send(t, c); e != nil {
				t.Error(e)
			}
			if got := fmt.Sprint(given()); got != "[old old]" {
				t.Errorf("the server was given %s", got)
			}
		})
	}
}

// P9: whoever redacts tokens knows each of them before the server does.
func TestTokensAreHiddenBefore(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		first string // in the file; "" for a token that is none of a file
		then  string // in the file, from the first 401 on
		want  string // what is shown of both tokens in the end
	}{
		{"a token that is no file's", "", "", "[token] second-token"},
		{"a token file", " first-token\n", "first-token", "[token] second-token"},
		{"a token file that changes", "first-token\n", " second-token\n", "[token] [token]"},
		{"a token file that becomes nonsense", "first-token", "second-token\ntwo", "[token] second-token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var hidden printable.Secrets
			var early []string // Send makes the calls, one after the other
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if used := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); hidden.Redact(used) != redacted {
					early = append(early, used)
				}
				w.WriteHeader(http.StatusUnauthorized)
			})
			o := Options{URL: server.URL, Token: "first-token", Secrets: &hidden}
			if tt.first != "" {
				o.TokenFile = writeFile(t, "token", tt.first)
			}
			c := dial(t, o)
			for range 3 {
				if o.TokenFile != "" {
					if err := os.WriteFile(o.TokenFile, []byte(tt.then), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				send(t, c)
			}
			if got := hidden.Redact("first-token second-token"); got != tt.want || len(early) > 0 {
				t.Errorf("got %q, want %q; used before: %q", got, tt.want, early)
			}
		})
	}
}

// P6: nobody may ever write to a pipe that takes the file's place.
func TestTokenStaysWhenItsFileBecomesAPipe(t *testing.T) {
	t.Parallel()
	address, given := wants(t, "other", "old")
	file := writeFile(t, "token", "old")
	c := dial(t, Options{URL: address, TokenFile: file})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, e := send(t, c); e == nil || e.Reason != ReasonToken || !strings.Contains(e.Hint, "it is a pipe and no regular file") {
		t.Errorf("%+v, want a refused token", e)
	}
	if _, e := send(t, c); e != nil {
		t.Error(e)
	}
	if got := fmt.Sprint(given()); got != "[old old]" {
		t.Errorf("the server was given %s", got)
	}
}

// A late 401 for the old token must not undo what another request has read.
func TestLate401(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "token", "old")
	c := dial(t, Options{TokenFile: file})
	old := c.token.get()
	if err := os.WriteFile(file, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.token.renew(old); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := c.token.renew(old); err != nil {
		t.Errorf("read the file again for a token that is not in use: %v", err)
	}
	if got := c.token.get(); got != "new" {
		t.Errorf("the token is %q", got)
	}
}

// A server may say anything that it was told (P9).
func TestEchoOfTheToken(t *testing.T) {
	t.Parallel()
	quoted, err := json.Marshal(testToken)
	if err != nil {
		t.Fatal(err)
	}
	coded := func(format string) string {
		var b strings.Builder
		for _, c := range []byte(testToken) {
			fmt.Fprintf(&b, format, c)
		}
		return b.String()
	}
	tests := []struct {
		name string
		body string
		want string
	}{
		{"as it is", "no such token: " + testToken + ".", "no such token: [token]."},
		{"twice in a row", testToken + testToken, "[token][token]"},
		{"as JSON", `{"error":` + string(quoted) + `}`, `{"error":"[token]"}`},
		{"as JSON of another kind", strings.ReplaceAll(testToken, "/", `\/`), "[token]"},
		{"as JSON with capitals", strings.ReplaceAll(testToken, "+", `\u002B`), "[token]"},
		{"as a query", "?t=" + url.QueryEscape(testToken), "?t=[token]"},
		{"as a path", "/" + url.PathEscape(testToken), "/[token]"},
		{"as HTML", "<b>" + html.EscapeString(testToken) + "</b>", "<b>[token]</b>"},
		{"as HTML of another kind", coded("&#%d;") + coded("&#x%X;"), "[token][token]"},
		{"not at all", "Bearer", "Bearer"},
	}
	for _, tt := range tests {
		for _, status := range []int{201, 400, 401, 500} {
			t.Run(fmt.Sprint(tt.name, " with ", status), func(t *testing.T) {
				server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					io.WriteString(w, tt.body)
				})
				if answer, _ := send(t, dial(t, Options{URL: server.URL})); answer.Body != tt.want {
					t.Errorf("got %s, want %s", answer.Body, tt.want)
				}
			})
		}
	}
}

func TestPartOfTheTokenAtTheEnd(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{})
	for n := 1; n < len(testToken); n++ {
		if got := c.redactAnswer("was: "+testToken[:n], true); got != "was: "+redacted {
			t.Errorf("got %q", got)
		}
	}
	if got := c.redactAnswer("was: 5", false); got != "was: 5" {
		t.Errorf("got %q for an answer that ends there", got)
	}
	long := strings.Repeat(testToken, maxRead/len(testToken)+1)[:maxRead]
	if got := c.redactAnswer(long, true); strings.Contains(got, testToken[:3]) || len(got) > maxAnswer+len("…") {
		t.Errorf("got %q", got)
	}
}
