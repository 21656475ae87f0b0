package storm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamName = "BIGPANDA"
	appKey     = "app"
	// badPrefix begins the hosts whose alerts BigPanda refuses.
	badPrefix = "bad"
	latency   = 50 * time.Millisecond // of BigPanda
)

// A storm is one run of a row: NATS servers, a BigPanda, the programs, and what was fed.
type storm struct {
	t          *testing.T
	size       size
	cluster    *natstest.Cluster
	api        *bigPanda
	settings   []string // of all programs
	rate       int      // of all deliverers together, in requests a second; 0: none
	nodes      []*node
	deliverers []*deliverer
	js         jetstream.JetStream
	expired    int // alerts that deliverers have counted as such
}

// A deliverer is a process of `bigpanda-udf deliver`.
type deliverer struct {
	f     *test.Function
	url   string // of BigPanda
	ready string
}

func newStorm(t *testing.T, r row, z size) *storm {
	t.Helper()
	s := &storm{t: t, size: z, api: newBigPanda(latency), rate: r.rate}
	s.cluster = natstest.StartCluster(t, r.servers, natstest.Options{})
	s.settings = append([]string{
		fmt.Sprint("BIGPANDA_NATS_REPLICAS=", r.servers), "BIGPANDA_NATS_LEASE_TTL=" + z.ttl.String(),
	}, r.settings...)
	conn, err := nats.Connect(s.cluster.URLs(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	// A connection that is not there yet has its requests fail, and they are made again.
	if s.js, err = jetstream.New(conn, jetstream.WithDefaultTimeout(1500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	return s
}

// node starts a node on a host of its own that reaches the servers at urls.
func (s *storm) node(urls, appKey string) *node {
	s.t.Helper()
	return s.function(urls, appKey, "cpu_alert", s.t.TempDir())
}

// function starts the function of a task.
func (s *storm) function(urls, appKey, task, outbox string) *node {
	s.t.Helper()
	return s.add(newNode(s.t, test.Launch(s.t, s.publishing(urls, appKey, outbox)), task, outbox))
}

func (s *storm) add(n *node) *node {
	s.nodes = append(s.nodes, n)
	return n
}

// publishing is the environment of what publishes.
func (s *storm) publishing(urls, appKey, outbox string) []string {
	return append([]string{"BIGPANDA_NATS=" + urls, "BIGPANDA_APP_KEY=" + appKey, "BIGPANDA_OUTBOX=" + outbox}, s.settings...)
}

// serve starts `bigpanda-udf serve`, which delivers too, and connects to it as the
// Kapacitor of its host does, for a task.
func (s *storm) serve(task, outbox string) *node {
	s.t.Helper()
	url := s.api.listen(s.t, len(s.deliverers))
	socket := filepath.Join(s.t.TempDir(), "s")
	cmd := test.Command(append(s.publishing(s.cluster.URLs(), appKey, outbox), s.deliveryTo(url, s.cluster.URLs())...), "serve", "--deliver", "--socket", socket)
	d := &deliverer{f: &test.Function{Cmd: cmd, Log: new(test.LogBuffer)}, url: url}
	s.deliverers = append(s.deliverers, d)
	s.launch(d)
	f := &test.Function{Cmd: cmd, Log: d.f.Log}
	conn := test.Dial(s.t, socket)
	out, err := conn.(*net.UnixConn).File()
	if err != nil {
		s.t.Fatal(err)
	}
	f.In, f.Out = conn, out
	s.t.Cleanup(func() {
		f.In.Close()
		f.Out.Close()
	})
	return s.add(newNode(s.t, f, task, outbox))
}

// twoNodes are two that compute the same.
func (s *storm) twoNodes() []*node {
	s.t.Helper()
	return []*node{s.node(s.cluster.URLs(), appKey), s.node(s.cluster.URLs(), appKey)}
}

// deliver starts a deliverer, and waits until it leads or stands by.
func (s *storm) deliver(urls string) *deliverer {
	s.t.Helper()
	d := &deliverer{url: s.api.listen(s.t, len(s.deliverers))}
	s.deliverers = append(s.deliverers, d)
	s.start(d, urls)
	return d
}

// twoDeliverers starts two, and waits until one leads.
func (s *storm) twoDeliverers() {
	s.t.Helper()
	s.deliver(s.cluster.URLs())
	s.deliver(s.cluster.URLs())
}

func (s *storm) start(d *deliverer, urls string) {
	s.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(s.t))
	d.ready = "http://" + address + "/ready"
	cmd := test.Command(append(s.deliveryTo(d.url, urls), s.settings...), "deliver", "--listen", address)
	d.f = &test.Function{Cmd: cmd, Log: new(test.LogBuffer)}
	s.launch(d)
	natstest.Await(s.t, "the deliverer is ready", d.isReady)
}

// launch starts the process of a deliverer, until the end of the test.
func (s *storm) launch(d *deliverer) {
	s.t.Helper()
	f := d.f
	f.Cmd.Stderr = f.Log
	// It must not outlive the test binary, whatever ends that.
	f.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := f.Cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		f.Cmd.Process.Kill()
		f.Cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("log of a deliverer:\n%s", last(f.Log.String()))
		}
	})
}

func last(log string) string { return log[max(0, len(log)-6000):] }

// deliveryTo is the environment of what delivers.
func (s *storm) deliveryTo(url, urls string) []string {
	return []string{"BIGPANDA_NATS=" + urls, "BIGPANDA_URL=" + url, "BIGPANDA_TOKEN=" + test.Token, fmt.Sprint("BIGPANDA_RATE=", s.rate)}
}

