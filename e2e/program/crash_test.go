package program

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// The crash suite kills the program with SIGKILL at random moments, while
// BigPanda fails at random too, and then asks whether what was promised held
// (P4, P5). `make crash` runs it at length.
var (
	crashKills = flag.Int("crash.kills", 20, "how often TestCrash kills the program, over all its variants")
	crashWait  = flag.Duration("crash.wait", 0, "how long a program of TestCrash waits for the one before it to leave; 0: as long as it does otherwise")
	crashSeed  = flag.Uint64("crash.seed", 0, "what TestCrash takes its chances from; 0: something new")
)

const (
	crashAlerts = 8 // of each task
	// crashTimeout cuts requests that hang.
	crashTimeout = 400 * time.Millisecond
	// crashDrain is how long a BigPanda that is well again may wait for the
	// rest: a sender that has failed often waits up to 30 s before it tries.
	crashDrain = 2 * time.Minute
)

// A crashUse is a use of the function in one task, which is started again
// whenever it was killed.
type crashUse struct {
	task string
	// overlaps has a process begin, at times, before the one before is killed.
	overlaps bool
	// fills has the disk fill up, at times.
	fills bool
	// daemon has it connect to a daemon, which is killed, instead of being one.
	daemon bool
	// posts has it post events to a daemon, which is killed.
	posts bool
}

func TestCrash(t *testing.T) {
	t.Parallel()
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-8s %s\n", "", crashHeader)
	for _, tt := range []struct {
		name  string
		share int // of the kills, in tenths
		uses  []crashUse
		own   bool // each use has a folder of its own
		mount bool // on a small file system of its own
	}{
		{name: "plain", share: 2, own: true, uses: []crashUse{{task: "cpu"}, {task: "mem"}}},
		{name: "full", share: 1, own: true, uses: []crashUse{{task: "cpu", fills: true}, {task: "mem", fills: true}}},
		{name: "tmpfs", share: 1, own: true, mount: true, uses: []crashUse{{task: "cpu", fills: true}}},
		{name: "daemon", share: 2, own: true, uses: []crashUse{{task: "cpu", daemon: true}, {task: "mem", daemon: true}}},
		{name: "topic", share: 2, own: true, uses: []crashUse{{task: "cpu", posts: true}, {task: "mem", posts: true}}},
		{name: "several", share: 2, uses: []crashUse{{task: "cpu", overlaps: true}, {task: "mem"}, {task: "disk"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrash(t, seed)
			kills := max(len(tt.uses), *crashKills*tt.share/10)
			shared := t.TempDir()
			var folders []crashFolder
			for range tt.uses {
				switch {
				case tt.mount:
					folders = append(folders, mountFolder(t))
				case tt.own:
					folders = append(folders, &fileLimit{dir: t.TempDir()})
				default:
					folders = append(folders, &fileLimit{dir: shared})
				}
			}
			var left atomic.Int64
			left.Store(int64(kills))
			var uses sync.WaitGroup
			tasks := make([]*crashTask, len(tt.uses))
			for i, s := range tt.uses {
				tasks[i] = c.newTask(s, folders[i], uint64(i))
				uses.Go(func() {
					for left.Add(-1) >= 0 && !t.Failed() {
						tasks[i].round()
					}
					tasks[i].killFormer()
				})
			}
			uses.Wait()
			c.calm()
			c.drain(tasks)
			v := c.judge()
			fmt.Fprintf(&table, "%-8s %s\n", tt.name, v.row(c))
			v.check(t)
			if t.Failed() {
				t.Logf("again with -crash.seed=%d", seed)
			}
		})
	}
	t.Logf("seed %d\n%s", seed, table.String())
}

// A crash is one run of the suite: a BigPanda, and what was fed and became of
// it.
type crash struct {
	t    testing.TB
	seed uint64
	api  *sandbox.Server
	url  string

	stopFaults func()
	seqs       []int // of the changes of the API's events, which judge alone reads

	// What a request waits for: judge, which takes long, holds mu and not this.
	requests sync.Mutex
	changed  chan struct{} // closed, and made anew, when a request begins or ends

	mu      sync.Mutex // guards what is below, and the changes themselves
	changes []*crashChange
	alerts  []*crashAlert
	lives   int
	kills   []time.Time
	startup time.Duration // that the last start took
}

func newCrash(t testing.TB, seed uint64) *crash {
	c := &crash{t: t, seed: seed, changed: make(chan struct{}), startup: 50 * time.Millisecond}
	c.api = sandbox.New(sandbox.Options{Token: test.Token, Keep: 1 << 21, OnRequest: func(sandbox.Request) { c.notify() }})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.notify()
		c.api.ServeHTTP(w, r)
	}))
	c.url = server.URL
	t.Cleanup(func() {
		c.api.Close()
		server.Close()
	})
	stop := make(chan struct{})
	var faults sync.WaitGroup
	faults.Go(func() { c.faults(stop) })
	c.stopFaults = sync.OnceFunc(func() {
		close(stop)
		faults.Wait()
	})
	t.Cleanup(c.stopFaults)
	return c
}

