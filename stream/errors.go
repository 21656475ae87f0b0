package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/printable"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of JetStream that nats.go has no names for (nats-server, server/errors.json).
const (
	codeNotLeader      jetstream.ErrorCode = 10009
	codeNoPeers        jetstream.ErrorCode = 10005
	codeNotAvailable   jetstream.ErrorCode = 10008
	codeNoReplicas     jetstream.ErrorCode = 10074
	codeStoreFailed    jetstream.ErrorCode = 10077
	codeBeingProcessed jetstream.ErrorCode = 10158
)

// held makes the error of what NATS does not take now.
func held(reason bigpanda.Reason, hint, format string, args ...any) *bigpanda.Error {
	return &bigpanda.Error{Class: bigpanda.Hold, Reason: reason, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// leastPayload is a limit of the servers, in bytes, that usual alerts keep to.
const leastPayload = 16 << 10

const hintPayload = "set max_payload to 1MB, which is the default, on each server, or for the account"

// tooLarge makes the error of a message that NATS does not take for its size: Refused, so
// that it becomes a dead letter, and Retry where the servers' limit is so low that it is
// at fault, and not the message: then this alert waits until it is raised.
func (c *Conn) tooLarge(format string, args ...any) *bigpanda.Error {
	e := held(bigpanda.ReasonTooLarge, hintPayload, format, args...)
	e.Class = bigpanda.Retry
	if c.maxPayload() >= leastPayload {
		e.Class = bigpanda.Refused
		e.Hint = "make it smaller, such as its details or the number of its attributes, or raise the servers' max_payload or the stream's max_msg_size"
	}
	return e
}

// canceled makes the error of what the caller's context has ended.
func canceled(err error) *bigpanda.Error {
	return &bigpanda.Error{Class: bigpanda.Retry, Reason: bigpanda.ReasonCanceled, Err: err}
}

// unconnected says why there is no connection.
func (c *Conn) unconnected() *bigpanda.Error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	var (
		certificate *tls.CertificateVerificationError
		refused     *net.OpError
	)
	hosts := strings.Join(c.o.URLs, ", ")
	const reach = "check that the servers run and can be reached from here"
	switch {
	case cause == nil:
		return held(bigpanda.ReasonNetwork, reach, "there is no connection to %s", hosts)
	case errors.Is(cause, nats.ErrAuthorization), errors.Is(cause, nats.ErrAuthExpired), errors.Is(cause, nats.ErrAuthRevoked),
		errors.Is(cause, nats.ErrAccountAuthExpired), errors.Is(cause, nats.ErrNkeysNotSupported):
		return held(bigpanda.ReasonToken, "check how this process logs in (creds, nkey, user and password, or token) and the servers' accounts", "NATS at %s refuses the login: %w", hosts, clean(cause))
	case errors.As(cause, &certificate), errors.As(cause, &refused) && refused.Op == "remote error", // an alert of TLS
		errors.Is(cause, nats.ErrTLS), errors.Is(cause, nats.ErrSecureConnWanted), errors.Is(cause, nats.ErrSecureConnRequired):
		return held(bigpanda.ReasonTLS, "check the CA, certificate, key and server name for NATS, and this machine's clock", "there is no trusted connection to NATS at %s: %w", hosts, clean(cause))
	case errors.As(cause, &refused):
		return held(bigpanda.ReasonNetwork, reach, "there is no connection to %s: %w", hosts, clean(refused.Err))
	}
	return held(bigpanda.ReasonNetwork, reach, "there is no connection to %s: %w", hosts, clean(cause))
}

// failure says what an error of NATS means for what was sent to a subject.
func (c *Conn) failure(subject string, err error) *bigpanda.Error {
	var (
		known  *bigpanda.Error
		denied *deniedError
		api    *jetstream.APIError
	)
	stream := c.o.Stream
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &denied):
		return denied.failure()
	case errors.As(err, &api):
		return c.answered(subject, api)
	case errors.Is(err, nats.ErrMaxPayload):
		return c.tooLarge("a message is larger than may be, %d bytes", c.maxPayload())
	case c.isClosed():
		return held(bigpanda.ReasonCanceled, "", "the connection to NATS was closed")
	case errors.Is(err, context.Canceled):
		return canceled(err)
	case !c.nc().IsConnected():
		return c.unconnected()
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return held(bigpanda.ReasonServer, "wait while its servers elect a leader, or check that a majority of them runs", "nobody answers for the stream %s", stream)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrAsyncPublishTimeout), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionClosed):
		return held(bigpanda.ReasonTimeout, "wait while its servers elect a leader, or check that a majority of them runs", "there was no answer in time about the stream %s", stream)
	}
	return held(bigpanda.ReasonServer, "check the servers' log", "NATS did not do it: %w", clean(err))
}

