package bigpanda

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A probe makes no incident: what it posts has neither status nor properties.
func TestProbe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		right, wrong   int // the answers to the token, and to another
		status, probes int
		reason         Reason // "" for none
		proven         bool
	}{
		{"the token is looked at first", 400, 401, 400, 2, "", true},
		{"the token is looked at last", 400, 400, 400, 2, "", false},
		{"another code for what is no alert", 422, 401, 422, 2, "", true},
		{"a conflict", 409, 401, 409, 2, "", true},
		{"accepted", 201, 401, 201, 2, "", true},
		{"nobody knows of a token", 201, 201, 201, 2, "", false},
		{"another token is answered otherwise", 400, 403, 400, 2, "", false},
		{"a wrong token", 401, 401, 401, 1, ReasonToken, false},
		{"forbidden", 403, 401, 403, 1, ReasonForbidden, false},
		{"another path", 405, 401, 405, 1, ReasonRefused, false},
		{"too large, which it is not", 413, 401, 413, 1, ReasonTooLarge, false},
		{"not found", 404, 401, 404, 1, ReasonNotFound, false},
		{"down", 503, 401, 503, 1, ReasonServer, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var posts []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				posts = append(posts, r.Method+" "+string(body))
				mu.Unlock()
				if r.Header.Get("Authorization") == "Bearer "+testToken {
					w.WriteHeader(tt.right)
				} else {
					w.WriteHeader(tt.wrong)
				}
			}))
			defer server.Close()
			for appKey, body := range map[string]string{"": `POST {}`, `a"k`: `POST {"app_key":"a\"k"}`} {
				posts = nil
				p := dial(t, Options{URL: server.URL}).Probe(t.Context(), appKey)
				var reason Reason
				if p.Err != nil {
					reason = p.Err.Reason
				}
				if p.Status != tt.status || reason != tt.reason || p.TokenProven != tt.proven {
					t.Errorf("the probe is %+v", p)
				}
				if want := slices.Repeat([]string{body}, tt.probes); !slices.Equal(posts, want) {
					t.Errorf("it posts %q, want %q", posts, want)
				}
				if p.Proxy != "" || p.TLS != nil || "http://"+p.Peer != server.URL {
					t.Errorf("the way is %+v", p)
				}
				if text := fmt.Sprintf("%+v %v", p, p.Err); strings.Contains(text, testToken) {
					t.Errorf("P9: %s", text)
				}
			}
		})
	}
}

// How far it came is there also when nobody answers.
func TestProbeOfNobody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, url, proxy string
		reason           Reason
		want             Probe // without its error
	}{
		{"no such host", "https://nowhere.invalid/", "", ReasonNetwork, Probe{Host: "nowhere.invalid"}},
		{"nobody listens", "https://127.0.0.1:1/", "", ReasonNetwork, Probe{}},
		{"a proxy that is not there", "https://nowhere.invalid/", "http://user:secret@127.0.0.1:1", ReasonNetwork, Probe{Proxy: "127.0.0.1:1"}},
		{"a proxy that is none", "https://nowhere.invalid/", "none", ReasonProxy, Probe{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dial(t, Options{URL: tt.url, Proxy: func(*url.URL) (*url.URL, error) {
				switch tt.proxy {
				case "":
					return nil, nil
				case "none":
					return nil, io.ErrUnexpectedEOF
				}
				return url.Parse(tt.proxy)
			}}).Probe(t.Context(), "k")
			if p.Err == nil || p.Err.Reason != tt.reason {
				t.Fatalf("the error is %v, want one of %s", p.Err, tt.reason)
			}
			if p.Proxy != tt.want.Proxy || p.Host != tt.want.Host || p.Peer != "" || p.Status != 0 || p.TokenProven {
				t.Errorf("the probe is %+v, want %+v", p, tt.want)
			}
			if text := fmt.Sprintf("%+v %v", p, p.Err); strings.Contains(text, "secret") {
				t.Errorf("the proxy's password is in %s", text)
			}
		})
	}
}
