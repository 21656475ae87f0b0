// Package stream is an outbox for many hosts: a stream of NATS JetStream, into which
// each of them publishes what its own outbox holds, and from which one of them
// delivers to BigPanda.
//
//	host A: outbox ─▶ udf.Sender ─▶ Publisher ─┐    NATS, three servers    ┌─▶ udf.Sender ─▶ BigPanda
//	                                           ├─▶ alerts, dead letters ─▶ Deliverer
//	host B: outbox ─▶ udf.Sender ─▶ Publisher ─┘   lease: who, up to where │
//	                                                                       └─▶ dead letters
//
// It owns the stream's names and settings, the form of a message, and who delivers.
// It changes nothing of how an outbox is sent: a [Publisher] stands where the client of
// BigPanda does, and a [Deliverer] has a Sender of its own.
//
// Order. The changes of one alert are stored in the order in which they are published,
// also while the stream's leader changes: a Publisher never has two of them under way.
// Those of two hosts are ordered by arrival, and by their timestamps for BigPanda. The
// Deliverer keeps the stream's order for each alert.
//
// Durability. What the Publisher has acknowledged is on the disks of a majority of the
// stream's replicas (if the servers sync, see Check), and stays there for
// Options.MaxAge, delivered or not. What it has not acknowledged stays in the outbox of
// its host. Equal alerts that come within Options.Window of each other are stored once
// (P10), whichever hosts they come from.
//
// Errors. What NATS does not take is held and tried again, and never given up, but for
// an alert that is too large for a message: it is refused (bigpanda.Refused), and a dead
// letter of its host. All errors are *bigpanda.Error; they say which right or setting is
// missing.
//
// The parts:
//
//	stream.go, login.go     the options, and the connection, which is kept up
//	setup.go, errors.go     requests to the servers, what is missing there, what errors mean
//	message.go              an alert as a message (P10)
//	publisher.go            from the outbox of a host into the stream (P5: in order)
//	deliverer.go            a term after the other, for as long as the lease is had
//	lease.go, record.go     who delivers, and up to where: fenced by compare-and-set (P5)
//	queue.go, progress.go   what of the stream is in memory, and undelivered (P5, P7)
//	reader.go, verify.go    from the stream into the queue; whether it is still the same
//	deadletter.go, purge.go what is refused, and what is delivered and old
//	handover.go, status.go  what deliverers tell of themselves, and the stream of all
//	check.go, check_rights.go
package stream

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bigpanda-udf/retry"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// DefaultStream is the stream's name.
	DefaultStream = "BIGPANDA"
	// DefaultReplicas outlast the loss of any one server.
	DefaultReplicas = 3
	// DefaultMaxAge outlasts a weekend at which nobody corrects why an app key is held.
	DefaultMaxAge = 7 * 24 * time.Hour
	// DefaultWindow is how far behind the others a host may be and still be known to
	// tell nothing new. The servers keep 131 bytes for each message of it in memory.
	DefaultWindow = 24 * time.Hour
	// DefaultMaxBytes is room for some seven million alerts of 600 bytes.
	DefaultMaxBytes = 4 << 30
	// DefaultLeaseTTL is how long nobody delivers, at most, after a deliverer has died.
	DefaultLeaseTTL = 5 * time.Second
)

const (
	// A partition shows after two pings without an answer.
	pingInterval = 2 * time.Second
	maxPings     = 2
	// dialTimeout is how long one server may take to answer.
	dialTimeout = 2 * time.Second
	// reconnectWait is how long to wait when no server could be reached.
	reconnectWait   = time.Second
	reconnectJitter = 500 * time.Millisecond
)

// Options say how to reach NATS, and what the stream is like. Zero values mean the
// defaults.
type Options struct {
	URLs []string // nats://HOST:4222 or tls://HOST:4222, without a user or password

	// At most one way to log in. The files are read anew at each connection.
	CredsFile          string // of a user: JWT and seed
	NKeyFile           string // the seed of a user's nkey
	User, PasswordFile string
	TokenFile          string

	CAFile            string // PEM certificates to trust instead of the system's
	CertFile, KeyFile string // PEM, of this client
	ServerName        string // in the servers' certificates, if not the host of the URL

	InboxPrefix string // of the subjects of answers; _INBOX if empty

	Stream   string        // DefaultStream if empty; the first token of all subjects, too
	Replicas int           // of what is made; DefaultReplicas if 0
	Create   bool          // make what is missing
	MaxAge   time.Duration // how long alerts are kept; DefaultMaxAge if 0
	Window   time.Duration // in which equal alerts are stored once; DefaultWindow if 0
	MaxBytes int64         // of the stream, on each server; DefaultMaxBytes if 0
	LeaseTTL time.Duration // DefaultLeaseTTL if 0

	Name string // of the connection, as the servers show it
	Log  *slog.Logger
}

