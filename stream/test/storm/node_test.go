package storm

import (
	"bufio"
	"fmt"
	"sync"
	"testing"
	"time"

	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A node is the program in function mode, with its outbox, as a Kapacitor on a host of
// its own runs it.
type node struct {
	t      testing.TB
	f      *test.Function
	outbox string // the folder
	task   string
	inited chan error    // what Init was answered; nil at success
	ended  chan struct{} // closed at the end of stdout

	mu       sync.Mutex
	accepted map[change]time.Time // whose points came back (P4)
}

// newNode speaks to a function, as that of a task.
func newNode(t testing.TB, f *test.Function, task, outbox string) *node {
	t.Helper()
	n := &node{t: t, f: f, task: task, outbox: outbox, inited: make(chan error, 1), ended: make(chan struct{}), accepted: make(map[change]time.Time)}
	go n.read()
	if _, err := f.In.Write(test.Frames(test.Info(), test.Init(task, "bigpanda3"))); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-n.inited:
		if err != nil {
			n.t.Fatal(err)
		}
	case <-n.ended:
		n.t.Fatalf("the function ended:\n%s", f.Log.String())
	case <-time.After(test.Patient):
		n.t.Fatal("Init is not answered")
	}
	return n
}

func (n *node) read() {
	defer close(n.ended)
	r := bufio.NewReader(n.f.Out)
	var buf []byte
	for {
		response := new(agent.Response)
		if agent.ReadMessage(&buf, r, response) != nil {
			return
		}
		switch {
		case response.GetInit() != nil && response.GetInit().Success:
			n.inited <- nil
		case response.GetInit() != nil:
			n.inited <- fmt.Errorf("Init failed: %s", response.GetInit().Error)
		case response.GetPoint() != nil:
			p := response.GetPoint()
			n.mu.Lock()
			n.accepted[change{p.Tags["host"], int(p.FieldsInt["seq"])}] = time.Now()
			n.mu.Unlock()
		}
	}
}

// feed writes changes as points, so many in a second; 0: as fast as they go.
func (n *node) feed(changes []change, perSecond int) error {
	began := time.Now()
	for fed := 0; fed < len(changes); {
		burst := min(100, len(changes)-fed)
		if perSecond > 0 {
			burst = min(burst, max(1, perSecond/100))
		}
		var frames []*agent.Request
		for _, c := range changes[fed : fed+burst] {
			frames = append(frames, point(c))
		}
		if _, err := n.f.In.Write(test.Frames(frames...)); err != nil {
			return fmt.Errorf("feed change %d: %w", fed, err)
		}
		fed += burst
		if perSecond > 0 { // the points of a second come over the whole of it
			time.Sleep(time.Until(began.Add(time.Duration(fed) * time.Second / time.Duration(perSecond))))
		}
	}
	return nil
}

// point is the point of a change: each of a series has another level than the one before.
func point(c change) *agent.Request {
	levels := [...]string{"CRITICAL", "WARNING", "OK"}
	p := test.Point(c.host, levels[c.seq%len(levels)], 1_700_000_000+int64(c.seq))
	p.GetPoint().FieldsInt["seq"] = int64(c.seq)
	return p
}

// echoes returns what came back.
func (n *node) echoes() map[change]time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[change]time.Time, len(n.accepted))
	for c, at := range n.accepted {
		all[c] = at
	}
	return all
}

// awaitEchoes waits until so many points came back.
func (n *node) awaitEchoes(count int) error {
	for late := time.Now().Add(test.Patient); ; time.Sleep(10 * time.Millisecond) {
		n.mu.Lock()
		have := len(n.accepted)
		n.mu.Unlock()
		if have >= count {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("%d of %d points came back", have, count)
		}
	}
}
