package sandbox

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
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

// setBodyDeadline says until when the body of a request may come, whether somebody
// reads it or the http.Server throws it away.
func setBodyDeadline(w http.ResponseWriter, until time.Time) {
	// An error is that of a w that is no connection.
	_ = http.NewResponseController(w).SetReadDeadline(until)
}

// call is a request to the API, read whole.
type call struct {
	method, path string
	header       http.Header
	query        url.Values
	size         int    // of the body as it was sent, as far as it was read
	body         []byte // unzipped, at most maxBody+1 bytes
	readErr      error
	batch        batch // of body
}

// readCall reads the body and what is in it.
func readCall(w http.ResponseWriter, r *http.Request) call {
	// It grows with what comes: Content-Length is only a claim.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) <= maxBody {
		// All of it is there: the connection may be silent for as long as the
		// answer hangs.
		setBodyDeadline(w, time.Time{})
	}
	c := call{method: r.Method, path: r.URL.Path, header: r.Header, query: r.URL.Query(), size: len(body), body: body, readErr: err}
	if isGzip(r.Header) && err == nil && c.size <= maxBody {
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
// in a form that is documented, and never what stands there.
func (c call) token() (token, reason string) {
	if authorization := c.header.Get("Authorization"); authorization != "" {
		scheme, token, _ := strings.Cut(authorization, " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", "the Authorization header is not \"Bearer TOKEN\""
		}
		return token, ""
	}
	token = c.query.Get("access_token")
	if token == "" && c.path == OIMPath {
		token = c.header.Get("X-Auth-Token")
	}
	if token == "" {
		return "", "the Authorization header is missing"
	}
	return token, ""
}

// appKey returns the app key of a call that is not in its body, "" if there is
// none.
func (c call) appKey() string {
	if c.path != OIMPath {
		return ""
	}
	return cmp.Or(c.query.Get("app_key"), c.header.Get("X-App-Key"))
}

func isGzip(h http.Header) bool { return strings.EqualFold(h.Get("Content-Encoding"), "gzip") }

// unzip returns what is in a body, up to a byte more than it may hold.
func unzip(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxBody+1))
}
