package e2e

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"bigpanda-udf/sandbox"
)

// What the function is set to, unless a test says otherwise.
const (
	token  = "e2e-token-that-nobody-may-see"
	appKey = "e2e-app"
)

// bigPanda is the sandbox as a server on loopback.
type bigPanda struct {
	*sandbox.Server
	t   testing.TB
	url string // of the Alerts API
	// failure, if set, tells of what makes waiting futile.
	failure func() error
}

// startBigPanda starts a sandbox that takes only the one token.
func startBigPanda(t testing.TB) *bigPanda {
	s := sandbox.New(sandbox.Options{Token: token})
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		server.Close()
	})
	return &bigPanda{Server: s, t: t, url: server.URL + sandbox.Path}
}

// fail puts faults in force; none at all ends them.
func (b *bigPanda) fail(faults sandbox.Faults) {
	b.t.Helper()
	if err := b.SetFaults(faults); err != nil {
		b.t.Fatal(err)
	}
}

// waitFor waits until look finds no problem any more in the alerts
// that were taken.
func (b *bigPanda) waitFor(what string, look func([]sandbox.Event) (problem string)) {
	b.t.Helper()
	problem := ""
	b.waitForStats(what, func(sandbox.Stats) bool {
		problem = look(b.Events())
		return problem == ""
	}, func() string { return problem })
}

// waitForStats waits until the counts of the sandbox are as they should be.
func (b *bigPanda) waitForStats(what string, cond func(sandbox.Stats) bool, problem func() string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var watch sync.WaitGroup
	if b.failure != nil {
		watch.Go(func() {
			for ctx.Err() == nil {
				if err := b.failure(); err != nil {
					fail(err)
				}
				time.Sleep(poll)
			}
		})
	}
	err := b.WaitFor(ctx, cond)
	fail(nil)
	watch.Wait()
	if err != nil {
		b.t.Fatalf("waited in vain until %s: %s; %v", what, problem(), err)
	}
}

// waitForCount waits until n alerts were taken, and returns them.
func (b *bigPanda) waitForCount(n int) []sandbox.Event {
	b.t.Helper()
	b.waitFor(fmt.Sprintf("%d alerts have come", n), func(events []sandbox.Event) string {
		if len(events) >= n {
			return ""
		}
		return fmt.Sprintf("%d have: %s", len(events), describe(events))
	})
	return b.Events()
}

// describe lists alerts for a failure's message.
func describe(events []sandbox.Event) string {
	var lines []string
	for _, e := range events {
		lines = append(lines, string(e.Payload))
	}
	return "\n" + strings.Join(lines, "\n")
}

// byCheck sorts alerts by their check, which is the alert's id; those of one
// check stay in the order in which they came.
func byCheck(events []sandbox.Event) map[string][]sandbox.Event {
	checks := make(map[string][]sandbox.Event)
	for _, e := range events {
		id := e.Payload.Text("check")
		checks[id] = append(checks[id], e)
	}
	return checks
}

// statuses returns the status of each alert.
func statuses(events []sandbox.Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, e.Status)
	}
	return list
}

// wantStatuses fails the test unless these are the statuses, none more.
func wantStatuses(t *testing.T, events []sandbox.Event, want ...string) {
	t.Helper()
	if got := statuses(events); !slices.Equal(got, want) {
		t.Errorf("got statuses %v, want %v%s", got, want, describe(events))
	}
}

// wantClean fails the test if BigPanda would have ignored any of the alerts:
// a duplicate, one not later than another of its alert, or one without a
// primary property.
func wantClean(t *testing.T, events []sandbox.Event) {
	t.Helper()
	for _, e := range events {
		if e.Duplicate || e.Stale || e.Dropped != "" {
			t.Errorf("an alert was of no use: duplicate %t, stale %t, dropped %q: %s", e.Duplicate, e.Stale, e.Dropped, e.Payload)
		}
	}
}

// functionConfig is kapacitor.conf.snippet as a user would fill it in: the path
// of the program, the file with the token, the app key, the address and a folder
// for the outbox. env is set on top of that; "" takes a setting out.
func functionConfig(t testing.TB, b *bigPanda, env map[string]string) map[string]any {
	t.Helper()
	config := make(map[string]any)
	if _, err := toml.DecodeFile(filepath.Join("..", "kapacitor.conf.snippet"), &config); err != nil {
		t.Fatalf("read the snippet: %v", err)
	}
	tokenFile := filepath.Join(t.TempDir(), "bigpanda.token")
	if err := os.WriteFile(tokenFile, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, section := range functionTables(config) {
		table := section.(map[string]any)
		table["prog"] = function
		settings := table["env"].(map[string]any)
		settings["BIGPANDA_TOKEN_FILE"] = tokenFile
		settings["BIGPANDA_APP_KEY"] = appKey
		settings["BIGPANDA_URL"] = b.url
		settings["BIGPANDA_OUTBOX"] = filepath.Join(filepath.Dir(tokenFile), "outbox")
		for name, value := range env {
			settings[name] = value
			if value == "" {
				delete(settings, name)
			}
		}
	}
	return config
}

// functionTables are the functions' sections of a configuration, by name.
func functionTables(config map[string]any) map[string]any {
	return config["udf"].(map[string]any)["functions"].(map[string]any)
}

// functionTable is the section of @bigpanda().
func functionTable(config map[string]any) map[string]any {
	return functionTables(config)["bigpanda"].(map[string]any)
}

// start is the whole set-up of most tests: a sandbox, and a server that has
// the function as the snippet says.
func start(t *testing.T) (*kapacitor, *bigPanda) {
	t.Helper()
	t.Parallel()
	b := startBigPanda(t)
	k := startKapacitor(t, functionConfig(t, b, nil))
	b.failure = k.failure
	return k, b
}

// epoch is the time of the first point in a test. Times of points need not be
// those of the clock; only their order matters.
var epoch = time.Now().Truncate(time.Minute).Add(-time.Hour)

// at returns the time of a point n seconds after epoch, as line protocol has it.
func at(n int) int64 { return epoch.Add(time.Duration(n) * time.Second).UnixNano() }
