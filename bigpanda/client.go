package bigpanda

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"bigpanda-udf/printable"
)

// The Alerts API's endpoints (reference/alerts). A token that is used in the
// wrong region is answered with 404.
const (
	DefaultURL = "https://api.bigpanda.io/data/v2/alerts"
	EuropeURL  = "https://eu-api.bigpanda.io/data/v2/alerts"
)

// The Open Integration Manager's (reference/oim-send-alerts), which newer
// organisations have. It takes the same requests.
const (
	OIMURL       = "https://integrations.bigpanda.io/oim/api/alerts"
	OIMEuropeURL = "https://eu.integrations.bigpanda.io/oim/api/alerts"
)

const (
	// DefaultTimeout leaves a large batch time to be taken in and is short
	// enough that a connection that hangs is noticed soon.
	DefaultTimeout = 30 * time.Second
	// DefaultConnections is how many requests are under way at once at most.
	DefaultConnections = 4
	// DefaultUserAgent is what BigPanda's log shows.
	DefaultUserAgent = "bigpanda-udf"

	// maxRead is how much of an answer is read. It is enough to reach the end of
	// any answer of the API, so that the connection is used again; behind a
	// longer one the connection is closed.
	maxRead = 64 << 10
	// maxAnswer is how much of an answer is kept, in bytes: it goes into logs
	// and beside dead letters.
	maxAnswer = 2 << 10
)

// Options of a Client.
type Options struct {
	URL                string        // of the endpoint; DefaultURL if empty
	Token              string        `json:"-"` // the organisation's API token
	TokenFile          string        // holds the token; goes before Token and is read anew after a 401, unless it is a pipe
	CAFile             string        // PEM certificates to trust instead of the system's; read anew when a certificate is not trusted
	InsecureSkipVerify bool          // accept any certificate
	Timeout            time.Duration // of a request from dial to the answer's end; DefaultTimeout if 0
	Connections        int           // how many requests at once at most; DefaultConnections if 0
	UserAgent          string        // DefaultUserAgent if empty
	// Secrets, if set, gets what nothing may show, each token before it is used
	// first: whoever redacts has to know them all.
	Secrets *printable.Secrets `json:"-"`
	// Proxy returns the proxy for a request to a URL, nil for none; without it
	// the environment of the process says which.
	Proxy func(*url.URL) (*url.URL, error) `json:"-"`
}

// Format writes the options without the token, nor what is secret in the URL,
// whatever the verb.
func (o Options) Format(f fmt.State, _ rune) {
	if o.Token != "" {
		o.Token = redacted
	}
	if o.URL != "" {
		o.URL = PublicURL(o.URL)
	}
	type plain Options // without this method
	fmt.Fprintf(f, "%+v", plain(o))
}

// Client sends alerts to one endpoint. Its methods may be called concurrently.
type Client struct {
	url       *url.URL
	token     *token
	timeout   time.Duration
	userAgent string
	caFile    string
	transport atomic.Pointer[http.Transport] // not http.Client, which would follow redirects
}

// NewClient checks the options and reads the files that they name; it makes no
// connection. An error is one sentence that ends with the hint.
func NewClient(o Options) (*Client, error) {
	u, err := endpoint(o.URL)
	if err != nil {
		return nil, err
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.Connections = cmp.Or(o.Connections, DefaultConnections)
	hidden := cmp.Or(o.Secrets, new(printable.Secrets))
	hidden.Add(redactedOther, AddressSecrets(u.String())...)
	if proxy, err := proxyBy(o.Proxy)(&http.Request{URL: u}); err == nil && proxy != nil {
		hidden.Add(redactedOther, AddressSecrets(proxy.String())...)
	}
	token, err := newToken(o, hidden)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	c := &Client{
		url:       u,
		token:     token,
		timeout:   o.Timeout,
		userAgent: cmp.Or(o.UserAgent, DefaultUserAgent),
		caFile:    o.CAFile,
	}
	c.transport.Store(transport)
	return c, nil
}

// endpoint checks a URL. Its errors do not repeat it: whoever puts a secret
// where it does not belong shall not find it in a log.
func endpoint(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		text = DefaultURL
	}
	fail := func(why string) (*url.URL, error) {
		return nil, fmt.Errorf("use url: %s; it looks like %s", why, DefaultURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return fail("it cannot be parsed")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return fail("it does not begin with https:// or http://")
	case u.Hostname() == "":
		return fail("it has no host")
	case u.User != nil:
		return fail("it has a user name or password, which BigPanda does not take: leave it out and set the token")
	case hasAccessToken(text):
		return fail("it has an access_token, which would end up in logs: leave it out and set the token")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fail("its port is not between 1 and 65535")
		}
	}
	return u, nil
}

