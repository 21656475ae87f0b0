package sandbox

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		json string
		want Faults
	}{
		{"none", `{}`, Faults{}},
		{"status", `{"status":503,"retry_after":"2s"}`, Faults{Status: 503, RetryAfter: 2 * time.Second}},
		{"seconds", `{"status":429,"retry_after":2.5,"latency":"50ms"}`, Faults{Status: 429, RetryAfter: 2500 * time.Millisecond, Latency: 50 * time.Millisecond}},
		{"hang", `{"hang":true,"count":3,"match":"web01"}`, Faults{Hang: true, Count: 3, Match: "web01"}},
		{"drop", `{"drop":true,"accept":true}`, Faults{Drop: true, Accept: true}},
		{"rate", `{"rate":5,"no_retry_after":true}`, Faults{Rate: 5, NoRetryAfter: true}},
		{"the others", `{"token":"t","strict":true,"partial":true,"max_alerts":7,"body":"<html>"}`,
			Faults{Token: "t", Strict: true, Partial: true, MaxAlerts: 7, Body: "<html>"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseFaults([]byte(test.json))
			if err != nil || got != test.want {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, test.want)
			}
			again, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if got.Token != "" {
				got.Token = tokenShown
			}
			var back Faults
			if err := json.Unmarshal(again, &back); err != nil || back != got {
				t.Errorf("through %s: %+v, %v", again, back, err)
			}
		})
	}
}

func TestFaultsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, json, want string }{
		{"not JSON", `{"status":`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"an array", `[]`, "not a JSON object"},
		{"unknown key, near a known one", `{"retryafter":1}`, `unknown key "retryafter": did you mean "retry_after"?`},
		{"unknown key in upper case", `{"Status":1}`, `did you mean "status"?`},
		{"unknown key, near none", `{"explode":1}`, "the keys are status, body, retry_after"},
		{"wrong type", `{"status":"503"}`, `"status" cannot be a string`},
		{"duration of nothing", `{"latency":true}`, `true is not a duration: write "50ms"`},
		{"duration without a unit", `{"latency":"50"}`, `"50" is not a duration: write "50ms"`},
		{"duration out of range", `{"latency":1e300}`, "out of range"},
		{"status 100", `{"status":100}`, "not 200 to 599"},
		{"status 600", `{"status":600}`, "not 200 to 599"},
		{"204 with a body", `{"status":204,"body":"x"}`, "has no body"},
		{"hang and drop", `{"hang":true,"drop":true}`, "exclude one another"},
		{"hang and status", `{"hang":true,"status":500}`, "exclude one another"},
		{"negative latency", `{"latency":"-1s"}`, "negative"},
		{"negative rate", `{"rate":-1}`, "rate is not"},
		{"tiny rate", `{"rate":1e-9}`, "rate is not"},
		{"negative count", `{"count":-1}`, "negative"},
		{"retry_after alone", `{"retry_after":1}`, "retry_after needs status"},
		{"retry_after and none", `{"rate":1,"retry_after":1,"no_retry_after":true}`, "exclude each other"},
		{"accept alone", `{"accept":true}`, "accept needs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if f, err := ParseFaults([]byte(test.json)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v, %v\nwant an error with %s", f, err, test.want)
			}
		})
	}
	if err := New(Options{}).SetFaults(Faults{Status: 1}); err == nil {
		t.Error("SetFaults takes status 1")
	}
	defer func() {
		if recover() == nil {
			t.Error("New takes status 1")
		}
	}()
	New(Options{Faults: Faults{Status: 1}})
}
