package bigpanda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// testToken has characters that JSON, URLs and HTML write in other ways.
const testToken = "5ecr3t/T0ken+x=&y"

var testAlert = Payload{Status: "critical", Timestamp: 1, Properties: map[string]string{"host": "h"}}.Encode()

// serve starts a server that ends with the test.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// dial returns a client that ends with the test.
func dial(t *testing.T, o Options) *Client {
	t.Helper()
	if o.Token == "" && o.TokenFile == "" {
		o.Token = testToken
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// send sends one alert and looks for the token in all that comes back (P9).
func send(t *testing.T, c *Client) (Answer, *Error) {
	t.Helper()
	answer, err := c.Send(t.Context(), "k", [][]byte{testAlert})
	return checked(t, answer, err)
}

func checked(t *testing.T, answer Answer, err error) (Answer, *Error) {
	t.Helper()
	var e *Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("%T: %v: want a *Error", err, err)
	}
	all := fmt.Sprintf("%+v %#v %v %+v", answer, answer, err, e)
	if e != nil {
		all += fmt.Sprintf("%+v", *e)
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		all += fmt.Sprintf(" %v %+v %#v", inner, inner, inner)
	}
	if strings.Contains(all, testToken) {
		t.Errorf("the token is in %s", all)
	}
	if e != nil && (e.Reason == "" || e.Err == nil || e.Hint == "" && e.Reason != ReasonCanceled) {
		t.Errorf("%+v: reason, hint or what happened is missing", *e)
	}
	return answer, e
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSendRequest(t *testing.T) {
	t.Parallel()
	alerts := [][]byte{
		Payload{Status: "critical", Timestamp: 1, Properties: map[string]string{"host": "a"}}.Encode(),
		Payload{Status: "ok", Timestamp: 2, Properties: map[string]string{"host": "a"}}.Encode(),
	}
	tests := []struct {
		name   string
		alerts [][]byte
		want   string
	}{
		{"one alert", alerts[:1], `{"app_key":"k","host":"a","status":"critical","timestamp":1}`},
		{"a batch", alerts, `{"app_key":"k","alerts":[{"host":"a","status":"critical","timestamp":1},{"host":"a","status":"ok","timestamp":2}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got *http.Request
			var body []byte
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
				w.WriteHeader(http.StatusCreated)
				io.WriteString(w, `{"response":"created"}`)
			})
			c := dial(t, Options{URL: server.URL + "/data/v2/alerts", UserAgent: "test/1"})
			answer, err := c.Send(t.Context(), "k", tt.alerts)
			if _, e := checked(t, answer, err); e != nil {
				t.Fatal(err)
			}
			if want := (Answer{Status: 201, Body: `{"response":"created"}`}); answer != want {
				t.Errorf("answer %+v, want %+v", answer, want)
			}
			if string(body) != tt.want {
				t.Errorf("body %s\nwant %s", body, tt.want)
			}
			if got.Method != "POST" || got.URL.Path != "/data/v2/alerts" || got.ContentLength != int64(len(body)) {
				t.Errorf("%s %s with %d bytes", got.Method, got.URL, got.ContentLength)
			}
			want := http.Header{
				"Authorization":  {"Bearer " + testToken},
				"Content-Type":   {"application/json"},
				"User-Agent":     {"test/1"},
				"Content-Length": {fmt.Sprint(len(body))},
			}
			if jsonText(t, got.Header) != jsonText(t, want) {
				t.Errorf("header %v\nwant   %v", got.Header, want)
			}
		})
	}
}

func TestSendNothing(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{URL: "http://127.0.0.1:1"})
	if answer, err := c.Send(t.Context(), "k", nil); err != nil || answer != (Answer{}) {
		t.Errorf("%+v, %v: want no request and no error", answer, err)
	}
}

func TestNewClientErrors(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	notPEM := writeFile(t, "ca.pem", "no certificate")
	tests := []struct {
		name string
		o    Options
		want []string
	}{
		{"no scheme", Options{URL: "api.bigpanda.io/data"}, []string{"url", "https://"}},
		{"a host that looks like a scheme", Options{URL: "localhost:8089/data"}, []string{"url", "https://"}},
		{"another scheme", Options{URL: "ftp://api.bigpanda.io"}, []string{"url", "https://"}},
		{"no host", Options{URL: "https:///data"}, []string{"url", "no host"}},
		{"a port but no host", Options{URL: "https://:443/data"}, []string{"url", "no host"}},
		{"not a URL", Options{URL: "https://a b/"}, []string{"url", "parsed"}},
		{"a port out of range", Options{URL: "https://h:70000/"}, []string{"url", "port"}},
		{"a user name", Options{URL: "https://" + testToken[:6] + "@h/"}, []string{"url", "user name"}},
		{"a token in the query", Options{URL: "https://h/?access_token=x"}, []string{"url", "access_token"}},
		{"a token in a query of capitals", Options{URL: "https://h/?ACCESS_Token=x"}, []string{"url", "access_token", "set the token"}},
		{"a token behind a semicolon", Options{URL: "https://h/?a=b;access_token=x"}, []string{"url", "access_token"}},
		{"a token in an encoded query", Options{URL: "https://h/?a=b&access%5ftoken=x"}, []string{"url", "access_token"}},
		{"a token in a query that is encoded twice", Options{URL: "https://h/?next=%252F%253Faccess%25255Ftoken%253Dx"}, []string{"url", "access_token"}},
		{"a token in the path", Options{URL: "https://h/access_token=x/alerts"}, []string{"url", "access_token"}},
		{"a token in the fragment", Options{URL: "https://h/#access_token=x"}, []string{"url", "access_token"}},
		{"no token", Options{Token: " \n"}, []string{"token", "BIGPANDA_TOKEN", "--token-file"}},
		{"a line's end inside the token", Options{Token: testToken + "\n" + testToken}, []string{"token", "character 18", "one line"}},
		{"a token that is not ASCII", Options{Token: testToken + "é"}, []string{"token", "character 18"}},
		{"a token with its header's first word", Options{Token: "Bearer " + testToken}, []string{"token", "Bearer"}},
		{"a token that is far too long", Options{Token: strings.Repeat(testToken, 1000)}, []string{"token", "longer"}},
		{"a token file that is missing", Options{TokenFile: missing}, []string{"token file " + missing, "no such file", "may read"}},
		{"a token file that is a directory", Options{TokenFile: t.TempDir()}, []string{"token file", "may read"}},
		{"an empty token file", Options{Token: testToken, TokenFile: writeFile(t, "token", " \n")}, []string{"token file", "empty", "put"}},
		{"a token file with two lines", Options{TokenFile: writeFile(t, "token", testToken+"\n"+testToken)}, []string{"token file", "one line"}},
		{"a token file with a byte-order mark", Options{TokenFile: writeFile(t, "token", "\ufeff"+testToken)}, []string{"token file", "byte-order mark", "without BOM"}},
		{"a token file in UTF-16", Options{TokenFile: writeFile(t, "token", "\xff\xfet\x00")}, []string{"token file", "byte-order mark", "without BOM"}},
		{"a CA file that is missing", Options{Token: "t", CAFile: missing}, []string{"CA file " + missing, "no such file", "may read"}},
		{"a CA file without a certificate", Options{Token: "t", CAFile: notPEM}, []string{"CA file " + notPEM, "PEM"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewClient(tt.o)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if text := err.Error(); strings.Contains(text, testToken[:6]) || strings.Contains(text, "\n") {
				t.Errorf("%q shows the token or is not one line", text)
			}
		})
	}
}

func TestNewClientDefaults(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{Token: "\t" + testToken + "\r\n"})
	if c.url.String() != DefaultURL || c.timeout != DefaultTimeout || c.userAgent != DefaultUserAgent ||
		c.transport.Load().MaxConnsPerHost != DefaultConnections || c.transport.Load().MaxIdleConnsPerHost != DefaultConnections {
		t.Errorf("%+v", c)
	}
	if c.transport.Load().Proxy == nil {
		t.Error("proxies of the environment are not used")
	}
	if got := c.token.get(); got != testToken {
		t.Errorf("the token is %q, want it trimmed", got)
	}
}

// The token must not be printed along with what holds it (P9).
func TestPrintingOptionsAndClient(t *testing.T) {
	t.Parallel()
	o := Options{Token: testToken, URL: "https://h/"}
	c := dial(t, o)
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	all := string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb, o) + fmt.Sprintf(verb, &o) + fmt.Sprintf(verb, c)
	}
	if strings.Contains(all, testToken) {
		t.Errorf("the token is in %s", all)
	}
	if got := fmt.Sprint(o); !strings.Contains(got, "https://h/") || !strings.Contains(got, redacted) {
		t.Errorf("%s does not show the other options", got)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"an empty answer": "",
		"a short answer":  `{"a":1}`,
		"a long answer":   `["` + strings.Repeat("x", maxRead-10) + `"]`,
	}
	for name, body := range bodies {
		for _, status := range []int{200, 400, 503} {
			t.Run(fmt.Sprintf("%s with %d", name, status), func(t *testing.T) {
				var connections atomic.Int32
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					io.WriteString(w, body)
				}))
				server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateNew {
						connections.Add(1)
					}
				}
				server.Start()
				t.Cleanup(server.Close)
				c := dial(t, Options{URL: server.URL})
				for range 5 {
					if answer, _ := send(t, c); answer.Status != status {
						t.Fatalf("status %d", answer.Status)
					}
				}
				if got := connections.Load(); got != 1 {
					t.Errorf("%d connections for 5 requests, want 1", got)
				}
			})
		}
	}
}

func TestHugeAnswerIsBounded(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 400, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				for { // until the client hangs up
					if _, err := io.WriteString(w, strings.Repeat("é", 1000)); err != nil {
						return
					}
				}
			})
			answer, e := send(t, dial(t, Options{URL: server.URL}))
			if len(answer.Body) > maxAnswer+len("…") || !strings.HasPrefix(answer.Body, "éé") || strings.Contains(answer.Body, "\ufffd") {
				t.Errorf("%d bytes of the answer are kept", len(answer.Body))
			}
			if status == 201 {
				if e != nil {
					t.Error(e)
				}
			} else if e == nil || e.Status != status || e.Answer != answer.Body {
				t.Errorf("%+v", e)
			}
		})
	}
}

// At most Connections requests are under way, whoever calls (run with -race).
func TestConcurrentSends(t *testing.T) {
	t.Parallel()
	const connections, senders, each = 3, 12, 8
	file := writeFile(t, "token", testToken)
	var now, most, delivered atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n%2 == 0 { // makes the client read its token file anew
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		delivered.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
	c := dial(t, Options{URL: server.URL, TokenFile: file, Connections: connections})
	var done sync.WaitGroup
	var succeeded atomic.Int32
	for range senders {
		done.Go(func() {
			for range each {
				if _, err := c.Send(context.Background(), "k", [][]byte{testAlert}); err == nil {
					succeeded.Add(1)
				}
			}
		})
	}
	done.Wait()
	if most.Load() > connections {
		t.Errorf("%d requests at once, want at most %d", most.Load(), connections)
	}
	if succeeded.Load() != delivered.Load() {
		t.Errorf("%d succeeded, %d were delivered", succeeded.Load(), delivered.Load())
	}
}
