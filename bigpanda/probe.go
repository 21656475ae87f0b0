package bigpanda

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"

	"github.com/tidwall/gjson"
)

// A Probe is what one look at the endpoint has found, as far as it came.
type Probe struct {
	Proxy     string // host and port of the proxy; "" for none
	Host      string // that was looked up; "" if there was an address already
	Addresses []string
	Peer      string               // the address that a connection was made to
	TLS       *tls.ConnectionState // nil: none was agreed upon
	Status    int                  // of the answer; 0: none came
	// Err is nil when the answer is one that an alert without status and
	// properties may get: a refusal of it, or an acceptance.
	Err *Error
	// TokenProven says that the endpoint answers 401 to a token that is none,
	// and did not to this one. Otherwise nobody knows what it looked at first.
	TokenProven bool
}

// notToken is a token that BigPanda has given to nobody.
const notToken = "bigpanda-udf-check-not-a-token"

// Probe asks the endpoint for an answer without making an incident: it posts
// an object with an app key alone, which lacks what an alert must have, a
// status and a primary property (BigPanda, reference/alerts). Where the answer
// does not tell whether the token was looked at, a second request, with a token
// that is none, may.
func (c *Client) Probe(ctx context.Context, appKey string) (p Probe) {
	within, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	defer cancel()
	var t tracer
	c.Close() // a new connection has something to tell
	if proxy, err := c.transport.Load().Proxy(&http.Request{URL: c.url}); err == nil && proxy != nil {
		t.found.Proxy = proxy.Host
	}
	body := []byte(`{}`)
	if appKey != "" {
		body = append(gjson.AppendJSONString([]byte(`{"app_key":`), appKey), '}')
	}
	status, failure := c.probeOnce(httptrace.WithClientTrace(within, t.trace()), ctx, c.token.get(), body)
	t.mu.Lock()
	p = t.found
	t.mu.Unlock()
	if p.Status, p.Err = status, failure; failure != nil {
		return p
	}
	status, failure = c.probeOnce(within, ctx, notToken, body)
	p.TokenProven = status == http.StatusUnauthorized && failure != nil
	return p
}

// probeOnce posts a body that is no alert.
func (c *Client) probeOnce(within, ctx context.Context, token string, body []byte) (status int, failure *Error) {
	resp, err := c.post(within, token, body)
	if err != nil {
		return 0, c.unanswered(ctx, err)
	}
	defer resp.Body.Close()
	text, end := readBody(resp)
	if delivered(resp, text, end) {
		return resp.StatusCode, nil
	}
	e := c.answered(resp)
	e.Answer = c.redactAnswer(string(text), end != nil)
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		return resp.StatusCode, nil // what else should become of it
	}
	return resp.StatusCode, e
}

// tracer notes how far a request came. The transport may still call it when the
// request has ended.
type tracer struct {
	mu    sync.Mutex
	found Probe // guarded by mu
}

func (t *tracer) trace() *httptrace.ClientTrace {
	note := func(f func()) {
		t.mu.Lock()
		defer t.mu.Unlock()
		f()
	}
	return &httptrace.ClientTrace{
		DNSStart: func(i httptrace.DNSStartInfo) { note(func() { t.found.Host = i.Host }) },
		DNSDone: func(i httptrace.DNSDoneInfo) {
			note(func() {
				for _, a := range i.Addrs {
					if text := a.String(); !slices.Contains(t.found.Addresses, text) {
						t.found.Addresses = append(t.found.Addresses, text)
					}
				}
			})
		},
		ConnectDone: func(_, addr string, err error) {
			if err == nil {
				note(func() { t.found.Peer = addr })
			}
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			if err == nil {
				note(func() { t.found.TLS = &s })
			}
		},
	}
}
