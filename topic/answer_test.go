package topic

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/udf"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	r := startServer(t, nil)
	good := event("a", udf.Critical, udf.OK, 0)
	to := func(path string) func(*http.Request) {
		return func(q *http.Request) { q.URL.Path = path }
	}
	header := func(name, value string) func(*http.Request) {
		return func(q *http.Request) { q.Header.Set(name, value) }
	}
	for _, tt := range []struct {
		name, body string
		change     func(*http.Request)
		status     int
		text       string
	}{
		{name: "a change", body: good, status: 200},
		{name: "the same again", body: good, status: 200},
		{name: "the kind of the body with its charset", body: good, change: header("Content-Type", "application/json; charset=utf-8"), status: 200},
		{name: "this machine by its name", body: good, change: func(q *http.Request) { q.Host = "LocalHost.:1" }, status: 200},
		{name: "of no length", body: good, change: func(q *http.Request) { q.ContentLength = -1 }, status: 200},

		{name: "no event", body: "{", status: 400, text: "the body is no event of Kapacitor's post handler: it is not JSON"},
		{name: "no name", body: good, change: to(Path), status: 400, text: `"" is no name of a handler: write letters, digits, dots, hyphens and underscores, 100 at most, with a letter or a digit first`},
		{name: "a name of another folder", body: good, change: to(Path + ".."), status: 400, text: `".." is no name of a handler: write letters, digits, dots, hyphens and underscores, 100 at most, with a letter or a digit first`},
		{name: "a name with control characters", body: good, change: to(Path + "\x1b[2J"), status: 400, text: `"\x1b[2J" is no name of a handler: write letters, digits, dots, hyphens and underscores, 100 at most, with a letter or a digit first`},
		{name: "another path", body: good, change: to("/"), status: 404, text: "events are posted to /alerts/NAME, and nothing else is here"},
		{name: "a longer path", body: good, change: to(Path + "a/b"), status: 404, text: "events are posted to /alerts/NAME, and nothing else is here"},
		{name: "another method", change: func(q *http.Request) { q.Method = http.MethodGet }, status: 405, text: "events come by POST"},
		{name: "another host", body: good, change: func(q *http.Request) { q.Host = "evil.example" }, status: 403, text: "the Host header names neither loopback nor the address or the name that is listened on: send to one of these"},
		{name: "a form, which any web page may send", body: good, change: header("Content-Type", "text/plain"), status: 415, text: "the Content-Type is not application/json: let Kapacitor's post handler send the event as it is, without alert-template"},
		{name: "a body that says that it is too large", body: strings.Repeat(" ", maxBody+1), status: 413, text: "the event is larger than 8388608 bytes: let a node before |alert() make fewer points"},
		{name: "a body that is too large and does not say so", body: `{"x":"` + strings.Repeat("x", maxBody), change: func(q *http.Request) { q.ContentLength = -1 }, status: 413, text: "the event is larger than 8388608 bytes: let a node before |alert() make fewer points"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, text := r.post("cpu", tt.body, tt.change)
			if status != tt.status || text != tt.text {
				t.Errorf("the answer is %d %q, want %d %q", status, text, tt.status, tt.text)
			}
		})
	}
	if told := r.store("cpu").says(); told != "CRITICAL" {
		t.Errorf("told %s", told)
	}
	if r.opened != 1 {
		t.Errorf("%d outboxes were opened", r.opened)
	}
}

// A client of Kapacitor's is made for one event, and would keep its connection.
func TestConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	r := startServer(t, nil)
	answer, err := r.client.Do(r.request("cpu", event("a", udf.Critical, udf.OK, 0), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if !answer.Close {
		t.Error("the connection stays open")
	}
}

// What is ours to mend is answered with 503: the request was right.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	const disk = "the outbox cannot be written: mend it"
	fails := true
	r := startServer(t, func(o *Options, _ *times) {
		works := o.NewHandler
		o.NewHandler = func(d udf.Defaults, log *slog.Logger) (*udf.Handler, func()) {
			if fails {
				open := func(udf.Use) (udf.Store, error) { return nil, errors.New(disk) }
				return udf.New(udf.Config{Defaults: d, Enabled: true, Open: open, Log: log}), func() {}
			}
			return works(d, log)
		}
	})
	good := event("a", udf.Critical, udf.OK, 0)
	if status, text := r.post("cpu", good, nil); status != 503 || text != disk {
		t.Errorf("the answer is %d %q", status, text)
	}
	fails = false
	r.must("cpu", good)

	r = startServer(t, func(o *Options, _ *times) { o.Defaults = &udf.Defaults{} })
	if status, text := r.post("cpu", good, nil); status != 503 || text != "handler cpu has no app key: set option app-key in its file, or BIGPANDA_APP_KEY for the daemon" {
		t.Errorf("the answer is %d %q", status, text)
	}
}

