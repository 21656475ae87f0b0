package bigpanda

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// outcome is what a status means by the table of the design.
func outcome(status int) (delivered bool, class Class, reason Reason) {
	switch status {
	case 401:
		return false, Hold, ReasonToken
	case 403:
		return false, Hold, ReasonForbidden
	case 404, 410:
		return false, HoldAppKey, ReasonNotFound
	case 407:
		return false, Hold, ReasonProxy
	case 408, 425:
		return false, Retry, ReasonServer
	case 413:
		return false, Refused, ReasonTooLarge
	case 429:
		return false, Retry, ReasonThrottled
	}
	switch status / 100 {
	case 2:
		return true, 0, ""
	case 3:
		return false, Hold, ReasonRedirect
	case 4:
		return false, Refused, ReasonRefused
	case 5:
		return false, Retry, ReasonServer
	}
	return false, Hold, ReasonNotBigPanda
}

func TestEveryStatus(t *testing.T) {
	t.Parallel()
	var status atomic.Int32
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(int(status.Load()))
		if n := status.Load(); n != 204 && n != 304 {
			io.WriteString(w, `{"said":"something"}`)
		}
	})
	c := dial(t, Options{URL: server.URL})
	for n := 200; n <= 999; n++ {
		status.Store(int32(n))
		delivered, class, reason := outcome(n)
		answer, e := send(t, c)
		if answer.Status != n {
			t.Fatalf("%d: the answer says %d", n, answer.Status)
		}
		if delivered {
			if e != nil {
				t.Errorf("%d: %v, want delivered", n, e)
			}
			continue
		}
		if e == nil {
			t.Errorf("%d: delivered, want %v", n, class)
			continue
		}
		if e.Class != class || e.Reason != reason || e.Status != n || e.RetryAfter != 7*time.Second || e.Answer != answer.Body {
			t.Errorf("%d: %+v, want %v, %s", n, *e, class, reason)
		}
		if text := e.Error(); !strings.Contains(text, fmt.Sprint(n)) || !strings.HasSuffix(text, e.Hint) ||
			strings.Contains(text, "said") || strings.Contains(text, "\n") {
			t.Errorf("%d: the error's text is %q", n, text)
		}
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	tests := map[int][]string{
		401: {"token", "organisation"},
		403: {"token", "proxy", "127.0.0.1"},
		404: {"app key", "region", EuropeURL, "Open Integration Manager has " + OIMURL},
		407: {"HTTPS_PROXY", "NO_PROXY"},
		413: {"smaller"},
		429: {"--rate"},
	}
	for status, wants := range tests {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, e := send(t, dial(t, Options{URL: server.URL}))
		for _, want := range wants {
			if !strings.Contains(e.Hint, want) {
				t.Errorf("%d: %q does not say %q", status, e.Hint, want)
			}
		}
	}
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	_, e := send(t, dial(t, Options{URL: server.URL + "/oim/api/alerts"}))
	for _, want := range []string{"region, " + OIMURL + " or, in the EU, " + OIMEuropeURL, "app key and token", "one of the Alerts API belongs to " + DefaultURL} {
		if !strings.Contains(e.Hint, want) {
			t.Errorf("404 of OIM: %q does not say %q", e.Hint, want)
		}
	}
}

// A server or a proxy on the way may compress its answers, as one may whom nobody told
// not to (RFC 9110, 12.5.3).
func TestCompressedAnswer(t *testing.T) {
	t.Parallel()
	whole := new(bytes.Buffer)
	g := gzip.NewWriter(whole)
	io.WriteString(g, `{"status":"ok"}`)
	g.Close()
	long := new(bytes.Buffer)
	g.Reset(long)
	io.WriteString(g, `{"status":"`)
	g.Write(make([]byte, 1<<20))
	g.Close()
	for _, tt := range []struct {
		name, encoding string
		status         int
		body           []byte
		delivered      bool
	}{
		{"200", "gzip", 200, whole.Bytes(), true},
		{"200 by an older name", "x-gzip", 200, whole.Bytes(), true},
		{"200 that is cut", "gzip", 200, whole.Bytes()[:whole.Len()-12], false},
		{"400", "gzip", 400, whole.Bytes(), false},
		{"200 that was unpacked on the way", "gzip", 200, []byte(`{"status":"ok"}`), true},
		{"400 that was unpacked on the way", "gzip", 400, []byte(`{"status":"no"}`), false},
		{"200 that is long", "gzip", 200, long.Bytes(), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", tt.encoding)
				w.WriteHeader(tt.status)
				w.Write(tt.body)
			})
			answer, e := send(t, dial(t, Options{URL: server.URL}))
			if (e == nil) != tt.delivered {
				t.Errorf("delivered is %t: %v", e == nil, e)
			}
			if !strings.HasPrefix(answer.Body, `{"s`) {
				t.Errorf("the answer is %q", answer.Body)
			}
		})
	}
}

