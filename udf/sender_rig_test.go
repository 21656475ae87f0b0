package udf

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
	"bigpanda-udf/test"
)

// Full is for both packages of tests.
var Full = flag.Bool("udf.full", false, "all rounds of the tests that go by chance")

// rounds is how many of them there are: all if that was asked for.
func rounds(long, short uint64) uint64 {
	if *Full {
		return long
	}
	return uint64(test.Volume(int(short), int(short)/3))
}

// A request is what a fakeAPI was sent.
type request struct {
	at     time.Duration // since the start
	appKey string
	alerts []string // payloads, "appKey/alert#number"
	answer *bigpanda.Error
}

func (r request) String() string {
	outcome := "accepted"
	if r.answer != nil {
		outcome = fmt.Sprint(r.answer.Class, " ", r.answer.Status)
	}
	return fmt.Sprintf("%v %s %v: %s", r.at, r.appKey, r.alerts, outcome)
}

// has reports whether a change of an alert is in the request.
func (r request) has(alert string) bool {
	return slices.ContainsFunc(r.alerts, func(p string) bool { return strings.HasPrefix(p, alert+"#") })
}

// A rule says what a request is answered with; nil means accepted.
type rule func(r request) *bigpanda.Error

// fakeAPI is a BigPanda in a synctest bubble.
type fakeAPI struct {
	t       *testing.T
	start   time.Time
	latency time.Duration // set before anything is sent
	size    int           // the most alerts that a request may hold

	mu       sync.Mutex
	slow     func(request) time.Duration // in place of latency, if set
	rule     rule
	requests []request
	accepted []string // payloads, in the order of their first acceptance
	seen     map[string]bool
	inFlight map[string]bool // alerts
	now      int             // requests under way
	most     int             // of now
}

// lost is the answer that comes with an error although the alerts were taken.
const lost = "lost"

func (a *fakeAPI) Send(ctx context.Context, appKey string, alerts [][]byte) (bigpanda.Answer, error) {
	a.mu.Lock()
	r := request{at: time.Since(a.start), appKey: appKey}
	for _, p := range alerts {
		r.alerts = append(r.alerts, string(p))
	}
	mine := a.begin(r)
	latency := a.latency
	if a.slow != nil {
		latency = a.slow(r)
	}
	a.mu.Unlock()
	whole := retry.Sleep(ctx, latency)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
	for alert := range mine {
		delete(a.inFlight, alert)
	}
	if !whole {
		return bigpanda.Answer{}, &bigpanda.Error{Class: bigpanda.Retry, Reason: bigpanda.ReasonCanceled, Err: ctx.Err()}
	}
	if a.rule != nil {
		r.answer = a.rule(r)
	}
	a.requests = append(a.requests, r)
	if r.answer != nil && r.answer.Answer != lost {
		return bigpanda.Answer{Status: r.answer.Status}, r.answer
	}
	for _, p := range r.alerts {
		if !a.seen[p] {
			a.seen[p] = true
			a.accepted = append(a.accepted, p)
		}
	}
	if r.answer != nil {
		return bigpanda.Answer{}, r.answer
	}
	return bigpanda.Answer{Status: 201}, nil
}

// begin checks what no request may break: an alert is in one at a time, and
// its changes are in order. It returns the alerts.
func (a *fakeAPI) begin(r request) map[string]bool {
	a.now++
	a.most = max(a.most, a.now)
	if len(r.alerts) > a.size {
		a.t.Errorf("a request holds %d alerts, more than %d", len(r.alerts), a.size)
	}
	last := make(map[string]int)
	mine := make(map[string]bool)
	for _, p := range r.alerts {
		alert, number, _ := strings.Cut(p, "#")
		n, _ := strconv.Atoi(number)
		if n <= last[alert] {
			a.t.Errorf("a request is out of order: %v", r)
		}
		if a.inFlight[alert] && !mine[alert] {
			a.t.Errorf("%s is in two requests at once", alert)
		}
		if appKey, _, _ := strings.Cut(alert, "/"); appKey != r.appKey {
			a.t.Errorf("a request mixes app keys: %v", r)
		}
		last[alert], mine[alert], a.inFlight[alert] = n, true, true
	}
	return mine
}

