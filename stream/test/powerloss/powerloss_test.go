// Package powerloss holds NATS servers to what this program needs of them when the power
// goes: a message that was acknowledged is there afterwards.
//
// A killed process proves nothing about fsync: what it wrote is in the kernel's hands. So
// each server has a file system of its own, which is cut off from its disk at a random
// moment while alerts are published. Then the server is killed, and started again on what
// the disk holds.
package powerloss

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/stream"
	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestMain(m *testing.M) { natstest.Main(m) }

var (
	rounds = flag.Int("powerloss.rounds", 2, "losses of power in each of the tests")
	seed   = flag.Uint64("powerloss.seed", 0, "what the tests take their chances from; 0: something new")
)

const streamName = "BIGPANDA"

// P4: what NATS has acknowledged survives the loss of power of one of three servers, and
// of all three at once.
func TestPowerLoss(t *testing.T) {
	for _, tt := range []struct {
		name    string
		servers int
		all     bool // lose power at once
	}{
		{"one of three", 3, false},
		{"all three", 3, true},
		{"one alone", 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tt.servers, "")
			for round := range *rounds {
				dying := []int{r.chance.IntN(tt.servers)}
				if tt.all {
					dying = r.chance.Perm(tt.servers)
				}
				r.publishWhile(func() { r.losePower(dying) })
				if missing := r.missing(); len(missing) > 0 {
					t.Fatalf("round %d, -powerloss.seed=%d: of %d alerts that were acknowledged, %d are not there: %v",
						round, r.seed, len(r.acked), len(missing), missing[:min(10, len(missing))])
				}
			}
			t.Logf("%d losses of power, %d alerts acknowledged, all there", *rounds, len(r.acked))
		})
	}
}

// With the default of NATS, which syncs every two minutes, the same loses alerts: so the
// test above sees what it is there to see.
func TestPowerLossIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "2m")
	r.publishWhile(func() { r.losePower([]int{0}) })
	if missing := r.missing(); len(missing) == 0 {
		t.Errorf("all %d alerts are there that were acknowledged and not synced", len(r.acked))
	}
}

// A rig is servers on disks of their own, and somebody who publishes to them.
type rig struct {
	t       *testing.T
	seed    uint64
	chance  *rand.Rand
	cluster *natstest.Cluster
	disks   []*disk
	conn    *stream.Conn
	js      jetstream.JetStream
	next    int

	mu     sync.Mutex
	acked  map[int]bool // by number
	losses int          // how often a loss of power has begun or is complete; odd: one is under way
}

