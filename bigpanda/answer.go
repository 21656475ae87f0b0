package bigpanda

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter is the longest that Error.RetryAfter asks to wait. A server that
// names a date far off, by mistake or with a wrong clock, must not hold alerts
// back for days.
const MaxRetryAfter = 15 * time.Minute

// delivered reports whether an answer means that BigPanda has the alerts.
//
// 201 and 204 are what the API documents; what their bodies hold is not
// documented, so only a web page, which some other machine on the way must have
// sent, speaks against them. Any other 2xx counts only with an empty or a JSON
// body: a captive portal says 200, too. end is as readBody returns it.
func delivered(resp *http.Response, body []byte, end error) bool {
	body = bytes.TrimSpace(body)
	switch status := resp.StatusCode; {
	case status == http.StatusNoContent:
		return true
	case status == http.StatusCreated:
		isPage := bytes.HasPrefix(body, []byte("<")) ||
			strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/html")
		return len(body) == 0 || !isPage
	case status/100 != 2:
		return false
	case end == errLong && len(body) > 0:
		return body[0] == '{' || body[0] == '[' // nobody checks the rest
	case end != nil:
		return false
	default:
		return len(body) == 0 || json.Valid(body)
	}
}

// answered makes the error of an answer that does not mean delivered.
func (c *Client) answered(resp *http.Response) *Error {
	status := resp.StatusCode
	e := &Error{
		Status:     status,
		RetryAfter: retryAfter(resp.Header, time.Now()),
		Err:        fmt.Errorf("%s answered %s", c.url.Host, StatusText(status)),
	}
	is := func(class Class, reason Reason, hint string) {
		e.Class, e.Reason, e.Hint = class, reason, hint
	}
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500 && status <= 599:
		is(Retry, ReasonServer, "wait: the alerts are kept and sent again")
	case status == http.StatusTooManyRequests:
		is(Retry, ReasonThrottled, "wait, or send less at once with --rate or --connections")
	case status == http.StatusUnauthorized:
		is(Hold, ReasonToken, "check the token: it is the organisation's API token, as the Alerts API's instructions in BigPanda's Integrations tab show it")
	case status == http.StatusForbidden:
		is(Hold, ReasonForbidden, "check that the token is the organisation's API token, not a user's API key, and that no proxy or firewall forbids "+c.url.Host)
	case status == http.StatusProxyAuthRequired:
		is(Hold, ReasonProxy, hintProxyLogin)
	case status == http.StatusNotFound, status == http.StatusGone:
		is(HoldAppKey, ReasonNotFound, c.hintNotFound())
	case status == http.StatusRequestEntityTooLarge:
		is(Refused, ReasonTooLarge, "make the alert smaller, such as its details or the number of its attributes")
	case status >= 400 && status <= 499:
		is(Refused, ReasonRefused, "see the answer for what BigPanda does not accept in the alert")
	case status >= 300 && status <= 399:
		is(Hold, ReasonRedirect, "set the URL to the API itself: a redirect"+c.target(resp)+" is not followed, as the token would go there")
	default:
		is(Hold, ReasonNotBigPanda, "check the URL, and that no proxy or login page answers for "+c.url.Host+": the answer is not one of BigPanda's API")
	}
	return e
}

// hintNotFound is what may be wrong where a 404 comes from: BigPanda has two APIs
// in two regions, and an integration is known to one of them.
func (c *Client) hintNotFound() string {
	if strings.Contains(c.url.Path, "/oim/") || strings.Contains(c.url.Hostname(), "integrations.") {
		return "check that the URL is the one of the organisation's region, " + OIMURL + " or, in the EU, " + OIMEuropeURL +
			", and that app key and token are those of an integration of the Open Integration Manager: one of the Alerts API belongs to " +
			DefaultURL + " or " + EuropeURL
	}
	return "check that the app key exists and that the URL is the one of the organisation's region, " + DefaultURL + " or, in the EU, " + EuropeURL +
		"; an integration of the Open Integration Manager has " + OIMURL + " or " + OIMEuropeURL
}

const hintProxyLogin = "put the proxy's user name and password into HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT), or name BigPanda's host in NO_PROXY"

// target says where a redirect points, the host alone: a path or query may hold
// anything.
func (c *Client) target(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil || u.Host == "" {
		return ""
	}
	return " to " + oneLine(c.redact(u.Host))
}

// retryAfter returns how long the header asks to wait: seconds, or a date, which
// counts from the server's own clock if the header tells it, else from now.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(n, uint64(MaxRetryAfter/time.Second))) * time.Second
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(header.Get("Date")); err == nil {
		now = theirs
	}
	return min(max(0, date.Sub(now)), MaxRetryAfter)
}
