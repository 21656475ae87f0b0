package bigpanda

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"bigpanda-udf/regularfile"
)

// How long each phase of a request may take; Options.Timeout ends all of them.
const (
	dialTimeout = 10 * time.Second
	tlsTimeout  = 10 * time.Second
	// idleTimeout is below the minute after which load balancers commonly drop
	// an idle connection.
	idleTimeout = 50 * time.Second
	// pingAfter and pingTimeout find an HTTP/2 connection whose other end is
	// gone. Requests that time out do not close it, so it would stay in use.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second

	// maxHeader is how many bytes the header of an answer may have.
	maxHeader = 64 << 10
)

// newTransport returns a transport of a client's own, so that nobody else's
// settings or connections matter.
func newTransport(o Options) (*http.Transport, error) {
	roots, err := readRoots(o.CAFile)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: min(dialTimeout, o.Timeout), KeepAlive: pingAfter}
	return &http.Transport{
		Proxy:       proxyBy(o.Proxy),
		DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{
			RootCAs:            roots,
			InsecureSkipVerify: o.InsecureSkipVerify,
			MinVersion:         tls.VersionTLS12,
		},
		TLSHandshakeTimeout:    min(tlsTimeout, o.Timeout),
		ResponseHeaderTimeout:  o.Timeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    o.Connections,
		MaxConnsPerHost:        o.Connections,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // answers are small
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		OnProxyConnectResponse: checkProxy,
	}, nil
}

// readRoots returns the certificates of a PEM file, nil (the system's) for no
// file.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := regularfile.Read(file, regularfile.MaxCertificates)
	if err != nil {
		return nil, fmt.Errorf("read CA file %s: %w; name a file that this process may read, or leave the setting out", file, regularfile.Cause(err))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read CA file %s: it holds no certificate; name a file in PEM form (BEGIN CERTIFICATE)", file)
	}
	return roots, nil
}

// renewRoots reads the CA file anew: a CA that is renewed may come into it while this
// runs. On an error the certificates stay as they were.
func (c *Client) renewRoots() error {
	roots, err := readRoots(c.caFile)
	before := c.transport.Load()
	if err != nil || roots == nil || roots.Equal(before.TLSClientConfig.RootCAs) {
		return err
	}
	after := before.Clone()
	after.TLSClientConfig.RootCAs = roots
	if c.transport.CompareAndSwap(before, after) { // else another request was faster
		before.CloseIdleConnections()
	}
	return nil
}

// proxyError says that a proxy refused to pass a request on, or that the
// environment names none that can be used.
type proxyError struct {
	status     int           // of the proxy's answer; 0: the environment is wrong
	retryAfter time.Duration // from the proxy's answer
}

func (e *proxyError) Error() string {
	if e.status == 0 {
		return "the proxy that the environment names has no valid address"
	}
	return "the proxy answered " + StatusText(e.status)
}

// proxyBy returns what finds the proxy of a request: in the environment, unless
// the options say another way. The error of http's function would repeat the
// proxy's address, which may hold a password.
func proxyBy(find func(*url.URL) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (u *url.URL, err error) {
		if find != nil {
			u, err = find(req.URL)
		} else {
			u, err = http.ProxyFromEnvironment(req)
		}
		if err != nil {
			return nil, &proxyError{}
		}
		return u, nil
	}
}

// checkProxy turns a proxy's refusal of CONNECT into an error that can be told
// from an answer of BigPanda.
func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyError{status: resp.StatusCode, retryAfter: retryAfter(resp.Header, time.Now())}
}
