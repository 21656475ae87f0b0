package sandbox

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const testToken = "secret-token-7261"

// sandbox is a Server behind a real listener, with a client of its own.
type sandbox struct {
	*Server
	t      *testing.T
	url    string
	client *http.Client
}

func start(t *testing.T, o Options) *sandbox {
	t.Helper()
	s := New(o)
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		server.Close()
	})
	return &sandbox{s, t, server.URL, server.Client()}
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request; edit may change it before. The error is the client's.
func (s *sandbox) do(method, path, body string, edit func(*http.Request)) (reply, error) {
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if strings.HasPrefix(path, "/data/") || strings.HasPrefix(path, "/oim/") {
		r.Header.Set("Authorization", "Bearer "+testToken)
		r.Header.Set("Content-Type", "application/json")
	}
	if edit != nil {
		edit(r)
	}
	res, err := s.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(text)}, err
}

// call is do for what must be answered.
func (s *sandbox) call(method, path, body string) reply {
	s.t.Helper()
	got, err := s.do(method, path, body, nil)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// post posts to the API, which must answer with want.
func (s *sandbox) post(body string, want int) reply {
	s.t.Helper()
	got := s.call("POST", Path, body)
	if got.status != want {
		s.t.Fatalf("post %.200s: status %d, want %d; body %s", body, got.status, want, got.body)
	}
	return got
}

func (s *sandbox) setFaults(f Faults) {
	s.t.Helper()
	if err := s.SetFaults(f); err != nil {
		s.t.Fatal(err)
	}
}

// waitFor is WaitFor with an end: that of the test.
func (s *sandbox) waitFor(cond func(Stats) bool) {
	s.t.Helper()
	if err := s.WaitFor(s.t.Context(), cond); err != nil {
		s.t.Fatal(err)
	}
}

// lastRequest returns the newest request of the record.
func (s *sandbox) lastRequest() Request {
	s.t.Helper()
	requests := s.Requests()
	if len(requests) == 0 {
		s.t.Fatal("no request in the record")
	}
	return requests[len(requests)-1]
}

// fixed returns a clock that stands still.
func fixed(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 0) }
}