// Answer is what the endpoint said.
type Answer struct {
	Status int // of HTTP; 0 if there was no answer
	// Body is the beginning of the answer's body, at most about 2 KiB, with the
	// token redacted, and what is secret in the addresses of the endpoint and
	// the proxy.
	Body string
}

// Send makes one attempt to deliver alerts, which are results of Encode, for
// one app key. It sends nothing when there are none. A nil error means that
// BigPanda has them all; any other error is a *Error that says what becomes of
// them. What BigPanda has said is returned in both cases. A context that ends
// makes a Retry error that wraps the context's.
func (c *Client) Send(ctx context.Context, appKey string, alerts [][]byte) (Answer, error) {
	if len(alerts) == 0 {
		return Answer{}, nil
	}
	within, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	defer cancel()
	token := c.token.get()
	resp, err := c.post(within, token, Body(appKey, alerts))
	if err != nil {
		e := c.unanswered(ctx, err)
		if e.Reason == ReasonTLS {
			// As with the token below.
			if err := c.renewRoots(); err != nil {
				e.Hint += " (" + c.redact(err.Error()) + ")"
			}
		}
		return Answer{}, e
	}
	defer resp.Body.Close()

	body, end := readBody(resp)
	answer := Answer{Status: resp.StatusCode, Body: c.redactAnswer(string(body), end != nil)}
	if delivered(resp, body, end) {
		return answer, nil
	}
	if resp.StatusCode/100 == 2 && end != nil && end != errLong {
		e := c.unanswered(ctx, end)
		e.Status, e.Answer = answer.Status, answer.Body
		return answer, e
	}
	e := c.answered(resp)
	e.Answer = answer.Body
	if resp.StatusCode == http.StatusUnauthorized {
		// The next Send uses what the file holds by then. This one has failed.
		if err := c.token.renew(token); err != nil {
			e.Hint += " (" + c.redact(err.Error()) + ")"
		}
	}
	return answer, e
}

// post sends a request and returns the answer when its header has arrived.
func (c *Client) post(ctx context.Context, token string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	// Without a value it is not sent, but tells the transport that the request
	// may be repeated when the server closed a kept connection at that very
	// moment. BigPanda drops duplicates.
	req.Header["Idempotency-Key"] = nil
	return c.transport.Load().RoundTrip(req)
}

// errLong is the end of a body that goes on behind what is read of it.
var errLong = errors.New("the answer goes on")

// readBody returns the beginning of an answer's body, and why there is no more
// of it: nil for its own end, errLong, or what broke it off.
func readBody(resp *http.Response) ([]byte, error) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, errLong // what follows is another protocol and has no end
	}
	body, err := readBounded(resp.Body)
	// One may be compressed though nobody asked (RFC 9110, 12.5.3). What it begins with
	// tells: proxies unpack some and leave their header as it was.
	if packed, bad := gzip.NewReader(bytes.NewReader(body)); bad == nil {
		body, bad = readBounded(packed)
		err = cmp.Or(err, bad)
	}
	return body, err
}

// readBounded is io.ReadAll for maxRead bytes at most.
func readBounded(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxRead+1))
	if len(body) > maxRead {
		return body[:maxRead], errLong
	}
	return body, err
}

// ShortToken reports whether the token that is valid now is shorter than
// printable.MinSecret, so that nothing can keep it out of what is shown.
func (c *Client) ShortToken() bool { return len(c.token.get()) < printable.MinSecret }

// Fingerprint returns a keyed hash of the token that is valid now: equal for
// equal tokens and keys, and of no use to find the token.
func (c *Client) Fingerprint(key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(c.token.get()))
	return h.Sum(nil)
}

// Close closes the connections that are kept for later requests. A client may
// be used after it.
func (c *Client) Close() { c.transport.Load().CloseIdleConnections() }

// errTimeout ends a request that took longer than Options.Timeout.
var errTimeout = errors.New("no complete answer in time")
