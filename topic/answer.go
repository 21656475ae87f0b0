package topic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"bigpanda-udf/printable"
	"bigpanda-udf/udf"
)

// maxAnswer is how many bytes of what was sent an answer may repeat.
const maxAnswer = 300

// A refusal is what is answered other than 200.
type refusal struct {
	status int
	text   string
	cause  error // for the log alone
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

var tooLarge = refuse(http.StatusRequestEntityTooLarge, "the event is larger than %d bytes: let a node before |alert() make fewer points", maxBody)

// ServeHTTP takes one event. 200 says that the change is in the outbox, or that
// there is none; anything else comes with a sentence.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := s.serve(w, r)
	if err == nil {
		return // 200, and nothing to say
	}
	no := new(refusal)
	if !errors.As(err, &no) {
		no = refuse(http.StatusServiceUnavailable, "%v", err)
	}
	text := printable.Cut(printable.Text(no.text), maxAnswer)
	s.said.Do(func() {
		s.log.Warn("an event is not taken", "path", printable.Cut(r.URL.Path, maxAnswer), "from", r.RemoteAddr, "status", no.status, "error", cmp.Or(no.cause, error(no)))
	})
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.Error(w, text, no.status)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	if s.stopping.Load() {
		return errStopping
	}
	if err := s.access.check(w, r); err != nil {
		return err
	}
	name, found := strings.CutPrefix(r.URL.Path, Path)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case !found || strings.Contains(name, "/"):
		return refuse(http.StatusNotFound, "events are posted to %sNAME, and nothing else is here", Path)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return refuse(http.StatusMethodNotAllowed, "events come by POST")
	case CheckName(name) != nil:
		return refuse(http.StatusBadRequest, "%v", CheckName(name))
	case kind != "application/json":
		// A web page may send other kinds to whatever listens on its reader's machine.
		return refuse(http.StatusUnsupportedMediaType, "the Content-Type is not application/json: let Kapacitor's post handler send the event as it is, without alert-template")
	case r.ContentLength > maxBody:
		return tooLarge
	}
	size := r.ContentLength
	if size < 0 {
		size = maxBody
	}
	if size > smallBody {
		soon, cancel := context.WithTimeout(r.Context(), s.times.header)
		defer cancel()
		if s.bodies.Acquire(soon, size) != nil {
			return errors.New("too much is sent at the same time")
		}
		// Until the event is taken: its texts are those of the body.
		defer s.bodies.Release(size)
	}
	e, err := s.read(w, r)
	if err != nil {
		return err
	}
	// Only now: what is no event is no handler's.
	u, err := s.use(name)
	if err != nil {
		return refuse(http.StatusForbidden, "%v", err)
	}
	return u.take(e)
}

// read reads the event of a request.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (e udf.AlertEvent, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return e, tooLarge
	case err != nil:
		return e, fmt.Errorf("the event did not come whole: %w", err)
	}
	if e, err = decode(body); err != nil {
		err = refuse(http.StatusBadRequest, "the body is no event of Kapacitor's post handler: %v", err)
	}
	return e, err
}
