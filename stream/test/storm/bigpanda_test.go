package storm

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A bigPanda takes alerts as the Alerts API does, and fails as a row says. Each deliverer
// has an address of its own there, so that it shows who sent a request.
type bigPanda struct {
	// outcome says what becomes of a request; nil: it is taken. Set before the first one.
	outcome func(n int, r *request) outcome
	latency time.Duration

	mu       sync.Mutex // guards what follows
	requests []*request // in the order of their answers
	came     int        // requests, also those under way
	taken    map[change]int
	changed  chan struct{} // closed, and made anew, at each answer
}

// An outcome is what BigPanda answers.
type outcome int

const (
	taken     outcome = http.StatusCreated
	busy      outcome = http.StatusServiceUnavailable
	unknown   outcome = http.StatusNotFound // of an app key
	refused   outcome = http.StatusBadRequest
	lost      outcome = -1 // taken, and the answer is lost
	abandoned outcome = -2 // the body was cut off
)

// A change is one of the alerts that were fed, by its series and its number in it.
type change struct {
	host string
	seq  int
}

// A request is one that came.
type request struct {
	sender   int // the number of the deliverer
	came     time.Time
	answered time.Time
	outcome  outcome
	appKey   string
	changes  []change
}

func newBigPanda(latency time.Duration) *bigPanda {
	return &bigPanda{latency: latency, taken: make(map[change]int), changed: make(chan struct{})}
}

// listen returns where a deliverer sends to, until the end of the test.
func (b *bigPanda) listen(t testing.TB, sender int) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.serve(w, r, sender)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/data/v2/alerts"
}

func (b *bigPanda) serve(w http.ResponseWriter, r *http.Request, sender int) {
	q := &request{sender: sender, came: time.Now()}
	b.mu.Lock()
	b.came++
	n := b.came
	b.mu.Unlock()
	if body, err := io.ReadAll(r.Body); err != nil {
		q.outcome = abandoned
	} else {
		time.Sleep(b.latency)
		q.outcome = taken
		if q.read(body); q.outcome == taken && b.outcome != nil {
			q.outcome = b.outcome(n, q)
		}
	}
	b.record(q)
	switch q.outcome {
	case lost, abandoned:
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := c.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
			c.Close()
		}
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(q.outcome))
		io.WriteString(w, "{}")
	}
}

// record enters a request at once, before its answer, so that whoever has the answer
// finds it there.
func (b *bigPanda) record(q *request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q.answered = time.Now()
	b.requests = append(b.requests, q)
	if q.isTaken() {
		for _, c := range q.changes {
			b.taken[c]++
		}
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

func (q *request) isTaken() bool { return q.outcome == taken || q.outcome == lost }

// read reads which changes a request holds.
func (q *request) read(body []byte) {
	type alert struct {
		Host string      `json:"host"`
		Seq  json.Number `json:"seq"`
	}
	var all struct {
		AppKey string `json:"app_key"`
		alert
		Alerts []alert `json:"alerts"`
	}
	if err := json.Unmarshal(body, &all); err != nil {
		q.outcome = abandoned
		return
	}
	q.appKey = all.AppKey
	if all.Alerts == nil {
		all.Alerts = []alert{all.alert}
	}
	for _, a := range all.Alerts {
		seq, err := a.Seq.Int64()
		if err != nil {
			q.outcome = abandoned
			return
		}
		q.changes = append(q.changes, change{a.Host, int(seq)})
	}
}

// has reports whether a request holds an alert of a host with a prefix.
func (q *request) has(prefix string) bool {
	for _, c := range q.changes {
		if strings.HasPrefix(c.host, prefix) {
			return true
		}
	}
	return false
}

// leader returns which deliverer the last request was of, -1 if there was none since.
func (b *bigPanda) leader(since time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.requests) - 1; i >= 0 && b.requests[i].came.After(since); i-- {
		if b.requests[i].isTaken() {
			return b.requests[i].sender
		}
	}
	return -1
}

// lacks returns how many of changes were not taken.
func (b *bigPanda) lacks(changes []change) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range changes {
		if b.taken[c] == 0 {
			n++
		}
	}
	return n
}

// missing is an error while some of changes were not taken.
func (b *bigPanda) missing(changes []change) error {
	if n := b.lacks(changes); n > 0 {
		return fmt.Errorf("%d of %d changes are missing", n, len(changes))
	}
	return nil
}

// next is closed at the next answer.
func (b *bigPanda) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// arrivals returns how many alerts were taken or refused alone, those of before counted
// again.
func (b *bigPanda) arrivals() int {
	n := b.refusedAlone()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, times := range b.taken {
		n += times
	}
	return n
}

// refusedAlone returns how many requests with one alert were refused: each becomes a dead
// letter.
func (b *bigPanda) refusedAlone() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.requests {
		if q.outcome == refused && len(q.changes) == 1 {
			n++
		}
	}
	return n
}
