package bigpanda

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Class says what becomes of alerts that were not delivered.
type Class int

const (
	// Retry: the same alerts go again, after a while.
	Retry Class = iota
	// Hold: nothing of any app key can be delivered until somebody corrects
	// something.
	Hold
	// HoldAppKey: the same for the request's app key alone.
	HoldAppKey
	// Refused: BigPanda does not want at least one of the request's alerts, and
	// will not want it later.
	Refused
)

// Reason says why alerts were not delivered. It is one of the constants below
// and may be the label of a metric.
type Reason string

const (
	ReasonNetwork     Reason = "network"      // no connection, or it broke
	ReasonTimeout     Reason = "timeout"      // nothing came in time
	ReasonCanceled    Reason = "canceled"     // the caller's context ended
	ReasonServer      Reason = "server"       // 408, 425, 5xx
	ReasonThrottled   Reason = "throttled"    // 429
	ReasonTLS         Reason = "tls"          // no trusted connection
	ReasonProxy       Reason = "proxy"        // a proxy refused, 407
	ReasonRedirect    Reason = "redirect"     // 3xx
	ReasonToken       Reason = "token"        // 401
	ReasonForbidden   Reason = "forbidden"    // 403
	ReasonNotBigPanda Reason = "not_bigpanda" // an answer that the API does not give
	ReasonNotFound    Reason = "not_found"    // 404, 410
	ReasonTooLarge    Reason = "too_large"    // 413
	ReasonRefused     Reason = "refused"      // 400, 409, 422, other 4xx
	ReasonFull        Reason = "full"         // a stream of NATS has no room
)

// Reasons are all of them.
var Reasons = []Reason{
	ReasonNetwork, ReasonTimeout, ReasonCanceled, ReasonServer, ReasonThrottled, ReasonTLS, ReasonProxy, ReasonRedirect,
	ReasonToken, ReasonForbidden, ReasonNotBigPanda, ReasonNotFound, ReasonTooLarge, ReasonRefused, ReasonFull,
}

// Error says why alerts were not delivered and what is to be done. While the
// cause stays the same its text does too: the answer's body, which may hold the
// number of a request, is not in it.
type Error struct {
	Class      Class
	Reason     Reason
	Status     int           // of the HTTP answer; 0 if there was none
	RetryAfter time.Duration // how long BigPanda asks to wait, at most MaxRetryAfter; 0 if it does not say
	Answer     string        // the beginning of the answer's body, as in Answer.Body
	Hint       string        // one sentence: what an operator should look at
	Err        error         // what happened, without the token; never nil
}

// Error returns what happened and the hint.
func (e *Error) Error() string {
	text := fmt.Sprint(e.Err)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// StatusText returns a status with its standard name, since the name that a
// server sends could be anything.
func StatusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}
