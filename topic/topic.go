// Package topic takes the alert events that Kapacitor's post handler sends: of a
// topic, in the place of a handler of kind bigpanda, with no TICKscript touched.
//
//	alert node ─▶ topic ─▶ post handler ══HTTP══▶ Server ─▶ udf.Handler ─▶ outbox
//
// It owns what arrives by HTTP, who may send it and what is answered; what such a
// body says; and the folder of handler files, by which a handler has its options.
// Each handler is a use of the function: what is told of an event, its levels, outbox
// and delivery are those of package udf and of who opens it.
//
// Kapacitor sends a handler's events one after the other and never again: what is
// not answered with 2xx, it drops. So an answer of 4xx says that the request itself
// is wrong, and 503 that the same request may be taken another time.
//
// The package knows no settings: Options say how to make what it needs.
package topic

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"bigpanda-udf/udf"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Path is where events are posted: a handler's name follows.
const Path = "/alerts/"

// Bounds of what is held at a time.
const (
	// maxBody is for a batch of many points; an event of a stream has about 1 KB.
	maxBody = 8 << 20
	// maxBodies is how much of bodies is held at a time, but for those of smallBody:
	// no event of a stream waits for batches that are sent slowly.
	maxBodies = 64 << 20
	smallBody = 64 << 10
	// maxConnections are taken at a time; one that is idle is closed when the time
	// for its header is over.
	maxConnections = 1024
	maxHeader      = 16 << 10
)

// A times is how long each phase may take.
type times struct {
	header, read, write time.Duration // of a request; header of TLS, too
	stop                time.Duration // for the events that are on their way then
	look                time.Duration // how often the folder is looked at
}

// Kapacitor waits for 30 s for its answer.
var defaultTimes = times{header: 5 * time.Second, read: 20 * time.Second, write: 30 * time.Second, stop: 2 * time.Second, look: 2 * time.Second}

// Options are what a Server is made of.
type Options struct {
	// Defaults are the options of a handler without a file. Required.
	Defaults *udf.Defaults
	// Dir is the folder of the handler files; "" for none. Read reads one.
	Dir  string
	Read func(path string) (udf.Defaults, error)
	// NewHandler makes what a handler is, which delivers from its Init on until end is
	// called, as for a connection of the daemon.
	NewHandler func(d udf.Defaults, log *slog.Logger) (h *udf.Handler, end func())
	// Access says who may post.
	Access Access
	// Log gets what an operator should know. Required.
	Log *slog.Logger
}

// Server takes events. It is an http.Handler, and safe for concurrent use.
type Server struct {
	options  Options
	times    times
	log      *slog.Logger
	folder   *folder
	bodies   *semaphore.Weighted
	said     rate.Sometimes // of what is refused
	stopping atomic.Bool
	access   *guard

	mu   sync.Mutex
	uses map[string]*use
}

// New returns a Server, which has looked at the handler files and the certificate.
func New(o Options) *Server {
	s := &Server{
		options: o, times: defaultTimes, log: o.Log, bodies: semaphore.NewWeighted(maxBodies), said: rate.Sometimes{First: 20, Interval: time.Second},
		access: &guard{Access: o.Access, log: o.Log}, uses: make(map[string]*use),
		folder: &folder{dir: o.Dir, read: o.Read, log: o.Log},
	}
	s.folder.look()
	if o.Access.Certificate != "" {
		s.access.certificate(nil) // so that there is one before, whatever comes
	}
	return s
}

// Serve serves until ctx is done or the listener fails, and then until the events
// that are on their way are answered. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var open sync.WaitGroup // connections
	web := &http.Server{
		Handler: s, ReadHeaderTimeout: s.times.header, ReadTimeout: s.times.read, WriteTimeout: s.times.write, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Done()
			}
		},
	}
	// Kapacitor makes a new client for each event, whose connection would stay open
	// at both ends for 90 s (services/httppost/service.go, http/http.go).
	web.SetKeepAlivesEnabled(false)
	limited := netutil.LimitListener(l, maxConnections)
	if s.access.Certificate != "" {
		limited = tls.NewListener(limited, &tls.Config{GetCertificate: s.access.certificate, MinVersion: tls.VersionTLS12})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	workers.Go(func() { s.lookOn(ctx) })
	context.AfterFunc(ctx, func() {
		s.stopping.Store(true)
		l.Close()
	})
	err := web.Serve(limited)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	workers.Wait()
	// Not Shutdown, which closes what is just sending its event without a word.
	answered := make(chan struct{})
	go func() {
		open.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-time.After(s.times.stop):
		web.Close()
	}
	s.close()
	if err != nil {
		err = fmt.Errorf("take events at %s: %w", l.Addr(), err)
	}
	return err
}

// lookOn looks at the folder, and after each handler, until ctx is done.
func (s *Server) lookOn(ctx context.Context) {
	again := time.NewTicker(s.times.look)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		s.folder.look()
		for _, u := range s.all() {
			u.tick()
		}
	}
}

// use returns the handler of a name.
func (s *Server) use(name string) (*use, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uses[name]
	if u == nil {
		if len(s.uses) == maxUses {
			return nil, errTooManyUses
		}
		u = &use{server: s, name: name}
		s.uses[name] = u
	}
	return u, nil
}

func (s *Server) all() (all []*use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uses {
		all = append(all, u)
	}
	return all
}

// close ends all deliveries, side by side: one out of memory may take its time.
func (s *Server) close() {
	var closing sync.WaitGroup
	for _, u := range s.all() {
		closing.Go(u.close)
	}
	closing.Wait()
}