func TestTooManyHandlers(t *testing.T) {
	t.Parallel()
	r := startServer(t, nil)
	if status, _ := r.post("none", "{}", nil); status != 400 || len(r.server.all()) != 0 {
		t.Errorf("what is no event got %d, and there are %d handlers", status, len(r.server.all()))
	}
	for n := range maxUses {
		if _, err := r.server.use(fmt.Sprint("h", n)); err != nil {
			t.Fatal(err)
		}
	}
	status, text := r.post("one-more", event("a", udf.Critical, udf.OK, 0), nil)
	if status != 403 || text != "this daemon has events of 500 handlers already: use one of their names" {
		t.Errorf("the answer is %d %q", status, text)
	}
	r.must("h7", event("a", udf.Critical, udf.OK, 0))
}

// P8: what is on its way when the daemon is told to stop is taken; what comes then is
// not, and says so.
func TestStop(t *testing.T) {
	t.Parallel()
	r := startServer(t, nil)
	held := r.store("cpu")
	held.hold = make(chan struct{})
	answered := make(chan int)
	go func() {
		status, _ := r.post("cpu", event("a", udf.Critical, udf.OK, 0), nil)
		answered <- status
	}()
	early, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if _, err := io.WriteString(early, "POST /alerts/cpu HTTP/1.1\r\nHost: localhost\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is under way", func() bool {
		u, err := r.server.use("cpu")
		if err != nil || u.mu.TryLock() {
			if err == nil {
				u.mu.Unlock()
			}
			return false
		}
		return true
	})
	r.stop()
	eventually(t, "the server stops", r.server.stopping.Load)
	if _, err := io.WriteString(early, "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	early.SetDeadline(time.Now().Add(patient))
	answer, err := io.ReadAll(early)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") || !strings.Contains(string(answer), "the daemon is shutting down") {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	close(held.hold)
	if status := <-answered; status != 200 {
		t.Errorf("the event on its way got %d", status)
	}
	r.end()
	if told := held.says(); told != "CRITICAL" {
		t.Errorf("told %s", told)
	}
}

// Whoever says nothing, or too slowly, is let go of, and is in nobody's way for
// longer than that.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	r := startServer(t, func(_ *Options, limits *times) {
		limits.header, limits.read = 3*time.Second, 3*time.Second
	})
	address := strings.TrimPrefix(r.url, "http://")
	var open []net.Conn
	for range 1000 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if len(open) == 0 {
			if _, err := io.WriteString(conn, "POST /alerts/cpu HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
		}
		open = append(open, conn)
	}
	began := time.Now()
	var clients sync.WaitGroup
	for range 100 { // more than there is room for beside the idle ones
		clients.Go(func() {
			answer, err := r.client.Do(r.request("cpu", event("a", udf.Critical, udf.OK, 0), nil))
			if err != nil {
				t.Error(err)
				return
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("the answer is %s", answer.Status)
			}
		})
	}
	clients.Wait()
	t.Logf("100 events took %s beside %d idle connections", time.Since(began), len(open))
	if told := r.store("cpu").says(); told != "CRITICAL" {
		t.Errorf("told %s", told)
	}
	for i, conn := range open {
		conn.SetReadDeadline(time.Now().Add(patient))
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatalf("connection %d is not closed: %v", i, err)
		}
		if want := "HTTP/1.1 503 "; i == 0 && !strings.HasPrefix(string(answer), want) {
			t.Errorf("the slow one got %q, want %s", answer, want)
		}
	}
}

// Large bodies at the same time are read one after the other, once they are as much as
// may be held, and nobody else waits for them.
func TestManyLargeBodies(t *testing.T) {
	t.Parallel()
	r := startServer(t, func(_ *Options, limits *times) { limits.header = time.Second })
	if !r.server.bodies.TryAcquire(maxBodies) {
		t.Fatal("something is read already")
	}
	good := event("a", udf.Critical, udf.OK, 0)
	unknown := func(q *http.Request) { q.ContentLength = -1 } // it may be as large
	if status, text := r.post("cpu", good, unknown); status != 503 || text != "too much is sent at the same time" {
		t.Errorf("the answer is %d %q", status, text)
	}
	r.must("cpu", good)
	r.server.bodies.Release(maxBodies)
	if status, text := r.post("cpu", good, unknown); status != 200 {
		t.Errorf("afterwards the answer is %d %q", status, text)
	}
}

// What waits for the outbox is held as long, and counts.
func TestLargeBodyIsHeld(t *testing.T) {
	t.Parallel()
	r := startServer(t, nil)
	slow := r.store("slow")
	slow.hold = make(chan struct{})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		r.post("slow", event("a", udf.Critical, udf.OK, 0), func(q *http.Request) { q.ContentLength = -1 })
	}()
	isHeld := func() bool {
		u, err := r.server.use("slow")
		if err == nil && u.mu.TryLock() {
			u.mu.Unlock()
			return false
		}
		return err == nil
	}
	eventually(t, "the event is on its way to the outbox", isHeld)
	if r.server.bodies.TryAcquire(maxBodies) {
		t.Error("the body counts no longer")
	}
	close(slow.hold)
	<-answered
}
