package topic

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/test"
	"bigpanda-udf/udf"
)

// A rig is a Server that listens on loopback, and what its handlers hold.
type rig struct {
	t      *testing.T
	server *Server
	url    string
	log    *test.LogBuffer
	stop   context.CancelFunc
	ended  chan error
	client *http.Client

	mu     sync.Mutex
	stores map[string]*store // by handler
	opened int
}

// patient is for what happens at once on a machine that is not busy.
const patient = 30 * time.Second

// startServer starts one with an outbox in memory for each handler. change may change
// what it is made of.
func startServer(t *testing.T, change func(*Options, *times)) *rig {
	t.Helper()
	r := &rig{t: t, log: new(test.LogBuffer), ended: make(chan error, 1), stores: make(map[string]*store), client: &http.Client{Timeout: patient}}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	o := Options{
		Defaults: &udf.Defaults{AppKey: "key", AutoAttributes: "tags,fields"}, Log: log,
		NewHandler: func(d udf.Defaults, log *slog.Logger) (*udf.Handler, func()) {
			open := func(u udf.Use) (udf.Store, error) {
				r.mu.Lock()
				r.opened++
				r.mu.Unlock()
				return r.store(u.Task), nil
			}
			return udf.New(udf.Config{Defaults: d, Enabled: true, Open: open, Log: log}), func() {}
		},
	}
	limits := defaultTimes
	limits.look = 10 * time.Millisecond
	if change != nil {
		change(&o, &limits)
	}
	r.server = New(o)
	r.server.times = limits
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String()
	if o.Access.Certificate != "" {
		r.url = "https://" + l.Addr().String()
		r.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.ended <- r.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		r.end()
		if t.Failed() {
			t.Logf("the log:\n%s", r.log.String())
		}
	})
	return r
}

// store returns the outbox of a handler, which lasts as one on disk does.
func (r *rig) store(name string) *store {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stores[name] == nil {
		r.stores[name] = &store{levels: make(map[string]outbox.Level)}
	}
	return r.stores[name]
}

// A store is an outbox that delivers nothing.
type store struct {
	mu     sync.Mutex
	told   []string // levels, in order
	levels map[string]outbox.Level
	hold   chan struct{} // if set, Append waits until it is closed
}

func (s *store) Levels(each func(outbox.Level) bool) (isNew bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.levels {
		each(l)
	}
	return len(s.levels) == 0, nil
}

func (s *store) Append(changes []outbox.Change, levels []outbox.Level) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.told = append(s.told, c.Level)
	}
	for _, l := range levels {
		s.levels[l.Key] = l
	}
}

// says returns what was told.
func (s *store) says() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.told, " ")
}

// end stops the server. It may be called twice.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("the server failed: %v", err)
		}
		r.ended <- nil
	case <-time.After(patient):
		r.t.Fatal("the server does not end")
	}
}

// request makes one that Kapacitor makes, but for what change does to it.
func (r *rig) request(name, body string, change func(*http.Request)) *http.Request {
	r.t.Helper()
	q, err := http.NewRequest(http.MethodPost, r.url+Path+name, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(q)
	}
	return q
}

// post sends one, and returns the status and the text of the answer.
func (r *rig) post(name, body string, change func(*http.Request)) (status int, text string) {
	r.t.Helper()
	answer, err := r.client.Do(r.request(name, body, change))
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, strings.TrimSuffix(string(data), "\n")
}

// must sends one that is to be taken.
func (r *rig) must(name, body string) {
	r.t.Helper()
	if status, text := r.post(name, body, nil); status != http.StatusOK || text != "" {
		r.t.Fatalf("the answer is %d %q", status, text)
	}
}

// event is one of cpu at a level, n seconds after another with n 0.
func event(id string, level, before udf.Level, n int) string {
	return fmt.Sprintf(`{"id":%q,"message":"%[1]s is %s","details":"","time":%q,"duration":%d,"level":"%[2]s",`+
		`"data":{"series":[{"name":"cpu","tags":{"host":"a"},"columns":["time","n"],"values":[[%[3]q,%d]]}]},"previousLevel":"%s","recoverable":true}`,
		id, level, time.Unix(1_700_000_000+int64(n), 0).UTC().Format(time.RFC3339), n, before)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(patient); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not so after %s: %s", patient, what)
		}
	}
}
