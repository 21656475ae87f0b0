package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	// controlTimeout is how long a request may take to be read, and its answer
	// to be written.
	controlTimeout = 10 * time.Second
	// maxRequest bounds a request, in bytes: one alert may be that of thousands of
	// series.
	maxRequest = 64 << 20

	// patience is how long a Control waits for a process that does not answer:
	// its disk may hang, or it is beginning or ending.
	patience = 5 * time.Second
	askAgain = 20 * time.Millisecond
)

// A controlServer serves the operations of a live outbox: HTTP with JSON over a
// socket in its folder, so that others can ask the process that holds the lock.
// An operation is a path; its input is the body, which one without input has not.
type controlServer struct {
	server http.Server
	folder string
	served chan struct{} // closed when the server has ended
}

// failed is the answer to what failed.
type failed struct {
	Error string `json:"error"`
}

// serveControl begins to serve. It returns nil, and the log says so, where that
// is not possible: delivery does not need it.
func serveControl(d *Disk) *controlServer {
	l, err := listenControl(d.folder)
	if err != nil {
		d.log.Warn("the outbox cannot be asked about while this process lives: \"bigpanda-udf outbox\" will not see into it",
			"folder", d.folder, "error", err)
		return nil
	}
	s := &controlServer{served: make(chan struct{}), folder: d.folder}
	s.server = http.Server{
		Handler:           http.HandlerFunc(d.serve),
		ReadHeaderTimeout: controlTimeout, ReadTimeout: controlTimeout, WriteTimeout: controlTimeout,
		IdleTimeout: controlTimeout, MaxHeaderBytes: 16 << 10,
	}
	go func() {
		defer close(s.served)
		s.server.Serve(l)
	}()
	return s
}

// close stops serving and removes the socket. Operations that are under way find
// the outbox closed.
func (s *controlServer) close() {
	if s == nil {
		return
	}
	removeControl(s.folder)
	s.server.Close()
	<-s.served
}

// serve answers one request.
func (d *Disk) serve(w http.ResponseWriter, r *http.Request) {
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
	switch out, err := d.run(op, do); {
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
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dialControl(ctx, folder) },
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
		again, err := c.askProcess(bounded, op, request, into)
		if nobodyListens(err) {
			again, err = c.askDatabase(op, request, into)
		}
		if err == nil {
			return nil
		}
		if again {
			select {
			case <-time.After(askAgain):
				continue
			case <-bounded.Done():
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case again || bounded.Err() != nil:
			return fmt.Errorf("the process that works on it did not answer within %s: its disk may hang, or it runs an older program; try again", patience)
		}
		return err
	}
}

// askProcess asks the process that works on the outbox. again says that the
// answer may be another one soon.
func (c *Control) askProcess(ctx context.Context, op served, request []byte, into any) (again bool, err error) {
	method := http.MethodPost
	if request == nil {
		method = http.MethodGet // as earlier releases have it for the status
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://outbox/"+op.name, bytes.NewReader(request))
	if err != nil {
		return false, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without an address that means nothing to anybody
		}
		return ended(err), err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return ended(err), err
	}
	if resp.StatusCode == http.StatusOK {
		return false, c.read(answer, into)
	}
	var f failed
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed:
		f.Error = "the process that works on it is an older program, which does not know this: reload its task"
	case c.read(answer, &f) != nil || f.Error == "":
		f.Error = resp.Status
	}
	return resp.StatusCode == http.StatusServiceUnavailable, errors.New(f.Error)
}

// askDatabase does the operation here.
func (c *Control) askDatabase(op served, request []byte, into any) (again bool, err error) {
	do, err := op.decode(request)
	if err != nil {
		return false, err
	}
	out, err := runIdle(c.folder, op, do)
	if err != nil {
		return errors.Is(err, errInUse), err
	}
	answer, err := json.Marshal(out)
	if err != nil {
		return false, err
	}
	return false, c.read(answer, into)
}

func (c *Control) read(answer []byte, into any) error {
	if c.filter != nil {
		answer = c.filter(answer)
	}
	return json.Unmarshal(answer, into)
}

// ended tells whether an error is that of a process that ended while it was
// asked.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