// A stream's name is also one of a bucket, of subjects' tokens and of folders.
const (
	maxStreamName    = 64
	streamCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)

// withDefaults checks the options. An error is one sentence that ends with the hint.
func (o Options) withDefaults() (Options, error) {
	o.Stream = cmp.Or(o.Stream, DefaultStream)
	o.Replicas = cmp.Or(o.Replicas, DefaultReplicas)
	o.MaxAge = cmp.Or(o.MaxAge, DefaultMaxAge)
	o.Window = cmp.Or(o.Window, DefaultWindow)
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	o.LeaseTTL = cmp.Or(o.LeaseTTL, DefaultLeaseTTL)
	if len(o.URLs) == 0 {
		return o, errors.New("nats url: there is none; give those of all servers, such as nats://HOST:4222")
	}
	for _, text := range o.URLs {
		if err := checkURL(text); err != nil {
			return o, err
		}
	}
	inbox := "." + o.InboxPrefix + "."
	switch {
	case len(o.Stream) > maxStreamName || strings.Trim(o.Stream, streamCharacters) != "":
		return o, errors.New("stream name: it has up to 64 letters, digits, - and _; give one like " + DefaultStream)
	case o.Replicas < 1 || o.Replicas > 5:
		return o, fmt.Errorf("stream replicas: there are 1 to 5, not %d; give 3, or 1 for a single server", o.Replicas)
	case o.Window < 100*time.Millisecond || o.MaxAge < 100*time.Millisecond || o.MaxBytes < 0:
		return o, errors.New("use NATS: the window and the age are 100 ms at least, and the size is not negative; leave them out for the defaults")
	case o.MaxAge < o.Window:
		return o, fmt.Errorf("use NATS: alerts are kept for %v, which is shorter than the window of %v; make it longer, so that a held app key loses none", o.MaxAge, o.Window)
	case o.LeaseTTL < 500*time.Millisecond:
		return o, fmt.Errorf("use NATS: a lease of %v ends between two renewals; give 1s or more", o.LeaseTTL)
	case o.InboxPrefix != "" && (strings.Contains(inbox, "..") || strings.ContainsAny(inbox, "*> \t\r\n")):
		return o, errors.New("inbox prefix: it is no subject; give one like _INBOX_kapacitor")
	case o.Log == nil:
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// checkURL checks the URL of a server. Its errors do not repeat it: whoever puts a
// secret where it does not belong shall not find it in a log.
func checkURL(text string) error {
	fail := func(why string) error {
		return fmt.Errorf("nats url: %s; a URL looks like nats://HOST:4222 or tls://HOST:4222", why)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fail("a URL cannot be parsed")
	case u.Scheme != "nats" && u.Scheme != "tls":
		return fail("a URL does not begin with nats:// or tls://")
	case u.User != nil:
		return fail("a URL has a user or password, which would end up in logs: name a file that holds it instead")
	case u.Hostname() == "":
		return fail("a URL has no host")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return fail("a URL goes on behind the port")
	}
	return nil
}

// Subjects and names that follow from the stream's.
func (o Options) alertSubjects() string { return o.Stream + ".a.*" }
func (o Options) deadSubjects() string  { return o.Stream + ".d.*" }
func (o Options) deadStream() string    { return o.Stream + "_DEAD" }
func (o Options) leaseBucket() string   { return o.Stream + "_LEASE" }
func (o Options) leaseStream() string   { return "KV_" + o.leaseBucket() }
func (o Options) leaseSubject() string  { return "$KV." + o.leaseBucket() + "." + leaseKey }

// A Conn is a connection to the servers, which is made, and made again, by itself.
// Its methods may be called concurrently.
type Conn struct {
	o       Options      // with defaults
	options nats.Options // of each connection
	log     *slog.Logger
	denials denials

	apart   retry.LogLimiter // the connection is gone
	flushed atomic.Uint64    // the last connection on which something was answered
	payload atomic.Int64     // how large a message might be before this connection

	mu        sync.Mutex // guards what follows
	jetStream jetstream.JetStream
	closed    bool  // on purpose
	cause     error // why there is no connection, as far as it is known
}

// js returns the connection that is in use. nats.go makes it again itself, until a server
// ends it with an error that nats.go takes for final: then there is another.
func (c *Conn) js() jetstream.JetStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jetStream
}

func (c *Conn) nc() *nats.Conn { return c.js().Conn() }

// maxPayload is how large a message may be, in bytes, as far as it is known: a connection
// that is not made yet knows nothing.
func (c *Conn) maxPayload() int64 { return cmp.Or(c.nc().MaxPayload(), c.payload.Load()) }

// isClosed reports whether Close was called.
func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// errFirst fails the first attempt to connect, which would have to be waited for.
var errFirst = errors.New("not yet tried")

// Connect checks the options and the files that they name. It waits for no server: the
// connection is made, and kept up, from then on. An error is one sentence that ends
// with the hint.
func Connect(o Options) (*Conn, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Conn{o: o, log: o.Log, denials: denials{prefix: cmp.Or(o.InboxPrefix, "_INBOX")}}
	login, err := o.login()
	if err != nil {
		return nil, err
	}
	secure, err := o.tls()
	if err != nil {
		return nil, err
	}
	options := append(append(login, secure...),
		nats.Name(o.Name),
		nats.SkipHostLookup(), // the dialer does it, within its time
		nats.Timeout(dialTimeout),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // the servers' configuration may be corrected
		nats.ReconnectBufSize(-1),   // what waits is in the outbox, and in order there
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPings),
		nats.ConnectHandler(c.connected), nats.ReconnectHandler(c.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.because(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.because(err) }),
		nats.ClosedHandler(c.ended),
		nats.ErrorHandler(c.failed),
	)
	if o.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	// Once: some read files, which may be away for a moment when they are renewed.
	c.options = nats.GetDefaultOptions()
	c.options.Servers = o.URLs
	for _, set := range options {
		if err := set(&c.options); err != nil {
			return nil, fmt.Errorf("use NATS: %w; correct the settings", err)
		}
	}
	if err := c.connect(); err != nil {
		return nil, fmt.Errorf("use NATS: %w; correct the settings", err)
	}
	_ = c.nc().ForceReconnect() // else it waits first; no error but that it is closed
	return c, nil
}