func (d *deliverer) isReady() error {
	response, err := http.Get(d.ready)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// metric returns a count of a deliverer; 0 as long as there is none.
func (d *deliverer) metric(name string) int {
	response, err := http.Get(strings.TrimSuffix(d.ready, "/ready") + "/metrics")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(page), "\nbigpanda_udf_deliverer_"+name+" ")
	count, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.Atoi(count)
	return n
}

// saysTwice reports whether a deliverer said that alerts may come twice: it broke off a
// request for want of a renewal, or could not write down what it had delivered.
func (s *storm) saysTwice() bool {
	return slices.ContainsFunc(s.deliverers, func(d *deliverer) bool {
		log := d.f.Log.String()
		return strings.Contains(log, "the request was broken off") || strings.Contains(log, "they may be sent again")
	})
}

// kill ends a deliverer with SIGKILL. It is safe on one that has ended.
func (d *deliverer) kill() {
	d.f.Cmd.Process.Kill()
	d.f.Cmd.Wait()
}

// stop ends a deliverer with SIGTERM.
func (s *storm) stop(d *deliverer) {
	s.t.Helper()
	d.f.Cmd.Process.Signal(syscall.SIGTERM)
	if err := d.f.Cmd.Wait(); err != nil {
		s.t.Errorf("a deliverer was stopped and ended with %v", err)
	}
}

// leader waits until a deliverer delivers, and returns it.
func (s *storm) leader() *deliverer { return s.leaderAfter(nil) }

// leaderAfter waits until another one than before delivers: BigPanda may read the last
// request of a process that has ended.
func (s *storm) leaderAfter(before *deliverer) (d *deliverer) {
	s.t.Helper()
	began := time.Now()
	natstest.Await(s.t, "a deliverer delivers", func() error {
		number := s.api.leader(began)
		if number < 0 {
			return errors.New("there was no request")
		}
		if d = s.deliverers[number]; d == before {
			return errors.New("there was no request of another one")
		}
		return nil
	})
	return d
}

// feed has nodes take changes, all at once, and returns a function that waits until they
// have accepted all of them.
func (s *storm) feed(changes []change, perSecond int, nodes ...*node) (wait func()) {
	var feeding sync.WaitGroup
	problems := make(chan error, len(nodes))
	for _, n := range nodes {
		had := len(n.echoes())
		feeding.Go(func() {
			problems <- errors.Join(n.feed(changes, perSecond), n.awaitEchoes(had+len(changes)))
		})
	}
	return func() {
		s.t.Helper()
		feeding.Wait()
		for range nodes {
			if err := <-problems; err != nil {
				s.t.Errorf("a node does not take its points: %v", err)
			}
		}
	}
}

// changes are those of many series, as many of each.
func changes(prefix string, series, of int) (all []change) {
	for seq := range of {
		for i := range series {
			all = append(all, change{fmt.Sprintf("%s%d", prefix, i), seq})
		}
	}
	return all
}

// paced are the changes of a time, at the rate of a row that is not as fast as it goes.
func (s *storm) paced(d time.Duration) []change {
	const series = 100
	return changes("host", series, max(2, int(d.Seconds()*float64(s.size.pace))/series))
}

// accepted waits until a node has accepted a part of changes.
func (s *storm) accepted(n *node, changes []change, part float64) {
	s.t.Helper()
	if err := n.awaitEchoes(int(part * float64(len(changes)))); err != nil {
		s.t.Error(err)
	}
}

// settle waits until everything that was accepted is in the stream, and everything that
// is in the stream was delivered.
func (s *storm) settle() {
	s.t.Helper()
	const limit = 3 * time.Minute // what is held is tried again after up to a minute
	for _, n := range s.nodes {
		natstest.AwaitWithin(s.t, limit, "an outbox is empty", n.empty)
	}
	var all []change
	for _, n := range s.nodes {
		for c := range n.echoes() {
			if !strings.HasPrefix(c.host, badPrefix) {
				all = append(all, c)
			}
		}
	}
	stored := s.state().LastSeq
	late := time.After(limit)
	for {
		answered := s.api.next()
		if s.api.lacks(all)-s.expired <= 0 && s.api.arrivals()+s.expired >= int(stored) {
			return
		}
		select {
		case <-answered:
		case <-late: // judge says what is lost
			s.t.Errorf("not settled: %d changes are missing; of %d messages %d arrived, %d expired", s.api.lacks(all), stored, s.api.arrivals(), s.expired)
			return
		}
	}
}

// empty reports what waits in the outbox of a node, as the program shows it.
func (n *node) empty() error {
	out, err := test.Command(nil, "outbox", "status", "--outbox", n.outbox, "--json").Output()
	if err != nil {
		return err
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var status struct{ Queued int }
		switch err := decoder.Decode(&status); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %s", err, out)
		case status.Queued > 0:
			return fmt.Errorf("%d changes wait", status.Queued)
		}
	}
}

// state asks for the state of the stream.
func (s *storm) state() (state jetstream.StreamState) {
	s.t.Helper()
	natstest.Await(s.t, "the stream tells its state", func() error {
		stream, err := s.js.Stream(s.t.Context(), streamName)
		if err == nil {
			state = stream.CachedInfo().State
		}
		return err
	})
	return state
}

// edit changes the configuration of the stream.
func (s *storm) edit(change func(*jetstream.StreamConfig)) {
	s.t.Helper()
	natstest.Await(s.t, "the stream is edited", func() error {
		stream, err := s.js.Stream(s.t.Context(), streamName)
		if err != nil {
			return err
		}
		config := stream.CachedInfo().Config
		change(&config)
		_, err = s.js.UpdateStream(s.t.Context(), config)
		return err
	})
}
