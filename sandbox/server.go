// Package sandbox is a BigPanda to work against: an HTTP server that takes
// alerts as BigPanda documents its Alerts API, keeps a record of what came,
// and fails on demand. It knows nothing of the other parts of this program: what an
// alert's identity is, it works out by itself from the documentation, so that
// tests can hold the two against each other.
//
// Where the documentation is silent, the sandbox takes the harsher reading,
// and says so in the reason of its answer. What it says of a payload is a rule of
// rules.go.
//
// # The API
//
// POST /data/v2/alerts takes one alert (an object with app_key, status and
// properties) or several ({"app_key": …, "alerts": […]}), and so does the Open
// Integration Manager's POST /oim/api/alerts. The token is a bearer token, or
// ?access_token=…; the Open Integration Manager also takes it as the header
// X-Auth-Token, and the app key as ?app_key=… or X-App-Key where none is in the
// body (reference/oim-alerts). The answers:
//
//	201  taken; a small JSON body
//	204  every alert of the request is an exact duplicate; no body
//	400  not JSON, or not as documented: {"error": "the reason"}
//	408  a body that does not come within 30 seconds
//	401  no token, or not the one in Options.Token
//	404  another path under /data/ or /oim/, or an app key not in Options.AppKeys
//	405  another method
//	413  a body over 6 MB
//
// # Control
//
// Everything else is for whoever runs the sandbox: GET / lists it (see routes), and
// gives a browser the console. All of it speaks JSON; a failure is {"error": "the
// reason"}. In a list each element is on a line of its own; ?since=N is only what has
// a higher seq, ?limit=N at most so many.
//
// The console, in console/, is a page that is told of changes while it is open. A view
// of it is named in index.html, main.js and layout.css. It needs
// nothing but this server, which tells the browser to let it have nothing else.
//
// Only requests that name this machine in their Host header are answered; others
// get a 403, and are in no record. Control has but the console's address for a web
// page of another origin. So a browser on the same machine cannot be used to look
// in or to reach in.
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"bigpanda-udf/hostcheck"
)

// Where the Alerts API and the Open Integration Manager are on the sandbox, as
// on BigPanda.
const (
	Path    = "/data/v2/alerts"
	OIMPath = "/oim/api/alerts"
)

// Defaults of Options.Keep. A kept event takes about 1 KB, a kept request at
// most about 4 KB: some 140 MB when both are full. Of events with long texts
// fewer are kept: 256 MiB of them, and 64 MiB of incidents.
const (
	DefaultKeepEvents   = 100_000
	DefaultKeepRequests = 10_000
)

// Options says how a Server behaves. The zero value is of use.
type Options struct {
	// Token is the only token accepted; "" accepts any that is not empty.
	Token string
	// AppKeys are the only app keys accepted; none accepts any.
	AppKeys []string
	// Faults are in force from the start. New panics if they are invalid;
	// what a user wrote goes through ParseFaults first.
	Faults Faults
	// Keep is how many events and how many requests are remembered, the
	// newest ones. Duplicates are recognised among those. 0: DefaultKeepEvents
	// and DefaultKeepRequests.
	Keep int
	// Hosts are further names that a request may have in its Host header, besides
	// loopback and the address that it was sent to.
	Hosts []string
	// Demo: the console is that of a demo. It shows the worst incident until its
	// user chooses one, and does not advise to run the demo.
	Demo bool
	// OnRequest, if set, is called once for each request to the API, after
	// it is in the record and its answer was handed to the connection. Calls
	// come from many goroutines at once, and each holds up its own request.
	OnRequest func(Request)
}

// Server is the sandbox, an http.Handler. It has no goroutines of its own and
// is safe for use by many.
type Server struct {
	options Options
	record  record
	faults  faultState
	control http.Handler

	pages atomic.Int64 // that are told of changes

	now         func() time.Time // of the record and of the rate limit; time.Now, but in tests
	bodyTimeout time.Duration    // the constant, but in tests
}

// New returns a Server with an empty record.
func New(o Options) *Server {
	s := &Server{options: o, now: time.Now, bodyTimeout: bodyTimeout}
	s.record.init(cmp.Or(o.Keep, DefaultKeepEvents), cmp.Or(o.Keep, DefaultKeepRequests))
	s.faults.closed, s.faults.close = context.WithCancel(context.Background())
	s.faults.lift = func() {}
	if err := s.SetFaults(o.Faults); err != nil {
		panic("sandbox.New: " + err.Error())
	}
	s.control = s.newControl()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !hostcheck.Names(r, s.options.Hosts, nil) {
		setHeaders(w.Header())
		fail(w, http.StatusForbidden, errors.New("the Host header names neither loopback nor the address that the sandbox listens on: send to one of these, or start it with --listen NAME:PORT"))
		return
	}
	if r.ContentLength != 0 {
		// Whether somebody reads the body or the http.Server throws it away. An error is
		// that of a w that is no connection.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTimeout))
	}
	if strings.HasPrefix(r.URL.Path, "/data/") || strings.HasPrefix(r.URL.Path, "/oim/") {
		s.serveAPI(w, r)
		return
	}
	s.control.ServeHTTP(w, r)
}

// SetFaults puts f in force in place of what was, and starts its count. A
// request that hangs, or waits for its latency, goes on as though it came now.
func (s *Server) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	s.faults.set(f)
	s.record.poke()
	return nil
}

// Faults returns what is in force, with what is left of its count. Once the
// count is used up that is the zero value.
func (s *Server) Faults() Faults {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return s.faults.faults
}

// Events returns the alerts taken that are still kept, in order of arrival.
func (s *Server) Events() []Event { return after(&s.record, &s.record.events, 0, 0) }

// Requests returns the requests to the API that are still kept, in the order
// in which they were answered (or given up).
func (s *Server) Requests() []Request { return after(&s.record, &s.record.requests, 0, 0) }

// Reset empties the record and clears the faults, which lets go of requests
// that hang. Sequence numbers go on, so a reader with ?since=N stays right.
func (s *Server) Reset() {
	s.record.reset()
	_ = s.SetFaults(Faults{}) // none are none that could be wrong
}

// Close lets go of requests that hang and of pages that are told of changes,
// and has none hang or wait from now on; call it before the http.Server's
// Close or Shutdown. It may be called twice.
func (s *Server) Close() { s.faults.close() }
