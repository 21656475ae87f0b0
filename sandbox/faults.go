package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/agext/levenshtein"
)

// Faults say what goes wrong. In JSON their keys are those of the tags, and
// durations are texts such as "50ms" or numbers of seconds; an unknown key is
// an error. Several faults may be in force together. The other tags are what the
// flags of the command are made of.
//
// Status, Body, Hang and Drop are the answer. They hold for every request that
// Match and Count let through or, with Rate, MaxAlerts or MaxBytes, only the
// requests over those limits. The answer is given before the token or the body is
// looked at, and nothing is taken, unless Accept says otherwise.
type Faults struct {
	// Status, 200 to 599, is what is answered. Where another field needs one
	// it is 429 (Rate), 413 (MaxAlerts, MaxBytes) or 200 (Body).
	Status int `json:"status,omitempty" placeholder:"CODE" help:"Answer with this HTTP status, and take nothing."`
	// Body is the body of the answer, such as a proxy's page of HTML, in
	// place of {"error": …}.
	Body string `json:"body,omitempty" placeholder:"TEXT" help:"Answer with this body."`
	// RetryAfter is sent in the header Retry-After, in seconds, rounded up.
	// Without it only Rate sends one.
	RetryAfter time.Duration `json:"retry_after,omitempty" placeholder:"TIME" help:"Send a Retry-After header."`
	// NoRetryAfter has Rate send none.
	NoRetryAfter bool `json:"no_retry_after,omitempty" kong:"-"`
	// Hang gives no answer until the client goes or the faults are set anew,
	// cleared or closed; then the request goes on as though it came now.
	Hang bool `json:"hang,omitempty" help:"Give no answer."`
	// Drop closes the connection with no answer.
	Drop bool `json:"drop,omitempty" help:"Close the connection without an answer."`
	// Accept takes the alerts first, where they are good: then only the
	// answer is lost.
	Accept bool `json:"accept,omitempty" help:"Take the alerts all the same: only the answer is lost."`

	// Rate is how many requests a second are let through, with a second's
	// worth at once; others get 429, or Status, with Retry-After.
	Rate float64 `json:"rate,omitempty" placeholder:"N" help:"Let through so many requests a second; others get 429."`
	// MaxAlerts is how many alerts a request may hold; more get 413, or
	// Status.
	MaxAlerts int `json:"max_alerts,omitempty" placeholder:"N" help:"Refuse requests with more alerts."`

	// MaxBytes is how large a body may be, unzipped, below the 6 MB of the
	// API itself; a larger one gets 413, or Status.
	MaxBytes int `json:"max_bytes,omitempty" placeholder:"N" help:"Refuse larger bodies."`

	// Latency is waited before all else.
	Latency time.Duration `json:"latency,omitempty" placeholder:"TIME" help:"Wait before each answer."`
	// Token is the only one accepted, in place of Options.Token.
	Token string `json:"token,omitempty" kong:"-"`
	// Strict refuses, with 400, what the documentation does not promise to
	// take: null, booleans, fractions, empty texts, reserved names, a
	// description over 2,048 characters, another text over 512, an array over
	// 30 items.
	Strict bool `json:"strict,omitempty" help:"Refuse whatever the documentation does not promise to take."`
	// Partial takes the good alerts of a batch that holds bad ones. Without
	// it one bad alert has the whole request refused.
	Partial bool `json:"partial,omitempty" help:"Take the good alerts of a batch that has bad ones."`

	// Gzip takes bodies that are compressed with gzip. Without it they get
	// 400.
	Gzip bool `json:"gzip,omitempty" help:"Take bodies that are compressed with gzip."`

	// Match has the faults concern only requests whose body, as it was sent,
	// contains this text.
	Match string `json:"match,omitempty" placeholder:"TEXT" help:"Only for requests that contain this text."`
	// Count has the faults concern only the next so many requests (of those
	// that Match lets through); then they clear themselves.
	Count int `json:"count,omitempty" placeholder:"N" help:"Only for so many requests, then none."`
}

// faultsJSON is Faults with durations as people write them.
type faultsJSON struct {
	plainFaults
	RetryAfter duration `json:"retry_after,omitempty"`
	Latency    duration `json:"latency,omitempty"`
}

type plainFaults Faults // without its methods

// tokenShown is what JSON has for a token that is set. PUT /faults takes it for
// the one that is in force.
const tokenShown = "(set)"