func newRig(t *testing.T, servers int, syncInterval string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, to mount file systems")
		}
		t.Skip("needs root, to mount file systems")
	}
	r := &rig{t: t, seed: *seed, acked: make(map[int]bool)}
	if r.seed == 0 {
		r.seed = rand.Uint64()
	}
	r.chance = rand.New(rand.NewPCG(r.seed, uint64(servers)))
	dir := t.TempDir()
	for i := range servers {
		r.disks = append(r.disks, newDisk(t, filepath.Join(dir, fmt.Sprintf("s%d", i), "store")))
	}
	r.cluster = natstest.StartCluster(t, servers, natstest.Options{Dir: dir, SyncInterval: syncInterval})
	urls := strings.Split(r.cluster.URLs(), ",")
	conn, err := stream.Connect(stream.Options{URLs: urls, Replicas: servers, Create: true, MaxBytes: diskSize / 4, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	r.conn = conn
	nc, err := nats.Connect(r.cluster.URLs(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if r.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(1500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	r.publish(t.Context(), 1) // makes the stream
	return r
}

// publishWhile has several publishers at work before, while and after something happens.
func (r *rig) publishWhile(happens func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	before := r.count()
	var publishing sync.WaitGroup
	for range 3 {
		publishing.Go(func() {
			for ctx.Err() == nil {
				r.publish(ctx, 10)
			}
		})
	}
	r.await("alerts are published", func() error { return r.moreThan(before + 50) })
	wait := time.Duration(r.chance.Int64N(int64(300 * time.Millisecond)))
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	happens()
	r.cluster.Await()
	before = r.count()
	r.await("alerts are published again", func() error { return r.moreThan(before) })
	cancel()
	publishing.Wait()
}

func (r *rig) await(what string, cond func() error) {
	r.t.Helper()
	natstest.AwaitWithin(r.t, 2*time.Minute, what, cond)
}

func (r *rig) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acked)
}

func (r *rig) moreThan(n int) error {
	if have := r.count(); have <= n {
		return fmt.Errorf("%d are, want more than %d", have, n)
	}
	return nil
}

// publish publishes new alerts until they are acknowledged.
func (r *rig) publish(ctx context.Context, count int) {
	r.mu.Lock()
	first := r.next
	r.next += count
	r.mu.Unlock()
	var alerts [][]byte
	for n := first; n < first+count; n++ {
		alerts = append(alerts, fmt.Appendf(nil, `{"status":"critical","host":"h%d","check":"cpu","number":%d}`, n, n))
	}
	publisher := r.conn.NewPublisher()
	for late := time.Now().Add(2 * time.Minute); ctx.Err() == nil; {
		before := r.lost(0)
		_, err := publisher.Send(ctx, "app", alerts)
		if err == nil && r.ack(first, count, before) {
			return
		}
		var failure *bigpanda.Error
		if errors.As(err, &failure) && failure.Class == bigpanda.Refused {
			r.t.Errorf("alerts are refused: %v", err)
			return
		}
		if time.Now().After(late) {
			r.t.Errorf("alerts cannot be published: %v", err)
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// ack takes alerts for acknowledged, unless power was lost while they were published: a
// server whose disk is gone may still answer for a moment, which a machine without power
// does not.
func (r *rig) ack(first, count, before int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.losses != before || before%2 != 0 {
		return false
	}
	for n := first; n < first+count; n++ {
		r.acked[n] = true
	}
	return true
}

// lost adds to losses, and returns them.
func (r *rig) lost(more int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses += more
	return r.losses
}

// losePower loses the power of servers, all at once, and starts them again.
func (r *rig) losePower(servers []int) {
	r.t.Helper()
	r.lost(1)
	var losing sync.WaitGroup
	for _, i := range servers {
		losing.Go(func() {
			if err := r.disks[i].losePower(); err != nil {
				r.t.Error(err)
			}
			r.cluster.Servers[i].Kill()
		})
	}
	losing.Wait()
	r.lost(1)
	for _, i := range servers {
		r.disks[i].restore()
		r.cluster.Servers[i].Restart()
	}
}

// missing reads the whole stream, and returns which acknowledged alerts are not in it.
func (r *rig) missing() (missing []int) {
	r.t.Helper()
	there := make(map[int]bool)
	r.await("the stream is read", func() error { return r.read(there) })
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.acked {
		if !there[n] {
			missing = append(missing, n)
		}
	}
	return missing
}

func (r *rig) read(there map[int]bool) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	s, err := r.js.Stream(ctx, streamName)
	if err != nil {
		return err
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	consumer, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: time.Minute, MemoryStorage: true, Replicas: 1})
	if err != nil {
		return err
	}
	defer s.DeleteConsumer(ctx, consumer.CachedInfo().Name)
	for last := uint64(0); last < state.LastSeq; {
		batch, err := consumer.Fetch(1000, jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			return err
		}
		before := last
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			last = meta.Sequence.Stream
			var alert struct{ Number int }
			if err := json.Unmarshal(m.Data(), &alert); err != nil {
				return err
			}
			there[alert.Number] = true
		}
		if last == before {
			return fmt.Errorf("nothing came after message %d of %d: %w", last, state.LastSeq, batch.Error())
		}
	}
	return nil
}
