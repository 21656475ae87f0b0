package test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An event is a change as the fake BigPanda got it.
type event struct {
	alert string // "appKey/host"
	n     int    // of the alert: 1, 2, …
	from  string // the deliverer
	at    time.Time
}

// A fakeBigPanda takes alerts over HTTP and remembers them.
type fakeBigPanda struct {
	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex
	latency  time.Duration
	rule     func(appKey string, events []event) (status int) // 0: accepted
	answer   string                                           // to what is not
	accepted []event
	starts   []event // one for each request
}

func newFakeBigPanda(t testing.TB) *fakeBigPanda {
	b := &fakeBigPanda{t: t, latency: time.Millisecond, answer: "no"}
	b.server = httptest.NewServer(b)
	t.Cleanup(b.server.Close)
	return b
}

func (b *fakeBigPanda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	from := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer token-of-")
	type alert struct {
		AppKey string `json:"app_key"`
		Host   string `json:"host"`
		N      string `json:"n"`
	}
	var body struct {
		alert
		Alerts []alert `json:"alerts"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return // the request was broken off
	}
	if body.Alerts == nil {
		body.Alerts = []alert{body.alert}
	}
	var events []event
	for _, a := range body.Alerts {
		n, _ := strconv.Atoi(a.N)
		events = append(events, event{body.AppKey + "/" + a.Host, n, from, began})
	}
	b.mu.Lock()
	b.starts = append(b.starts, event{body.AppKey, len(events), from, began})
	latency, rule, answer := b.latency, b.rule, b.answer
	b.mu.Unlock()
	time.Sleep(latency)
	status := 0
	if rule != nil {
		status = rule(body.AppKey, events)
	}
	if status != 0 {
		http.Error(w, answer, status)
		return
	}
	b.mu.Lock()
	b.accepted = append(b.accepted, events...)
	b.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

func (b *fakeBigPanda) set(latency time.Duration, rule func(appKey string, events []event) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latency, b.rule = latency, rule
}

func (b *fakeBigPanda) events() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.accepted)
}

func (b *fakeBigPanda) requests() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.starts)
}

// heldAppKey refuses an app key for as long as it is not mended.
func heldAppKey(appKey string) func(string, []event) int {
	return func(k string, _ []event) int {
		if k == appKey {
			return http.StatusNotFound
		}
		return 0
	}
}

func (b *fakeBigPanda) client(t testing.TB, owner string) *bigpanda.Client {
	c, err := bigpanda.NewClient(bigpanda.Options{URL: b.server.URL, Token: "token-of-" + owner})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A rig is a stream, those that publish to it, and those that deliver.
type rig struct {
	t         testing.TB
	urls      string
	options   stream.Options
	bigPanda  *fakeBigPanda
	conn      *stream.Conn // that publishes
	published map[string]int
	padding   int // bytes more in each alert
	log       test.LogBuffer
	jetStream jetstream.JetStream // for what a test does to the servers itself
}

func newRig(t testing.TB, urls string, o stream.Options) *rig {
	t.Helper()
	r := &rig{t: t, urls: urls, bigPanda: newFakeBigPanda(t), published: make(map[string]int)}
	o.URLs, o.Create = strings.Split(urls, ","), true
	o.Replicas = len(o.URLs)
	r.options = o
	r.conn = r.connect("publisher")
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if r.jetStream, err = jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func (r *rig) connect(name string) *stream.Conn {
	r.t.Helper()
	o := r.options
	o.Name = name
	o.Log = slog.New(slog.NewTextHandler(&r.log, nil)).With("conn", name)
	c, err := stream.Connect(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// publish publishes the next change of each of the alerts, "appKey/host".
func (r *rig) publish(alerts ...string) {
	r.t.Helper()
	for batch := range slices.Chunk(alerts, 500) {
		byAppKey := make(map[string][][]byte)
		var appKeys []string
		for _, alert := range batch {
			r.published[alert]++
			appKey, host, _ := strings.Cut(alert, "/")
			if byAppKey[appKey] == nil {
				appKeys = append(appKeys, appKey)
			}
			byAppKey[appKey] = append(byAppKey[appKey], bigpanda.Payload{
				AppKey: appKey, Status: "critical", Timestamp: int64(1_700_000_000 + r.published[alert]),
				Properties: map[string]string{"host": host, "check": "c", "n": strconv.Itoa(r.published[alert]), "padding": strings.Repeat("p", r.padding)},
			}.Encode())
		}
		for _, appKey := range appKeys {
			natstest.Await(r.t, "alerts are published", func() error {
				_, err := r.conn.NewPublisher().Send(r.t.Context(), appKey, byAppKey[appKey])
				return err
			})
		}
	}
}

// many are n alerts of an app key.
func many(appKey string, n int) (alerts []string) {
	for i := range n {
		alerts = append(alerts, fmt.Sprintf("%s/h%d", appKey, i))
	}
	return alerts
}

// A deliverer is one that runs in this process.
type deliverer struct {
	*stream.Deliverer
	conn  *stream.Conn
	owner string
	end   context.CancelFunc
	ended chan struct{}
}

type deliverOptions struct {
	rate                   float64
	connections, batchSize int
}

func (r *rig) deliver(owner string, o deliverOptions) *deliverer {
	r.t.Helper()
	d := &deliverer{conn: r.connect(owner), owner: owner, ended: make(chan struct{})}
	d.Deliverer = d.conn.NewDeliverer(stream.DelivererOptions{
		Owner: owner, API: r.bigPanda.client(r.t, owner), Rate: o.rate, Connections: o.connections, BatchSize: o.batchSize,
	})
	ctx, end := context.WithCancel(context.Background())
	d.end = end
	go func() {
		defer close(d.ended)
		d.Run(ctx)
	}()
	r.t.Cleanup(d.stop)
	return d
}

func (d *deliverer) stop() {
	d.end()
	<-d.ended
}

// A child is a deliverer in a process of its own.
type child struct {
	cmd   *exec.Cmd
	owner string
}

const childVariable = "BIGPANDA_UDF_TEST_DELIVERER"

type childOptions struct {
	Options    stream.Options
	Owner, URL string
	Rate       float64
}

func init() {
	text := os.Getenv(childVariable)
	if text == "" {
		return
	}
	var o childOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	o.Options.Log, o.Options.Name = log, o.Owner
	conn, err := stream.Connect(o.Options)
	if err != nil {
		panic(err)
	}
	client, err := bigpanda.NewClient(bigpanda.Options{URL: o.URL, Token: "token-of-" + o.Owner})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // it ends with its parent
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	conn.NewDeliverer(stream.DelivererOptions{Owner: o.Owner, API: client, Rate: o.Rate}).Run(ctx)
	os.Exit(0)
}

func (r *rig) child(owner string, rate float64) *child {
	r.t.Helper()
	options := r.options
	options.Log = nil
	text, err := json.Marshal(childOptions{Options: options, Owner: owner, URL: r.bigPanda.server.URL, Rate: rate})
	if err != nil {
		r.t.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0]), owner: owner}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	c.cmd.Stderr = &r.log
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		stdin.Close()
		c.signal(syscall.SIGKILL)
		_ = c.cmd.Wait()
	})
	return c
}

func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// await waits until cond holds.
func (r *rig) await(what string, cond func() bool) {
	r.t.Helper()
	natstest.Await(r.t, what, func() error {
		if !cond() {
			return fmt.Errorf("of %d changes %d are delivered", r.total(""), len(r.firsts("")))
		}
		return nil
	})
}

func (r *rig) total(appKey string) (n int) {
	for alert, changes := range r.published {
		if strings.HasPrefix(alert, appKey) {
			n += changes
		}
	}
	return n
}

// firsts are the first deliveries of all changes of an app key ("" for all).
func (r *rig) firsts(appKey string) (firsts []event) {
	type change struct {
		alert string
		n     int
	}
	seen := make(map[change]bool)
	for _, e := range r.bigPanda.events() {
		if c := (change{e.alert, e.n}); !seen[c] && strings.HasPrefix(e.alert, appKey) {
			seen[c] = true
			firsts = append(firsts, e)
		}
	}
	return firsts
}

// delivered waits until all that was published of an app key ("" for all) is delivered.
func (r *rig) delivered(appKey string) {
	r.t.Helper()
	r.await("everything is delivered", func() bool { return len(r.firsts(appKey)) == r.total(appKey) })
}

// inOrder fails unless the first deliveries of each alert came in order. It returns how
// many deliveries were duplicates.
func (r *rig) inOrder() (duplicates int) {
	r.t.Helper()
	last := make(map[string]int)
	firsts := r.firsts("")
	for _, e := range firsts {
		if e.n < last[e.alert] {
			r.t.Errorf("change %d of %s came after %d", e.n, e.alert, last[e.alert])
		}
		last[e.alert] = e.n
	}
	return len(r.bigPanda.events()) - len(firsts)
}

// leads waits until a deliverer has the lease.
func (r *rig) leads(owner string) {
	r.t.Helper()
	natstest.Await(r.t, owner+" has the lease", func() error {
		if got := r.record().Owner; got != owner {
			return fmt.Errorf("%q has it", got)
		}
		return nil
	})
}

// record is the lease's, as it is stored.
func (r *rig) record() (record struct {
	Owner    string            `json:"owner"`
	Epoch    uint64            `json:"epoch"`
	Read     uint64            `json:"read"`
	AppKeys  map[string]string `json:"app_keys"`
	size     int
	revision uint64
}) {
	kv, err := r.jetStream.KeyValue(r.t.Context(), "BIGPANDA_LEASE")
	if err != nil {
		return record
	}
	entry, err := kv.Get(r.t.Context(), "sender")
	if err != nil {
		return record
	}
	if err := json.Unmarshal(entry.Value(), &record); err != nil {
		r.t.Fatal(err)
	}
	record.size, record.revision = len(entry.Value()), entry.Revision()
	return record
}

// purged waits until the stream holds no more alerts than some.
func (r *rig) purged(most uint64) {
	r.t.Helper()
	alerts, err := r.jetStream.Stream(r.t.Context(), "BIGPANDA")
	if err != nil {
		r.t.Fatal(err)
	}
	natstest.Await(r.t, "what need not stay is purged", func() error {
		info, err := alerts.Info(r.t.Context())
		if err == nil && info.State.Msgs > most {
			err = fmt.Errorf("%d are left", info.State.Msgs)
		}
		return err
	})
}

func (r *rig) wantLog(text string) {
	r.t.Helper()
	if !strings.Contains(r.log.String(), text) {
		r.t.Errorf("the log says nothing of %q", text)
	}
}