// MarshalJSON writes what is set. A token is not shown.
func (f Faults) MarshalJSON() ([]byte, error) {
	if f.Token != "" {
		f.Token = tokenShown
	}
	return json.Marshal(faultsJSON{plainFaults(f), duration(f.RetryAfter), duration(f.Latency)})
}

// UnmarshalJSON is ParseFaults.
func (f *Faults) UnmarshalJSON(data []byte) (err error) {
	*f, err = ParseFaults(data)
	return err
}

// ParseFaults reads faults from a JSON object and checks them. The error
// names what is wrong and, with an unknown key, the one that was meant.
func ParseFaults(data []byte) (Faults, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil || keys == nil {
		return Faults{}, errors.New("read faults: not a JSON object")
	}
	for key := range keys {
		if err := checkKey(key); err != nil {
			return Faults{}, err
		}
	}
	var j faultsJSON
	if err := json.Unmarshal(data, &j); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			key := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]
			return Faults{}, fmt.Errorf("read faults: %q cannot be a %s", key, wrong.Value)
		}
		return Faults{}, fmt.Errorf("read faults: %w", err)
	}
	f := Faults(j.plainFaults)
	f.RetryAfter, f.Latency = time.Duration(j.RetryAfter), time.Duration(j.Latency)
	return f, f.check()
}

// faultKeys returns the keys of Faults in JSON.
func faultKeys() []string {
	var keys []string
	for i, t := 0, reflect.TypeFor[Faults](); i < t.NumField(); i++ {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		keys = append(keys, key)
	}
	return keys
}

// checkKey refuses a key that Faults does not have.
func checkKey(key string) error {
	keys := faultKeys()
	near, best := "", 3 // two slips still count as the same word
	for _, known := range keys {
		if key == known {
			return nil
		}
		if d := levenshtein.Distance(strings.ToLower(key), known, nil); d < best {
			near, best = known, d
		}
	}
	if near != "" {
		return fmt.Errorf("read faults: unknown key %q: did you mean %q?", key, near)
	}
	return fmt.Errorf("read faults: unknown key %q: the keys are %s", key, strings.Join(keys, ", "))
}

// check refuses faults that contradict one another or mean nothing.
func (f Faults) check() error {
	answers := 0
	for _, set := range []bool{f.Status != 0 || f.Body != "", f.Hang, f.Drop} {
		if set {
			answers++
		}
	}
	limited := f.Rate != 0 || f.MaxAlerts != 0 || f.MaxBytes != 0
	switch {
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("check faults: status is %d, not 200 to 599", f.Status)
	case f.Body != "" && (f.Status == 204 || f.Status == 304):
		return fmt.Errorf("check faults: an answer of status %d has no body", f.Status)
	case answers > 1:
		return errors.New("check faults: hang, drop, and status or body exclude one another")
	case f.RetryAfter < 0 || f.Latency < 0:
		return errors.New("check faults: retry_after and latency cannot be negative")
	case f.Rate != 0 && !(f.Rate >= 0.001 && f.Rate <= 1e6):
		return errors.New("check faults: rate is not 0.001 to 1,000,000 requests a second")
	case f.MaxAlerts < 0 || f.Count < 0:
		return errors.New("check faults: max_alerts and count cannot be negative")
	case f.MaxBytes < 0 || f.MaxBytes > maxBody:
		return fmt.Errorf("check faults: max_bytes is not 1 to %d, the API's own limit", maxBody)
	case f.RetryAfter > 0 && f.Status == 0 && !limited:
		return errors.New("check faults: retry_after needs status, rate, max_alerts or max_bytes")
	case f.RetryAfter > 0 && f.NoRetryAfter:
		return errors.New("check faults: retry_after and no_retry_after exclude each other")
	case f.Accept && answers == 0 && !limited:
		return errors.New("check faults: accept needs status, body, hang, drop, rate, max_alerts or max_bytes")
	}
	return nil
}

// duration is a time.Duration that JSON holds as "50ms" or as seconds.
type duration time.Duration

func (d duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

func (d *duration) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case float64:
		if math.Abs(v) > 1e9 {
			return fmt.Errorf("a duration of %s seconds is out of range", data)
		}
		*d = duration(v * float64(time.Second))
		return nil
	case string:
		if parsed, err := time.ParseDuration(v); err == nil {
			*d = duration(parsed)
			return nil
		}
	}
	return fmt.Errorf("%s is not a duration: write \"50ms\", or a number of seconds", data)
}
