package sandbox

import (
	"bytes"
	"encoding/json"
	"time"
)

// Event is one alert that was taken with 201 or 204. BigPanda takes more than
// it uses; the three flags say what it does not.
type Event struct {
	Seq      uint64    `json:"seq"`
	Received time.Time `json:"received"`
	AppKey   string    `json:"app_key"`
	Status   string    `json:"status"`
	// Timestamp is in Unix seconds, from the payload, else from Received.
	Timestamp int64 `json:"timestamp"`
	// Key is equal for events of the same alert, and "" without a primary
	// property: a JSON array of the app key and either "incident" and the
	// incident identifier, or "values" and the values of the primary and the
	// secondary property.
	Key      string `json:"key"`
	Title    string `json:"title"`              // the value of the primary property
	Subtitle string `json:"subtitle,omitempty"` // the value of the secondary property

	// Duplicate: the payload equals one that is kept, as a whole.
	Duplicate bool `json:"duplicate,omitempty"`
	// Stale: not a duplicate, but no later than the newest of its alert. The
	// older ones of BigPanda's pages say that it drops those.
	Stale bool `json:"stale,omitempty"`
	// Dropped is why BigPanda answers 201 and then drops the payload.
	Dropped string `json:"dropped,omitempty"`

	Payload Payload `json:"payload"`

	before uint64 // the seq of the one before it of the same incident, 0 for none
}

// weight is about how much memory the texts of an event take.
func (e *Event) weight() int {
	return len(e.Payload) + len(e.Key) + len(e.Title) + len(e.Subtitle)
}

// Payload is an alert as JSON in one canonical form: with app_key, also when
// that was outside a batch; keys sorted; no white space; each text escaped
// in one way; numbers as they were written. Equal payloads are equal strings.
type Payload string

// Map decodes the payload. Numbers are of type json.Number.
func (p Payload) Map() map[string]any {
	d := json.NewDecoder(bytes.NewReader([]byte(p)))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil // not one that a Server made
	}
	return m
}

// Text returns the value of a property as BigPanda shows it (an array with |
// between its items), and "" if there is none.
func (p Payload) Text(property string) string {
	return shown(valueOf(objectFields(string(p)), property))
}

// MarshalJSON gives out the payload as the object that it is.
func (p Payload) MarshalJSON() ([]byte, error) { return []byte(p), nil }

// UnmarshalJSON takes what MarshalJSON gave.
func (p *Payload) UnmarshalJSON(data []byte) error {
	*p = Payload(data)
	return nil
}

// Request is one request to the API with its answer. No header that could
// carry the token is kept.
type Request struct {
	// Seq counts in the order of the answers.
	Seq       uint64        `json:"seq"`
	Received  time.Time     `json:"received"`
	Took      time.Duration `json:"took_ns"`
	Method    string        `json:"method"`
	Path      string        `json:"path"`
	UserAgent string        `json:"user_agent,omitempty"`
	Bytes     int           `json:"bytes"`          // of the body, as far as it was read
	Body      string        `json:"body,omitempty"` // its beginning, at most 1 KB
	AppKey    string        `json:"app_key,omitempty"`
	Alerts    int           `json:"alerts"` // in the body
	// Carried names the first of them, three at most, whether they were taken
	// or not.
	Carried []Carried `json:"carried,omitempty"`

	// Status is the answer's, and 0 when there was none: the connection was
	// dropped, or the client went first.
	Status     int    `json:"status"`
	RetryAfter string `json:"retry_after,omitempty"` // the header
	// Reason says why the answer is not 201 or 204; with a batch of which
	// only the good alerts were taken, what was wrong with the first bad one.
	Reason string `json:"reason,omitempty"`
	// Fault is the key of the fault that made the answer, if one did.
	Fault string `json:"fault,omitempty"`

	// The alerts taken are the events FirstEvent to FirstEvent+Accepted-1.
	// They may be there although the Status is none of success.
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates,omitempty"` // of those accepted
	Dropped    int    `json:"dropped,omitempty"`    // of those accepted, by BigPanda later
	FirstEvent uint64 `json:"first_event,omitempty"`
}

// Carried is an alert of a request by name.
type Carried struct {
	Title  string `json:"title,omitempty"`  // at most 256 bytes; none without a primary property
	Status string `json:"status,omitempty"` // none unless it is a documented one
}

// Stats are the counts of the record since the start or the last Reset. They
// go on when old events and requests are no longer kept.
type Stats struct {
	Requests int         `json:"requests"` // answered or given up
	Statuses map[int]int `json:"statuses"` // Requests by status; 0: no answer
	Waiting  int         `json:"waiting"`  // requests that hang, or wait for their latency, now

	Events     int `json:"events"` // alerts taken, with those below
	Duplicates int `json:"duplicates"`
	Stale      int `json:"stale"`
	Dropped    int `json:"dropped"` // for want of a primary property

	Incidents        int `json:"incidents"`         // kept
	IncidentsDropped int `json:"incidents_dropped"` // given up, as they were too many
}