// answered says what an error means that JetStream itself has answered with.
func (c *Conn) answered(subject string, api *jetstream.APIError) *bigpanda.Error {
	o := c.o
	said := clean(api)
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamNotFound:
		return held(bigpanda.ReasonNotFound, "make it, or let this program do so (--nats-create)", "there is no stream for %s: %w", subject, said)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return c.tooLarge("a message is too large for the stream %s: %w", o.Stream, said)
	case codeStoreFailed:
		if strings.Contains(api.Description, "maximum") {
			return held(bigpanda.ReasonFull, "raise its limit (nats stream edit), or shorten how long alerts are kept: nothing is lost meanwhile", "the stream %s is full: %w", o.Stream, said)
		}
	case codeNoPeers, codeNoReplicas:
		return held(bigpanda.ReasonServer, "set --nats-replicas to the number of servers there are, such as 1 for a single one", "NATS cannot keep %d replicas: %w", o.Replicas, said)
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return held(bigpanda.ReasonNotFound, "enable JetStream in the servers' configuration, and for the account", "NATS has no JetStream here: %w", said)
	}
	return held(bigpanda.ReasonServer, "check the servers' log", "NATS does not take it: %w", said)
}

// clean makes the text of an error that another machine has a say in.
func clean(err error) error {
	return &cleanError{printable.Text(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "nats: "), "API error: ")), err}
}

type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.err }

// A deniedError says that this user has not the right to do something.
type deniedError struct {
	subject   string
	subscribe bool // else to publish
	inbox     bool // no answer can come
}

func (e *deniedError) Error() string { return "this user may not " + e.right() }

// right is what is missing, in words of the servers' configuration.
func (e *deniedError) right() string {
	if e.subscribe {
		return "subscribe " + e.subject
	}
	return "publish " + e.subject
}

func (e *deniedError) failure() *bigpanda.Error {
	hint := "allow it in the servers' configuration: " + e.right()
	if e.inbox {
		hint += ", or name the inbox prefix that is allowed (--nats-inbox-prefix)"
	}
	return held(bigpanda.ReasonForbidden, hint, "NATS: %w", e)
}

// denials hands what the servers say of missing rights to whoever waits for an answer,
// which never comes then.
type denials struct {
	prefix string // of inboxes

	mu      sync.Mutex
	inbox   error // answers cannot come at all
	waiting map[*waiter]struct{}
}

type waiter struct {
	subjects []string
	cancel   context.CancelCauseFunc
}

// parseDenial reads what a server says of a missing right (nats-server,
// server/client.go):
//
//	… Permissions Violation for Publish to "SUBJECT"
//	… Permissions Violation for Subscription to "SUBJECT" using queue …
func parseDenial(err error) *deniedError {
	_, text, _ := strings.Cut(err.Error(), "Permissions Violation for ")
	kind, text, _ := strings.Cut(text, ` to "`)
	subject, _, found := strings.Cut(text, `"`)
	if !found || kind != "Publish" && kind != "Subscription" {
		return nil
	}
	return &deniedError{subject: printable.Text(subject), subscribe: kind == "Subscription"}
}

// note takes in an error of the connection, and reports whether it is about rights.
func (d *denials) note(err error) bool {
	denied := parseDenial(err)
	if denied == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if denied.subscribe && strings.HasPrefix(denied.subject, d.prefix+".") {
		denied.subject, denied.inbox = d.prefix+".>", true // what follows is another in each process
		d.inbox = denied
	}
	for w := range d.waiting {
		if denied.inbox || slices.ContainsFunc(w.subjects, func(s string) bool { return strings.HasPrefix(denied.subject+".", s+".") }) {
			w.cancel(denied)
		}
	}
	return true
}

// reconnected says that everything was subscribed to anew.
func (d *denials) reconnected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inbox = nil
}

// watch returns a context that ends when one of the subjects, or one that begins with
// its tokens, may not be published or subscribed to, or when no answer could come;
// context.Cause says so then.
func (d *denials) watch(ctx context.Context, subjects ...string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &waiter{subjects, cancel}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = make(map[*waiter]struct{})
	}
	d.waiting[w] = struct{}{}
	if d.inbox != nil { // it was said since the connection was waited for
		cancel(d.inbox)
	}
	return ctx, func() {
		d.mu.Lock()
		delete(d.waiting, w)
		d.mu.Unlock()
		cancel(nil)
	}
}

// deniedInbox returns why no answer can come, nil if nothing is known.
func (d *denials) deniedInbox() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inbox
}
