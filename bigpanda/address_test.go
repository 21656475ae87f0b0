package bigpanda

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestPublicURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ address, want string }{
		{DefaultURL, DefaultURL},
		{" http://127.0.0.1:8089/data/v2/alerts\n", "http://127.0.0.1:8089/data/v2/alerts"},
		{"https://h/a%2Fb/%C3%A4", "https://h/a%2Fb/%C3%A4"},
		{"https://h/oim/api/alerts?key=5ecret&x=y", "https://h/oim/api/alerts?…"},
		{"https://h?key=5ecret", "https://h?…"},
		{"https://h/#5ecret", "https://h/?…"},
		{"https://user:5ecret@h/", "https://…@h/"},
		{"https://5ecret@h/?5ecret#5ecret", "https://…@h/?…"},
		{"https://h/x;Access%5FToken=5ecret/y", "https://h/…"},
		{"5ecret", "(not an address)"},
		{"localhost:5ecret", "(not an address)"},
		{"https://user:5ecret%@h/", "(not an address)"},
	} {
		if got := PublicURL(tt.address); got != tt.want {
			t.Errorf("%s is shown as %s, want %s", tt.address, got, tt.want)
		}
	}
}

func TestAddressSecrets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		address string
		want    []string // in any order
	}{
		{DefaultURL, []string{""}},
		{"https://h/p@th", []string{""}},
		{"https://h/?key=a%26b&flag&app_key=k;x=y#z", []string{"key=a%26b&flag&app_key=k;x=y?z", "a%26b", "a&b", "flag", "flag", "y", "y", "z", "z"}},
		{"http://us%65r:p%40ss@proxy:3128", []string{"us%65r:p%40ss", "p%40ss", "p@ss", "dXNlcjpwQHNz", ""}},
		{"user:pa/ss@proxy:3128", []string{"user:pa/ss", "pa/ss", "pa/ss", "dXNlcjpwYS9zcw==", ""}},
		{"http://user:p%ss@proxy:3128", []string{"user:p%ss", "p%ss", "p%ss", "dXNlcjpwJXNz", ""}},
	} {
		got := AddressSecrets(tt.address)
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("of %s %q, want %q", tt.address, got, tt.want)
		}
	}
}

// P9: a proxy or a server that repeats what it was asked, as pages of errors do,
// shows neither the proxy's password nor the URL's query.
func TestAddressesAreHidden(t *testing.T) {
	t.Parallel()
	const password, key = `pa55 "word/é`, "qu3ry+<key>"
	all := []string{password, url.QueryEscape(password), url.PathEscape(password), "cHJveHl1c2VyOn", key, url.QueryEscape(key), url.PathEscape(key)}
	unseen := func(t *testing.T, text string) {
		t.Helper()
		for _, secret := range all {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows %q", text, secret)
			}
		}
	}
	echo := func(r *http.Request) string {
		return fmt.Sprintf("Cannot %s %s for %s (%s), %q", r.Method, r.RequestURI, r.Header.Get("Proxy-Authorization"), password, r.URL.Query().Get("key"))
	}
	through := func(address string) Options {
		return Options{
			URL:   "http://bigpanda.example/alerts?key=" + url.QueryEscape(key) + "&app_key=integration",
			Proxy: func(*url.URL) (*url.URL, error) { return url.Parse(address) },
		}
	}
	login := url.UserPassword("proxyuser", password).String() + "@"
	for _, status := range []int{200, 201, 302, 400, 401, 403, 404, 407, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(status)
				io.WriteString(w, echo(r))
			})
			c := dial(t, through(strings.Replace(server.URL, "://", "://"+login, 1)))
			answer, e := send(t, c)
			if strings.Count(answer.Body, redactedOther) < 3 || !strings.Contains(answer.Body, "bigpanda.example/alerts") {
				t.Errorf("the answer is %q", answer.Body)
			}
			unseen(t, fmt.Sprintf("%+v %+v", answer, e))
			p := c.Probe(t.Context(), "k")
			unseen(t, fmt.Sprintf("%+v %v", p, p.Err))
		})
	}
	t.Run("an answer that is broken off", func(t *testing.T) {
		address := raw(t, func(conn net.Conn, r *http.Request) {
			text := echo(r)
			io.WriteString(conn, "HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n"+text[:strings.Index(text, "key=")+8])
		})
		answer, e := send(t, dial(t, through("http://"+login+address)))
		if strings.Contains(answer.Body, "key=") || !strings.HasSuffix(answer.Body, redactedOther) {
			t.Errorf("%q, %v", answer.Body, e)
		}
	})
	t.Run("an answer that is not HTTP", func(t *testing.T) {
		address := raw(t, func(conn net.Conn, r *http.Request) { io.WriteString(conn, r.RequestURI+"\r\n\r\n") })
		_, e := send(t, dial(t, through("http://"+login+address)))
		if e == nil || !strings.Contains(e.Error(), redactedOther) {
			t.Errorf("%v", e)
		}
		unseen(t, fmt.Sprintf("%+v", e))
	})
}

// A word is no secret: with a token such as "any", "company" is not mangled.
func TestShortTokenIsNotSearchedFor(t *testing.T) {
	t.Parallel()
	const answer = "company, any key"
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, answer)
	})
	for token, short := range map[string]bool{"any": true, "compan": true, "7charsx": true, "8charsxx": false} {
		c := dial(t, Options{URL: server.URL + "?k=key", Token: token})
		if got, _ := send(t, c); got.Body != answer {
			t.Errorf("with the token %q the answer is %q", token, got.Body)
		}
		if c.ShortToken() != short {
			t.Errorf("%q is taken for short: %v", token, !short)
		}
	}
}
