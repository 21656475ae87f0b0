package outbox

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The control of an outbox is HTTP with JSON over a socket in its folder, so
// that others can ask the process that holds the lock:
//
//	GET  /status   Status
//	GET  /queued   Page, by after, limit and payload
//	GET  /dead     Page, the same
//	GET  /levels   levelPage, by after: what a successor starts from
//	POST /retry    Selection → Outcome
//	POST /drop     Selection → Outcome, by kind
//	POST /amend    list of Amendment → AmendOutcome
//
// An answer is a piece that is made in one go, in some milliseconds: who wants
// more asks again. The command serves the same for an outbox whose process is
// gone.
type controlled interface {
	Status() (Status, error)
	List(after uint64, limit int, payload bool) (Page, error)
	DeadLetters(after uint64, limit int, payload bool) (Page, error)
	Retry(Selection) (Outcome, error)
	Drop(kind string, s Selection) (Outcome, error)
	Amend([]Amendment) (AmendOutcome, error)
	levelsAfter(after []byte) (levelPage, error)
}

const (
	// controlTimeout is how long a request may take to be read, and its answer
	// to be written.
	controlTimeout = 10 * time.Second
	// maxRequest bounds a request: some thousand IDs.
	maxRequest = 1 << 20
)

// wireError is the answer to what failed.
type wireError struct {
	Error string `json:"error"`
}

func controlHandler(c controlled) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, answer func(*query) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			q := query{values: r.URL.Query()}
			v, err := answer(&q)
			if q.err != nil {
				replyError(w, http.StatusBadRequest, q.err)
				return
			}
			reply(w, v, err)
		})
	}
	post := func(path string, answer func(url.Values, Selection) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var s Selection
			if readJSON(w, r, maxRequest, &s) {
				v, err := answer(r.URL.Query(), s)
				reply(w, v, err)
			}
		})
	}
	get("/status", func(*query) (any, error) { return c.Status() })
	get("/queued", func(q *query) (any, error) { return c.List(q.id("after"), q.limit(), q.yes("payload")) })
	get("/dead", func(q *query) (any, error) { return c.DeadLetters(q.id("after"), q.limit(), q.yes("payload")) })
	get("/levels", func(q *query) (any, error) { return c.levelsAfter(q.bytes("after")) })
	post("/retry", func(_ url.Values, s Selection) (any, error) { return c.Retry(s) })
	post("/drop", func(q url.Values, s Selection) (any, error) { return c.Drop(q.Get("kind"), s) })
	mux.HandleFunc("POST /amend", func(w http.ResponseWriter, r *http.Request) {
		var all []Amendment
		if readJSON(w, r, maxAmendment, &all) {
			v, err := c.Amend(all)
			reply(w, v, err)
		}
	})
	return mux
}

// readJSON reads the body of a request. It reports false for one that it has
// answered with what is wrong.
func readJSON(w http.ResponseWriter, r *http.Request, max int64, into any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, max)).Decode(into)
	if err != nil {
		replyError(w, http.StatusBadRequest, err)
	}
	return err == nil
}

func reply(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, ErrClosed):
		replyError(w, http.StatusServiceUnavailable, err)
	case err != nil:
		replyError(w, http.StatusInternalServerError, err)
	default:
		replyJSON(w, http.StatusOK, v)
	}
}

func replyError(w http.ResponseWriter, status int, err error) {
	replyJSON(w, status, wireError{err.Error()})
}

func replyJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v) // nobody is left to hear of an error
}

// A controlServer serves the control of a live outbox.
type controlServer struct {
	server http.Server
	folder string
	served chan struct{} // closed when the server has ended
}

// outside runs functions on a goroutine that was there before any caller. Who
// waits for the network keeps the clock of a testing/synctest bubble still: a
// server that was started inside of one would make an outbox useless there.
var outside = func() func(func()) {
	work, done := make(chan func()), make(chan struct{})
	go func() {
		for f := range work {
			f()
			done <- struct{}{}
		}
	}()
	turn := make(chan struct{}, 1)
	return func(f func()) {
		turn <- struct{}{}
		work <- f
		<-done
		<-turn
	}
}()

// serveControl begins to serve. It returns nil, and the log says so, where that
// is not possible: delivery does not need it.
func serveControl(folder string, c controlled, log *slog.Logger) *controlServer {
	var s *controlServer
	var err error
	outside(func() {
		var l net.Listener
		if l, err = listenControl(folder); err != nil {
			return
		}
		s = &controlServer{served: make(chan struct{}), folder: folder}
		s.server = http.Server{
			Handler:           controlHandler(c),
			ReadHeaderTimeout: controlTimeout, ReadTimeout: controlTimeout, WriteTimeout: controlTimeout,
			IdleTimeout: controlTimeout, MaxHeaderBytes: 16 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		}
		go func() {
			defer close(s.served)
			s.server.Serve(l)
		}()
	})
	if err != nil {
		log.Warn("the outbox cannot be asked about while this process lives: \"bigpanda-udf outbox\" will not see into it",
			"folder", folder, "error", err)
	}
	return s
}

// close stops serving and removes the socket. Handlers that are under way find
// the outbox closed.
func (s *controlServer) close() {
	if s == nil {
		return
	}
	removeControl(s.folder)
	s.server.Close()
	<-s.served
}

// query reads the parameters of a request. The first that is wrong is in err.
type query struct {
	values url.Values
	err    error
}

func (q *query) id(name string) uint64 {
	text := q.values.Get(name)
	if text == "" {
		return 0
	}
	id, err := strconv.ParseUint(text, 10, 64)
	q.wrong(name, err)
	return id
}

// limit is the largest page unless a smaller one is asked for.
func (q *query) limit() int {
	if q.values.Get("limit") == "" {
		return maxPage
	}
	n, err := strconv.Atoi(q.values.Get("limit"))
	q.wrong("limit", err)
	return max(n, 1)
}

func (q *query) yes(name string) bool { return q.values.Get(name) == "true" }

func (q *query) bytes(name string) []byte {
	b, err := hex.DecodeString(q.values.Get(name))
	q.wrong(name, err)
	if len(b) == 0 {
		return nil
	}
	return b
}

func (q *query) wrong(name string, err error) {
	if err != nil && q.err == nil {
		q.err = fmt.Errorf("read parameter %s: %w", name, err)
	}
}