// answer replaces the rule.
func (a *fakeAPI) answer(with rule) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rule = with
}

// delay replaces the latency.
func (a *fakeAPI) delay(by func(request) time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slow = by
}

// underWay counts the requests that have no answer yet.
func (a *fakeAPI) underWay() (now, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now, a.most
}

// sent returns the requests so far.
func (a *fakeAPI) sent() []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// delivered returns how many changes were accepted.
func (a *fakeAPI) delivered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.accepted)
}

// deliveredOf returns what was accepted of an alert, in order.
func (a *fakeAPI) deliveredOf(alert string) (payloads []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.accepted {
		if strings.HasPrefix(p, alert+"#") {
			payloads = append(payloads, p)
		}
	}
	return payloads
}

func (a *fakeAPI) has(payload string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[payload]
}

// status is the error that bigpanda.Client makes of an answer.
func status(code int) *bigpanda.Error {
	e := &bigpanda.Error{Status: code, Answer: fmt.Sprintf("answer %d", code), Err: fmt.Errorf("status %d", code)}
	switch {
	case code == 0:
		e.Class, e.Reason = bigpanda.Retry, bigpanda.ReasonNetwork
	case code == 429:
		e.Class, e.Reason = bigpanda.Retry, bigpanda.ReasonThrottled
	case code >= 500:
		e.Class, e.Reason = bigpanda.Retry, bigpanda.ReasonServer
	case code == 401:
		e.Class, e.Reason = bigpanda.Hold, bigpanda.ReasonToken
	case code == 403:
		e.Class, e.Reason = bigpanda.Hold, bigpanda.ReasonForbidden
	case code == 404:
		e.Class, e.Reason = bigpanda.HoldAppKey, bigpanda.ReasonNotFound
	default:
		e.Class, e.Reason = bigpanda.Refused, bigpanda.ReasonRefused
	}
	return e
}

func statusAfter(code int, wait time.Duration) *bigpanda.Error {
	e := status(code)
	e.RetryAfter = wait
	return e
}

// always answers everything alike.
func always(e *bigpanda.Error) rule { return func(request) *bigpanda.Error { return e } }

// poison answers whatever holds a change of the alert.
func poison(alert string, e *bigpanda.Error) rule {
	return func(r request) *bigpanda.Error {
		if r.has(alert) {
			return e
		}
		return nil
	}
}

// appKeyRule answers one app key.
func appKeyRule(appKey string, e *bigpanda.Error) rule {
	return func(r request) *bigpanda.Error {
		if r.appKey == appKey {
			return e
		}
		return nil
	}
}

// A rigQueue is an outbox in memory that keeps its dead letters.
type rigQueue struct {
	*outbox.Memory
	mu      sync.Mutex
	letters []outbox.DeadLetter
}

func newRigQueue() *rigQueue { return &rigQueue{Memory: outbox.NewMemory(0)} }

func (q *rigQueue) Dead(c outbox.Change, status int, answer string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.letters = append(q.letters, outbox.DeadLetter{Change: c, Status: status, Answer: answer})
	return q.Memory.Dead(c, status, answer)
}

func (q *rigQueue) DeadLetters() []outbox.DeadLetter {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.letters)
}

// A senderRig is a running Sender between an outbox and a fakeAPI.
type senderRig struct {
	t      *testing.T
	queue  *rigQueue
	api    *fakeAPI
	cancel context.CancelFunc
	ended  chan struct{}
	count  map[string]int // changes of each alert so far

	log test.LogBuffer
}

// inBubble runs a test of a Sender on a fake clock. At the end the sender is
// stopped; then nothing may be in flight.
func inBubble(t *testing.T, o rigOptions, test func(t *testing.T, r *senderRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newSenderRig(t)
		r.start(o)
		defer r.stop()
		test(t, r)
	})
}

func newSenderRig(t *testing.T) *senderRig {
	return &senderRig{
		t:     t,
		queue: newRigQueue(),
		api:   &fakeAPI{t: t, start: time.Now(), latency: 50 * time.Millisecond, seen: make(map[string]bool), inFlight: make(map[string]bool), size: DefaultBatchSize},
		count: make(map[string]int),
	}
}

