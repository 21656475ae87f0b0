package bigpanda

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"bigpanda-udf/printable"
)

// unanswered makes the error of a request that got no answer, or only a part of
// one. ctx is the caller's.
func (c *Client) unanswered(ctx context.Context, err error) *Error {
	e := &Error{Class: Retry, Err: errors.New(oneLine(c.redact(stableText(err))))}
	is := func(class Class, reason Reason, hint string) {
		e.Class, e.Reason, e.Hint = class, reason, hint
	}
	var (
		proxy  *proxyError
		record tls.RecordHeaderError
	)
	switch {
	case ctx.Err() != nil:
		is(Retry, ReasonCanceled, "")
		e.Err = fmt.Errorf("the request was broken off: %w", ctx.Err())
	case errors.As(err, &proxy):
		c.refusedByProxy(e, proxy)
	case errors.As(err, &record):
		is(Hold, ReasonTLS, "check the URL and the proxy, if there is one: at "+c.url.Host+" something other than HTTPS answers")
	case isTLS(err):
		is(Hold, ReasonTLS, "check the URL and this machine's clock, and if a private CA signs for "+c.url.Host+", name its certificate with --ca-file")
	case isTimeout(err):
		is(Retry, ReasonTimeout, "check that "+c.url.Host+" can be reached from here, through the proxy if HTTPS_PROXY names one")
		if errors.Is(err, errTimeout) || errors.Is(err, context.DeadlineExceeded) {
			// Not wrapped: the caller would take it for the end of its context.
			e.Err = fmt.Errorf("no complete answer of %s within %v", c.url.Host, c.timeout)
		}
	default:
		is(Retry, ReasonNetwork, "check that "+c.url.Host+" can be reached from here, through the proxy if HTTPS_PROXY names one")
	}
	return e
}

// refusedByProxy fills in the error for a proxy that did not pass the request
// on.
func (c *Client) refusedByProxy(e *Error, proxy *proxyError) {
	e.RetryAfter = proxy.retryAfter
	e.Class, e.Reason = Hold, ReasonProxy
	switch status := proxy.status; {
	case status == 0:
		e.Hint = "set HTTPS_PROXY to an address such as http://HOST:PORT"
	case status == http.StatusProxyAuthRequired:
		e.Hint = hintProxyLogin
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		// Most likely the proxy cannot reach BigPanda at the moment.
		e.Class = Retry
		e.Hint = "check that the proxy that HTTPS_PROXY names can reach " + c.url.Host
	default:
		e.Hint = "let the proxy that HTTPS_PROXY names pass CONNECT to " + c.url.Host
	}
}

// isTLS reports whether no trusted connection can be made. What may pass by
// itself, such as a connection that breaks in the handshake, is not meant.
func isTLS(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		alert       *net.OpError // of the other side
	)
	if errors.As(err, &certificate) || errors.As(err, &alert) && alert.Op == "remote error" {
		return true
	}
	// The remaining errors of a handshake, such as no common version, have no
	// type.
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	text := err.Error()
	return strings.HasPrefix(text, "tls: ") && !strings.Contains(text, "shutdown") && !strings.Contains(text, "closed")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, errTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// stableText returns the text of a transport's error without the port of this side,
// which is another one in each attempt.
func stableText(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		text := op.Op
		if op.Net != "" {
			text += " " + op.Net
		}
		if op.Addr != nil {
			text += " " + op.Addr.String()
		}
		return text + ": " + stableText(op.Err)
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		switch {
		case dns.IsNotFound:
			return "look up " + dns.Name + ": no such host"
		case dns.IsTimeout:
			return "look up " + dns.Name + ": no answer in time"
		}
		return "look up " + dns.Name + ": no usable answer"
	}
	return err.Error()
}

// maxText is how long a text may be that another machine has a say in, in
// bytes: it becomes a part of a log's line.
const maxText = 400

func oneLine(text string) string { return shorten(printable.Text(text), maxText) }

// shorten cuts a text at a number of bytes, between two characters.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}