func TestBodiesOf2xx(t *testing.T) {
	t.Parallel()
	page := "<!DOCTYPE html><title>Log in</title>"
	tests := []struct {
		name      string
		status    int
		mediaType string
		body      string
		delivered bool
	}{
		{"200 with nothing", 200, "", "", true},
		{"200 with white space", 200, "text/plain", " \r\n", true},
		{"200 with an object", 200, "text/plain", ` {"a":[1,2]} `, true},
		{"200 with a string", 200, "application/json", `"ok"`, true},
		{"202 with an object", 202, "application/json", `{}`, true},
		{"200 with a login page", 200, "text/html", page, false},
		{"200 with a login page that claims to be JSON", 200, "application/json", page, false},
		{"200 with words", 200, "text/plain", "OK", false},
		{"200 with half an object", 200, "application/json", `{"a":`, false},
		{"200 with bytes", 200, "application/octet-stream", "\x00\xff\xfe", false},
		{"200 with a very long object", 200, "application/json", `{"a":"` + strings.Repeat("x", 2*maxRead) + `"}`, true},
		{"200 with a very long page", 200, "text/html", page + strings.Repeat("x", 2*maxRead), false},
		{"206 with words", 206, "text/plain", "part", false},
		{"201 with nothing", 201, "", "", true},
		{"201 with an object", 201, "application/json", `{}`, true},
		{"201 with words, since its body is not documented", 201, "text/plain", "Created", true},
		{"201 with a page", 201, "text/plain", page, false},
		{"201 with words said to be a page", 201, "Text/HTML; charset=utf-8", "Log in", false},
		{"204", 204, "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.mediaType)
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			})
			_, e := send(t, dial(t, Options{URL: server.URL}))
			if tt.delivered {
				if e != nil {
					t.Error(e)
				}
				return
			}
			if e == nil || e.Class != Hold || e.Reason != ReasonNotBigPanda || e.Status != tt.status {
				t.Errorf("%+v, want hold", e)
			}
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	tests := []struct {
		name     string
		location string
		hint     string
	}{
		{"to another host", elsewhere.URL + "/path?q=" + testToken, " to " + strings.TrimPrefix(elsewhere.URL, "http://") + " is not"},
		{"to the token", "https://" + strings.ReplaceAll(testToken, "/", "") + "/", " to "},
		{"to a host whose name is endless", "https://" + strings.Repeat("h", 10_000) + "/", "…"},
		{"to nowhere", "", "a redirect is not"},
		{"to nonsense", "://%zz", "a redirect is not"},
	}
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		for _, tt := range tests {
			t.Run(fmt.Sprint(status, " ", tt.name), func(t *testing.T) {
				server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					if tt.location != "" {
						w.Header().Set("Location", tt.location)
					}
					w.WriteHeader(status)
				})
				_, e := send(t, dial(t, Options{URL: server.URL}))
				if e == nil || e.Class != Hold || e.Reason != ReasonRedirect || !strings.Contains(e.Hint, tt.hint) {
					t.Errorf("%+v, want hold with %q", e, tt.hint)
				}
				if len(e.Hint) > 2*maxText || strings.Contains(e.Hint, "q=") {
					t.Errorf("%q says more than the host", e.Hint)
				}
			})
		}
	}
	if reached.Load() {
		t.Error("a redirect was followed, and the token with it")
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	tests := []struct {
		name string
		text string
		date string
		want time.Duration
	}{
		{"nothing", "", "", 0},
		{"seconds", "12", "", 12 * time.Second},
		{"seconds with space around them", " 12 ", "", 12 * time.Second},
		{"no wait", "0", "", 0},
		{"too many seconds", "86400", "", MaxRetryAfter},
		{"more seconds than a number holds", strings.Repeat("9", 40), "", MaxRetryAfter},
		{"negative", "-5", "", 0},
		{"words", "soon", "", 0},
		{"a fraction", "1.5", "", 0},
		{"a date", in(90 * time.Second), "", 90 * time.Second},
		{"a date in the past", in(-time.Hour), "", 0},
		{"a date far off", in(1000 * time.Hour), "", MaxRetryAfter},
		{"a date by a server whose clock is an hour ahead", in(time.Hour + time.Minute), in(time.Hour), time.Minute},
		{"a date by a server whose clock makes no sense", in(time.Minute), "yesterday", time.Minute},
		{"a date in the old form", now.Add(time.Minute).Format(time.ANSIC), "", time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			header.Set("Retry-After", tt.text)
			header.Set("Date", tt.date)
			if got := retryAfter(header, now); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestReasonsAreLabels(t *testing.T) {
	t.Parallel()
	seen := map[Reason]bool{}
	for _, reason := range Reasons {
		if seen[reason] || strings.Trim(string(reason), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("reason %q is there twice or is no label", reason)
		}
		seen[reason] = true
	}
	for status := 200; status < 600; status++ {
		if _, _, reason := outcome(status); reason != "" && !seen[reason] {
			t.Errorf("reason %q of %d is not listed", reason, status)
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		e    Error
		want string
	}{
		{Error{Status: 503, Hint: "wait", Err: errors.New("h answered 503")}, "h answered 503; wait"},
		{Error{Err: io.ErrUnexpectedEOF}, "unexpected EOF"},
	}
	for _, tt := range tests {
		if got := tt.e.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
