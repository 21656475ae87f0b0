package udf

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// An httpRig is a running Sender with a real client and a sandbox.
type httpRig struct {
	t      *testing.T
	queue  *rigQueue
	box    *sandbox.Server
	server *httptest.Server

	log test.LogBuffer
}

const rigToken = "rig-token-81472"

func startHTTP(t *testing.T, faults sandbox.Faults, client bigpanda.Options, options rigOptions) *httpRig {
	t.Helper()
	r := &httpRig{t: t, queue: newRigQueue(), box: sandbox.New(sandbox.Options{Token: rigToken, Faults: faults})}
	r.server = httptest.NewServer(r.box)
	client.URL = r.server.URL + sandbox.Path
	r.run(client, options)
	return r
}

// run starts the sender, and ends it all with the test.
func (r *httpRig) run(client bigpanda.Options, options rigOptions) {
	r.t.Helper()
	if client.Token == "" && client.TokenFile == "" {
		client.Token = rigToken
	}
	c, err := bigpanda.NewClient(client)
	if err != nil {
		r.t.Fatal(err)
	}
	options.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newRigSender(r.queue, c, options).Run(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-ended
		c.Close()
		r.box.Close()
		r.server.Close()
		if s := r.queue.Stats(); s.InFlight != 0 {
			r.t.Errorf("the sender has left %d in flight", s.InFlight)
		}
		if strings.Contains(r.log.String(), rigToken) {
			r.t.Error("the token is in the log (P9)")
		}
	})
}

// append queues critical alerts of hosts.
func (r *httpRig) append(timestamp int64, hosts ...string) {
	var changes []outbox.Change
	for _, host := range hosts {
		p := bigpanda.Payload{AppKey: "k", Status: "critical", Timestamp: timestamp,
			Properties: map[string]string{"host": host, "check": "c"}}
		changes = append(changes, outbox.Change{
			Alert: p.Identity().Key(), AppKey: p.AppKey, Time: timestamp, Level: "CRITICAL", Payload: p.Encode(),
		})
	}
	r.queue.Append(changes, nil)
}

func (r *httpRig) drain() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if err := r.queue.Drain(ctx); err != nil {
		r.t.Fatalf("drain: %v\n%s", err, r.log.String())
	}
}

// awaitLog waits until the log says something.
func (r *httpRig) awaitLog(text string) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(r.log.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("the log does not say %q:\n%s", text, r.log.String())
		}
	}
}

// What the first answer is, and what becomes of two alerts: the table of
// the design, over HTTP (P5).
func TestSenderHTTP(t *testing.T) {
	t.Parallel()
	const (
		fails  = "delivery fails and is tried again"
		all    = "all alerts are held"
		appKey = "the alerts of an app key are held"
		dead   = "dead letter"
	)
	tests := []struct {
		name   string
		faults sandbox.Faults
		log    string // what it says of the failure; empty: nothing
		dead   int
	}{
		{"201", sandbox.Faults{}, "", 0},
		{"200 with an empty body", sandbox.Faults{Status: 200, Body: " ", Accept: true, Count: 1}, "", 0},
		{"202 with a JSON body", sandbox.Faults{Status: 202, Body: "{}", Accept: true, Count: 1}, "", 0},
		{"204", sandbox.Faults{Status: 204, Accept: true, Count: 1}, "", 0},
		{"408", sandbox.Faults{Status: 408, Count: 1}, fails, 0},
		{"425", sandbox.Faults{Status: 425, Count: 1}, fails, 0},
		{"429", sandbox.Faults{Status: 429, Count: 2}, fails, 0},
		{"429 with Retry-After", sandbox.Faults{Status: 429, RetryAfter: time.Second, Count: 1}, fails, 0},
		{"500", sandbox.Faults{Status: 500, Count: 1}, fails, 0},
		{"501", sandbox.Faults{Status: 501, Count: 1}, fails, 0},
		{"502 with a page", sandbox.Faults{Status: 502, Body: "<html>", Count: 1}, fails, 0},
		{"503 with Retry-After", sandbox.Faults{Status: 503, RetryAfter: time.Second, Count: 1}, fails, 0},
		{"504, and the alerts were taken", sandbox.Faults{Status: 504, Accept: true, Count: 1}, fails, 0},
		{"the connection is closed", sandbox.Faults{Drop: true, Count: 2}, fails, 0},
		{"no answer in time", sandbox.Faults{Hang: true, Count: 1}, fails, 0},
		{"200 with a page", sandbox.Faults{Status: 200, Body: "<html>", Count: 1}, all, 0},
		{"201 with a page", sandbox.Faults{Status: 201, Body: "<html>", Count: 1}, all, 0},
		{"302", sandbox.Faults{Status: 302, Count: 1}, all, 0},
		{"401", sandbox.Faults{Status: 401, Count: 1}, all, 0},
		{"403", sandbox.Faults{Status: 403, Count: 1}, all, 0},
		{"407", sandbox.Faults{Status: 407, Count: 1}, all, 0},
		{"404", sandbox.Faults{Status: 404, Count: 1}, appKey, 0},
		{"410", sandbox.Faults{Status: 410, Count: 1}, appKey, 0},
		{"400 for one of them", sandbox.Faults{Status: 400, Match: `"bad"`}, dead, 1},
		{"409 for one of them", sandbox.Faults{Status: 409, Match: `"bad"`}, dead, 1},
		{"413 for one of them", sandbox.Faults{Status: 413, Match: `"bad"`}, dead, 1},
		{"413 for both at once", sandbox.Faults{MaxAlerts: 1}, "", 0},
		{"422 for one of them", sandbox.Faults{Status: 422, Match: `"bad"`}, dead, 1},
		{"another 4xx for one of them", sandbox.Faults{Status: 451, Match: `"bad"`}, dead, 1},
	}
	var rigs []*httpRig // which all wait at once
	for _, tt := range tests {
		client := bigpanda.Options{}
		if tt.faults.Hang {
			client.Timeout = 2 * time.Second // also for the test's machine to answer in
		}
		r := startHTTP(t, tt.faults, client, rigOptions{})
		r.append(1, "good", "bad")
		rigs = append(rigs, r)
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rigs[i]
			r.drain()
			if n := r.queue.Stats().Dead; n != tt.dead {
				t.Errorf("%d dead letters, want %d", n, tt.dead)
			}
			if alerts := r.box.Alerts(); len(alerts) != 2-tt.dead {
				t.Errorf("BigPanda has %d alerts: %+v", len(alerts), alerts)
			}
			for _, d := range r.queue.DeadLetters() {
				if d.Status != tt.faults.Status || !strings.Contains(d.Answer, "the fault") || !strings.Contains(string(d.Payload), `"bad"`) {
					t.Errorf("dead letter %+v", d)
				}
			}
			for _, text := range []string{fails, all, appKey, dead} {
				if strings.Contains(r.log.String(), text) != (text == tt.log) {
					t.Errorf("the log should say only %q:\n%s", tt.log, r.log.String())
				}
			}
		})
	}
}

func TestSenderHTTPWrongToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old-token")
	r := startHTTP(t, sandbox.Faults{}, bigpanda.Options{TokenFile: file}, rigOptions{})
	r.append(1, "a", "b", "c")
	r.awaitLog("all alerts are held")
	write(rigToken)
	r.drain()
	if n := len(r.box.Alerts()); n != 3 {
		t.Errorf("%d alerts arrived", n)
	}
	r.awaitLog("alerts are no longer held")
}

func TestSenderHTTPNoTrust(t *testing.T) {
	t.Parallel()
	r := &httpRig{t: t, queue: newRigQueue(), box: sandbox.New(sandbox.Options{})}
	r.server = httptest.NewUnstartedServer(r.box)
	r.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	r.server.StartTLS()
	r.run(bigpanda.Options{URL: r.server.URL + sandbox.Path}, rigOptions{})
	r.append(1, "a")
	r.awaitLog("all alerts are held")
	r.awaitLog("reason=tls")
	if n := r.box.Stats().Requests; n != 0 {
		t.Errorf("%d requests were sent without trust", n)
	}
}

// P5: order for each alert over four connections, with answers that are slow,
// fail, get lost, and ask for less.
func TestSenderHTTPOrder(t *testing.T) {
	t.Parallel()
	r := startHTTP(t, sandbox.Faults{}, bigpanda.Options{}, rigOptions{BatchSize: 20, Connections: 4})
	var hosts []string
	for i := range 100 {
		hosts = append(hosts, fmt.Sprint("host-", i))
	}
	const steps = 12
	for step := range int64(steps) {
		r.append(1000+step, hosts...)
		faults := []sandbox.Faults{
			{Status: 503, Count: 2}, {Drop: true, Accept: true, Count: 2}, {Rate: 20, Count: 10},
			{Status: http.StatusGatewayTimeout, Accept: true, Count: 1}, {Latency: 5 * time.Millisecond},
		}
		if err := r.box.SetFaults(faults[step%int64(len(faults))]); err != nil {
			t.Fatal(err)
		}
	}
	r.drain()
	events := make(map[string]int64)
	for _, e := range r.box.Events() {
		if !e.Duplicate && e.Timestamp < events[e.Key] {
			t.Errorf("%s: %d came after %d", e.Key, e.Timestamp, events[e.Key])
		}
		events[e.Key] = max(events[e.Key], e.Timestamp)
	}
	for _, a := range r.box.Alerts() {
		if a.Timestamp != 1000+steps-1 {
			t.Errorf("%s ends with %d", a.Key, a.Timestamp)
		}
		if a.Events < steps {
			t.Errorf("of %s %d events arrived", a.Key, a.Events)
		}
	}
	if n := len(r.box.Alerts()); n != len(hosts) {
		t.Errorf("%d alerts arrived", n)
	}
}
