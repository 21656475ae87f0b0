package test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
)

// Token is the one that NewBigPanda takes.
const Token = "T0KEN-not-to-be-seen"

// Environment is what a function needs to reach a BigPanda at url.
func Environment(url string) []string {
	return []string{"BIGPANDA_URL=" + url + "/data/v2/alerts", "BIGPANDA_TOKEN=" + Token, "BIGPANDA_APP_KEY=app"}
}

// NewBigPanda starts a sandbox that takes only Token, and returns the environment
// of a function that sends to it, with an outbox of its own.
func NewBigPanda(t testing.TB) (*sandbox.Server, []string) {
	s := sandbox.New(sandbox.Options{Token: Token})
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		server.Close()
	})
	return s, append(Environment(server.URL), "BIGPANDA_OUTBOX="+t.TempDir())
}

// SetFaults has a sandbox fail.
func SetFaults(t testing.TB, s *sandbox.Server, f sandbox.Faults) {
	t.Helper()
	if err := s.SetFaults(f); err != nil {
		t.Fatal(err)
	}
}

// Statuses lists the statuses that a sandbox was told, by host in the order of
// arrival, without exact duplicates: delivery is at least once.
func Statuses(s *sandbox.Server) map[string][]string {
	all := make(map[string][]string)
	for _, e := range s.Events() {
		host := e.Payload.Text("host")
		if e.Duplicate {
			continue
		}
		all[host] = append(all[host], e.Status)
	}
	return all
}

// WaitFor waits until cond holds of what the sandbox has counted.
func WaitFor(t testing.TB, s *sandbox.Server, cond func(sandbox.Stats) bool) {
	t.Helper()
	WaitWithin(t, s, Patient, cond)
}

// WaitEvents waits until the sandbox has taken n alerts.
func WaitEvents(t testing.TB, s *sandbox.Server, n int) {
	t.Helper()
	WaitFor(t, s, func(st sandbox.Stats) bool { return st.Events >= n })
}

// WaitWithin is WaitFor for what may take longer.
func WaitWithin(t testing.TB, s *sandbox.Server, limit time.Duration, cond func(sandbox.Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := s.WaitFor(ctx, cond); err != nil {
		t.Fatalf("the sandbox did not come so far: %v; it has %+v", err, s.Stats())
	}
}
