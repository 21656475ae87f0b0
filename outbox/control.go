package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"bigpanda-udf/system"
)

// askAgain is how long a Control waits before it asks again.
const askAgain = 20 * time.Millisecond

// Variables for tests, which run on busy machines.
var (
	// controlTimeout is how long a request may take to be read, and its answer
	// to be written.
	controlTimeout = 10 * time.Second
	// patience is how long a Control waits for a process that does not answer:
	// its disk may hang, or it is beginning or ending.
	patience = 5 * time.Second
	// maxRequest bounds a request, in bytes: one alert may be that of thousands of
	// series.
	maxRequest int64 = 64 << 20
	// maxAnswer bounds an answer, in bytes: a page with one alert, the largest there
	// is, whose payload is base64 there.
	maxAnswer = 2 * maxRequest
)

// failed is the answer to what failed.
type failed struct {
	Error string `json:"error"`
}

// A controlServer serves the operations of a Disk: HTTP with JSON over a socket in the
// folder, so that others can ask the process that holds the lock. An operation is a
// path; its input is the body. Each request has a goroutine of net/http's, which takes
// Disk.mu in Disk.run alone.
type controlServer struct {
	http    http.Server
	serving sync.WaitGroup
	disk    *Disk
}

// serveControl begins to serve an outbox that is not closed, with Disk.mu held or before
// others have it. Where that is not possible the log says so: delivery does not need it.
func serveControl(d *Disk) *controlServer {
	s := &controlServer{disk: d}
	if d.closed || d.options.noControl {
		return s
	}
	l, err := system.ListenSocket(filepath.Join(d.store.folder, controlName))
	if err != nil {
		d.log.Warn("the outbox cannot be asked about while this process lives: \"bigpanda-udf outbox\" will not see into it",
			"folder", d.store.folder, "error", fmt.Errorf("make control socket: %w", err))
		return s
	}
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: controlTimeout, ReadTimeout: controlTimeout, WriteTimeout: controlTimeout,
		IdleTimeout: controlTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	s.serving.Go(func() { s.http.Serve(l) })
	return s
}

// close stops serving. The socket stays: it may be another process's by now. Operations
// that are under way find the outbox closed, or in another folder.
func (s *controlServer) close() {
	s.http.Close()
	s.serving.Wait()
}

// ServeHTTP answers one request.
func (s *controlServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.Encode(v) // nobody is left to hear of an error
	}
	op, ok := operations[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		reply(http.StatusNotFound, failed{"there is no such operation"})
		return
	}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var do func(*target) (any, error)
	if err == nil {
		do, err = op.decode(request)
	}
	if err != nil {
		reply(http.StatusBadRequest, failed{err.Error()})
		return
	}
	switch out, err := s.disk.run(op, do); {
	case errors.Is(err, ErrClosed):
		reply(http.StatusServiceUnavailable, failed{err.Error()})
	case err != nil:
		reply(http.StatusInternalServerError, failed{err.Error()})
	default:
		reply(http.StatusOK, out)
	}
}

// A Control asks one outbox, and changes what it holds: over its socket while a
// process works on it, and in its database otherwise. Each call may find it in
// another of these states.
type Control struct {
	folder string
	http   http.Client
	filter func([]byte) []byte
}

// NewControl returns the control of the outbox in a folder. What comes from
// there goes through filter, if there is one, before it is read.
func NewControl(folder string, filter func([]byte) []byte) *Control {
	return &Control{folder: folder, filter: filter, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return system.DialSocket(ctx, filepath.Join(folder, controlName))
		},
		DisableKeepAlives:  true,
		DisableCompression: true,
	}}}
}

// ask asks the process, or the database. It asks again while one process is
// leaving, or another has not begun to listen.
func (c *Control) ask(ctx context.Context, op served, request []byte, into any) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := c.askProcess(bounded, op, request, into)
		if system.NobodyListens(err) {
			err = c.askDatabase(op, request, into)
		}
		again := isPassing(err)
		if again {
			select {
			case <-time.After(askAgain):
				continue
			case <-bounded.Done():
			}
		}
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if again || err != nil && bounded.Err() != nil {
			return fmt.Errorf("the process that works on it did not answer within %s: its disk may hang, or it runs an older program; try again", patience)
		}
		return err
	}
}

// askProcess asks the process that works on the outbox.
func (c *Control) askProcess(ctx context.Context, op served, request []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://outbox/"+op.name, bytes.NewReader(request))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without an address that means nothing to anybody
		}
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case int64(len(answer)) > maxAnswer:
		return fmt.Errorf("the process that works on it answers with more than %d MiB, as this program never does: see what listens at %s in its folder", maxAnswer>>20, controlName)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return c.read(answer, into)
	case http.StatusServiceUnavailable:
		return ErrClosed
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return errors.New("the process that works on it is an older program, which does not know this: reload its task")
	}
	var f failed
	if c.read(answer, &f) != nil || f.Error == "" {
		f.Error = resp.Status
	}
	return errors.New(f.Error)
}

// askDatabase does the operation here.
func (c *Control) askDatabase(op served, request []byte, into any) error {
	do, err := op.decode(request)
	if err != nil {
		return err
	}
	out, err := runIdle(c.folder, op, do)
	if err != nil {
		return err
	}
	answer, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return c.read(answer, into)
}

func (c *Control) read(answer []byte, into any) error {
	if c.filter != nil {
		answer = c.filter(answer)
	}
	return json.Unmarshal(answer, into)
}

// isPassing tells whether the answer may be another one soon: a process begins, ends,
// or has ended while it was asked.
func isPassing(err error) bool {
	for _, passing := range []error{errInUse, ErrClosed, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}