// rigOptions are those of a Sender and of the API's limits.
type rigOptions struct {
	BatchSize, Connections int
	Rate                   float64
	AppKey                 string
	HasLeft                func(appKey string) bool
	Log                    *slog.Logger
}

func newRigSender(q Queue, api retry.API, o rigOptions) *Sender {
	limited := retry.NewLimitedAPI(api, cmp.Or(o.Connections, bigpanda.DefaultConnections), o.Rate)
	return NewSender(q, limited, SenderOptions{BatchSize: o.BatchSize, AppKey: o.AppKey, HasLeft: o.HasLeft, Log: o.Log})
}

// start runs a new sender.
func (r *senderRig) start(o rigOptions) {
	o.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	r.api.size = cmp.Or(o.BatchSize, DefaultBatchSize)
	r.run(newRigSender(r.queue, r.api, o))
}

func (r *senderRig) run(s *Sender) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan struct{})
	go func() {
		defer close(r.ended)
		s.Run(ctx)
	}()
}

func (r *senderRig) stop() {
	r.t.Helper()
	r.cancel()
	<-r.ended
	if s := r.queue.Stats(); s.InFlight != 0 {
		r.t.Errorf("the sender has ended and left %d in flight", s.InFlight)
	}
	if now, _ := r.api.underWay(); now != 0 {
		r.t.Errorf("the sender has ended and left %d requests under way", now)
	}
	r.wantLines(0, "canceled")
}

// append queues one change of each of the alerts, "appKey/alert", in one commit.
func (r *senderRig) append(alerts ...string) {
	var changes []outbox.Change
	for _, alert := range alerts {
		appKey, _, _ := strings.Cut(alert, "/")
		r.count[alert]++
		changes = append(changes, outbox.Change{
			Alert: alert, AppKey: appKey, Payload: fmt.Appendf(nil, "%s#%d", alert, r.count[alert]),
		})
	}
	r.queue.Append(changes, nil)
}

// many names n alerts of an app key.
func many(appKey string, n int) (alerts []string) {
	for i := range n {
		alerts = append(alerts, fmt.Sprintf("%s/%d", appKey, i))
	}
	return alerts
}

// drain waits until the outbox is empty, and fails when it takes longer.
func (r *senderRig) drain(within time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := r.queue.Drain(ctx); errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("after %v there is still something queued: %+v; requests:\n%s", within, r.queue.Stats(), r.history())
	}
	synctest.Wait() // the sender may still have something to say
}

// within waits until cond holds, and fails when it takes longer.
func (r *senderRig) within(d time.Duration, what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(d); !cond(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not within %v: %s; requests:\n%s", d, what, r.history())
		}
	}
}

// history shows the last requests and all of the log.
func (r *senderRig) history() string {
	var b strings.Builder
	requests := r.api.sent()
	for _, q := range requests[max(0, len(requests)-40):] {
		q.alerts = append(q.alerts[:min(2, len(q.alerts))], fmt.Sprintf("%d in all", len(q.alerts)))
		fmt.Fprintln(&b, q)
	}
	return b.String() + r.log.String()
}

// complete fails unless everything that was appended was delivered, in order
// for each alert.
func (r *senderRig) complete() {
	r.t.Helper()
	r.api.mu.Lock()
	delivered := make(map[string][]string)
	for _, p := range r.api.accepted {
		alert, _, _ := strings.Cut(p, "#")
		delivered[alert] = append(delivered[alert], p)
	}
	r.api.mu.Unlock()
	for alert, n := range r.count {
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("%s#%d", alert, i+1))
		}
		if got := delivered[alert]; !slices.Equal(got, want) {
			r.t.Errorf("of %s arrived %v, want %v", alert, got, want)
		}
	}
}

// lines counts the lines of the log that hold a text.
func (r *senderRig) lines(text string) (n int) {
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (r *senderRig) wantLines(want int, text string) {
	r.t.Helper()
	if got := r.lines(text); got != want {
		r.t.Errorf("%d lines of the log say %q, want %d:\n%s", got, text, want, r.log.String())
	}
}