// connect puts a new connection in use, which is made a reconnectWait later.
func (c *Conn) connect() error {
	dialer := &lateDialer{Dialer: net.Dialer{Timeout: dialTimeout}}
	options := c.options
	options.CustomDialer = dialer
	options.CustomReconnectDelayCB = func(int) time.Duration {
		if dialer.ready.Load() {
			c.notReached(c.nc().LastError())
		}
		return reconnectWait + rand.N(reconnectJitter)
	}
	nc, err := options.Connect()
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithPublishAsyncMaxPending(math.MaxInt)) // a Publisher has a limit of its own
	if err != nil {
		nc.Close()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		nc.Close()
		return nil
	}
	c.jetStream = js
	c.flushed.Store(0)
	dialer.ready.Store(true)
	return nil
}

// ended is told that a connection is closed: if not on purpose, by nats.go, which takes
// some errors of a server for final.
func (c *Conn) ended(nc *nats.Conn) {
	if c.isClosed() {
		return
	}
	c.notReached(nc.LastError())
	c.payload.Store(nc.MaxPayload())
	_ = c.connect() // no error: the options were good before
}

// Close ends the connection, and whatever uses it.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.nc().Close()
}

// A lateDialer fails at once until it is ready.
type lateDialer struct {
	net.Dialer
	ready atomic.Bool
}

func (d *lateDialer) Dial(network, address string) (net.Conn, error) {
	if !d.ready.Load() {
		return nil, errFirst
	}
	return d.Dialer.Dial(network, address)
}

func (c *Conn) connected(nc *nats.Conn) {
	c.denials.reconnected()
	c.mu.Lock()
	c.cause = nil
	c.mu.Unlock()
	if c.apart.Over() {
		c.log.Info("NATS is reached again", "server", nc.ConnectedUrlRedacted())
	}
}

// because is told why a connection has ended, or could not be made to one server.
func (c *Conn) because(err error) {
	if err == nil || errors.Is(err, errFirst) || errors.Is(err, nats.ErrNoServers) {
		return // it was closed on purpose, or says nothing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause = err
}

// notReached is told that no server could be reached, and the error of one that did
// answer: nats.go tells because of those only that did not.
func (c *Conn) notReached(err error) {
	c.because(err)
	c.mu.Lock()
	tried := c.cause != nil
	c.mu.Unlock()
	if why := c.unconnected(); tried && c.apart.Met(why.Reason) {
		c.log.Warn("NATS is not reached, and tried again", "reason", why.Reason, "error", why)
	}
}

// failed is told what a server says of what was sent to it.
func (c *Conn) failed(_ *nats.Conn, _ *nats.Subscription, err error) {
	if !c.denials.note(err) {
		c.log.Debug("NATS says", "error", clean(err))
	}
}
