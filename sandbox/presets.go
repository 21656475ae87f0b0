package sandbox

import "encoding/json"

// Preset is a fault that is at hand: a button of the console, and in GET
// /presets for scripts.
type Preset struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Says  string `json:"says"`
	// Faults is what to put to /faults. (Faults as a value would hide its
	// token.)
	Faults json.RawMessage `json:"faults"`
}

// The groups of presets. Of what BigPanda's documentation leaves open each has
// a preset in groupUnknown.
const (
	groupAnswer  = "The answer"
	groupNetwork = "The network"
	groupLimit   = "Limits"
	groupUnknown = "What is not documented"
)

func preset(group, name, faults, says string) Preset {
	return Preset{group, name, says, json.RawMessage(faults)}
}

var presets = []Preset{
	preset(groupAnswer, "400", `{"status":400}`, "Bad request: the alerts are not as they should be."),
	preset(groupAnswer, "401", `{"status":401}`, "Unauthorized."),
	preset(groupAnswer, "403", `{"status":403}`, "Forbidden."),
	preset(groupAnswer, "404", `{"status":404}`, "Not found: also what a token gets in the wrong region."),
	preset(groupAnswer, "409", `{"status":409}`, "Conflict."),
	preset(groupAnswer, "410", `{"status":410}`, "Gone."),
	preset(groupAnswer, "413", `{"status":413}`, "Too large."),
	preset(groupAnswer, "429", `{"status":429,"retry_after":"5s"}`, "Too many requests, with Retry-After: 5."),
	preset(groupAnswer, "500", `{"status":500}`, "Internal error."),
	preset(groupAnswer, "501", `{"status":501}`, "Not implemented."),
	preset(groupAnswer, "503", `{"status":503}`, "Unavailable: an outage."),
	preset(groupAnswer, "Wrong token", `{"token":"a token that no client has"}`, "Every token is a wrong one: 401."),

	preset(groupNetwork, "Hang", `{"hang":true}`, "No answer, until the fault is cleared."),
	preset(groupNetwork, "Drop", `{"drop":true}`, "The connection is closed without an answer."),
	preset(groupNetwork, "Lose the answer", `{"drop":true,"accept":true}`, "The alerts are taken, then the connection is closed: the client cannot know."),
	preset(groupNetwork, "Latency 100 ms", `{"latency":"100ms"}`, "Each answer takes 100 ms longer."),
	preset(groupNetwork, "Latency 1 s", `{"latency":"1s"}`, "Each answer takes 1 s longer."),
	preset(groupNetwork, "Latency 10 s", `{"latency":"10s"}`, "Each answer takes 10 s longer."),

	preset(groupLimit, "1 request a second", `{"rate":1}`, "One request a second; others get 429 with Retry-After."),
	preset(groupLimit, "5 requests a second", `{"rate":5}`, "Five requests a second; others get 429 with Retry-After."),

	preset(groupUnknown, "429 without Retry-After", `{"rate":1,"no_retry_after":true}`, "Is Retry-After sent? Here it is not, over one request a second."),
	preset(groupUnknown, "At most 100 alerts: 413", `{"max_alerts":100}`, "How many alerts may a request hold? Here 100; more get 413."),
	preset(groupUnknown, "At most 100 alerts: 400", `{"max_alerts":100,"status":400}`, "413 or 400 for too many? Here 400."),
	preset(groupUnknown, "Over 6 MB: 400", `{"max_bytes":6291456,"status":400}`, "413 or 400 for too large? Here 400; 413 without this."),
	preset(groupUnknown, "At most 64 KiB: 413", `{"max_bytes":65536}`, "As if a proxy before BigPanda took no more."),
	preset(groupUnknown, "Take the good ones", `{"partial":true}`, "What becomes of a batch with one bad alert? Here the others are taken, with 201; without this all are refused, with 400."),
	preset(groupUnknown, "Strict values", `{"strict":true}`, "What of null, empty texts, fractions, booleans, reserved names and values over a limit? Here 400; without this they are taken."),
	preset(groupUnknown, "Take gzip", `{"gzip":true}`, "May bodies be compressed? Here with gzip; without this they get 400."),
	preset(groupUnknown, "201, no body", `{"status":201,"accept":true}`, "What is in the body of an answer? Here nothing."),
	preset(groupUnknown, "201, plain text", `{"status":201,"body":"OK","accept":true}`, "What is in the body of an answer? Here the text OK."),
	preset(groupUnknown, "200, a login page", `{"status":200,"body":"<html><title>Sign in</title>Please sign in</html>"}`, "A proxy answers in BigPanda's place: nothing is taken."),
}