// faults has BigPanda fail now and then, in every way that it may.
func (c *crash) faults(stop <-chan struct{}) {
	chance := rand.New(rand.NewPCG(c.seed, 1000))
	for {
		f := sandbox.Faults{}
		switch n := 1 + chance.IntN(3); chance.IntN(16) {
		case 0:
			f = sandbox.Faults{Status: 503, Count: n}
		case 1:
			f = sandbox.Faults{Status: 500, Accept: true, Count: n}
		case 2:
			f = sandbox.Faults{Drop: true, Count: n}
		case 3:
			f = sandbox.Faults{Drop: true, Accept: true, Count: n}
		case 4:
			f = sandbox.Faults{Hang: true, Count: n}
		case 5:
			f = sandbox.Faults{Hang: true, Accept: true, Count: n}
		case 6:
			f = sandbox.Faults{Status: 429, NoRetryAfter: true, Count: 1}
		case 7:
			f = sandbox.Faults{Status: 503}
		default:
			f.Latency = time.Duration(chance.IntN(20)) * time.Millisecond
		}
		if err := c.api.SetFaults(f); err != nil {
			c.t.Error(err)
			return
		}
		over := 10 * time.Millisecond
		switch {
		case f.Hang:
			over = crashTimeout + crashTimeout/2
		case f.Status == 0 && !f.Drop:
			over = 200 * time.Millisecond
		}
		select {
		case <-time.After(time.Duration(chance.Int64N(int64(over)))):
		case <-stop:
			return
		}
	}
}

// calm has BigPanda work from now on.
func (c *crash) calm() {
	c.stopFaults()
	if err := c.api.SetFaults(sandbox.Faults{}); err != nil {
		c.t.Error(err)
	}
}

func (c *crash) notify() {
	c.requests.Lock()
	defer c.requests.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *crash) heard() <-chan struct{} {
	c.requests.Lock()
	defer c.requests.Unlock()
	return c.changed
}

// drain feeds each alert its last changes, and waits until BigPanda has all that
// it must have.
func (c *crash) drain(tasks []*crashTask) {
	var lives []*crashLife
	for _, task := range tasks {
		task.folder.free()
		l := task.start()
		lives = append(lives, l)
		l.last = true
		l.feed()
		if n := 2 * len(task.alerts); l.echoes < n {
			c.t.Errorf("%s: %d of the last %d points came back", task.use.task, l.echoes, n)
		}
	}
	deadline := time.Now().Add(crashDrain)
	for !c.t.Failed() && c.judge().lost > 0 && time.Now().Before(deadline) {
		select {
		case <-c.heard():
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, l := range lives {
		if code := l.f.End(); code != 0 {
			c.t.Errorf("%s: exit code %d", l.task.use.task, code)
		}
		l.close()
	}
}
