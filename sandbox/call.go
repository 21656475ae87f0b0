package sandbox

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"time"
)

// A body over the limit is still read, up to this many bytes more, and
// thrown away: a client that is cut off while it writes sees a broken
// connection and not the 413.
const drainLimit = 64 << 20

// bodyTimeout is how long the body of a request may take to come: more than one of
// 6 MB takes on any line that a sandbox is at.
const bodyTimeout = 30 * time.Second

// call is a request to the API, read whole.
type call struct {
	*http.Request
	size    int    // of the body as it was sent, as far as it was read
	body    []byte // unzipped, at most maxBody+1 bytes
	readErr error
	batch   batch // of body
}

// readCall reads the body and what is in it.
func readCall(w http.ResponseWriter, r *http.Request) call {
	// It grows with what comes: Content-Length is only a claim.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) <= maxBody {
		// All of it is there: the connection may be silent for as long as the
		// answer hangs.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // as in ServeHTTP
	}
	c := call{Request: r, size: len(body), body: body, readErr: err}
	if c.isGzip() && err == nil && c.size <= maxBody {
		c.body, c.readErr = unzip(c.body)
	}
	switch {
	case c.readErr != nil:
	case len(c.body) > maxBody:
		io.CopyN(io.Discard, r.Body, drainLimit) // an error changes nothing: the answer is 413
	default:
		c.batch = readBatch(c.body, c.appKey())
	}
	return c
}

// token returns what a call gives as its token. A reason says that it gives none
// in a form that is documented, and never what is there.
func (c call) token() (token, reason string) {
	scheme, bearer, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	token = c.either("access_token", "X-Auth-Token")
	switch {
	case strings.EqualFold(scheme, "Bearer") && bearer != "":
		return bearer, ""
	case c.Header.Get("Authorization") != "":
		return "", "the Authorization header is not \"Bearer TOKEN\""
	case token == "":
		return "", "the Authorization header is missing"
	}
	return token, ""
}

// either returns what the query has, or else, where the Open Integration Manager
// takes it, a header.
func (c call) either(query, header string) string {
	text := c.URL.Query().Get(query)
	if text == "" && c.URL.Path == OIMPath {
		text = c.Header.Get(header)
	}
	return text
}

// appKey returns the app key of a call that is not in its body, "" if there is
// none.
func (c call) appKey() string {
	if c.URL.Path != OIMPath {
		return ""
	}
	return c.either("app_key", "X-App-Key")
}

func (c call) isGzip() bool { return strings.EqualFold(c.Header.Get("Content-Encoding"), "gzip") }

// unzip returns what is in a body, up to a byte more than it may hold.
func unzip(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxBody+1))
}
