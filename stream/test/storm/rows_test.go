package storm

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"time"

	"bigpanda-udf/stream/test/natstest"

	"github.com/nats-io/nats.go/jetstream"
)

// paced is the rate of rows whose changes come at a pace, in requests a second.
const paced = 20

var rows = []row{
	{name: "no fault, three servers", servers: 3, alone: true, run: func(s *storm) {
		s.twoDeliverers()
		s.feed(changes("host", s.size.series, s.size.of), 0, s.twoNodes()...)()
	}},
	{name: "no fault, one node", servers: 3, alone: true, run: func(s *storm) {
		s.twoDeliverers()
		s.feed(changes("host", s.size.series, s.size.of), 0, s.node(s.cluster.URLs(), appKey))()
	}},
	{name: "no fault, one server", servers: 1, alone: true, run: func(s *storm) {
		s.twoDeliverers()
		s.feed(changes("host", s.size.series, s.size.of), 0, s.twoNodes()...)()
	}},
	{name: "10 % of requests get 503", servers: 3, alone: true, run: func(s *storm) {
		s.sometimes(busy)
		s.twoDeliverers()
		s.feed(changes("host", s.size.series, s.size.of), 0, s.twoNodes()...)()
	}},
	{name: "10 % of answers lost", servers: 3, repeats: true, alone: true, run: func(s *storm) {
		s.sometimes(lost)
		s.twoDeliverers()
		s.feed(changes("host", s.size.series, s.size.of), 0, s.twoNodes()...)()
	}},
	{name: "deliverer killed twice", servers: 3, repeats: true, rate: paced, run: func(s *storm) {
		s.during(2*(s.size.ttl+2*s.size.calm), func() {
			for range 2 {
				d := s.leader()
				d.kill()
				s.leaderAfter(d)
				s.start(d, s.cluster.URLs())
			}
		})
	}},
	{name: "deliverer hangs", servers: 3, repeats: true, rate: paced, run: func(s *storm) {
		s.during(2*s.size.ttl+2*s.size.calm, func() {
			d := s.leader()
			d.f.Cmd.Process.Signal(syscall.SIGSTOP)
			s.away(s.size.ttl)
			s.leaderAfter(d)
			d.f.Cmd.Process.Signal(syscall.SIGCONT)
		})
	}},
	{name: "deliverer stopped on purpose", servers: 3, rate: paced, run: func(s *storm) {
		s.during(4*s.size.calm, func() {
			d := s.leader()
			s.stop(d)
			s.leaderAfter(d)
			s.start(d, s.cluster.URLs())
		})
	}},
	{name: "stream leader killed", servers: 3, rate: paced, run: func(s *storm) {
		s.during(s.size.outage+2*s.size.calm, func() {
			leader := s.cluster.StreamLeader(s.t, streamName)
			leader.Kill()
			s.away(s.size.outage)
			leader.Restart()
		})
	}},
	{name: "stream leader hangs", servers: 3, rate: paced, run: func(s *storm) {
		s.during(s.size.outage+2*s.size.calm, func() {
			leader := s.cluster.StreamLeader(s.t, streamName)
			leader.Pause()
			s.away(s.size.outage)
			leader.Resume()
		})
	}},
	{name: "both killed", servers: 3, repeats: true, rate: paced, run: func(s *storm) {
		s.during(s.size.outage+2*s.size.calm, func() {
			d, leader := s.leader(), s.cluster.StreamLeader(s.t, streamName)
			d.kill()
			leader.Kill()
			s.away(s.size.outage)
			leader.Restart()
			s.start(d, s.cluster.URLs())
		})
	}},
	{name: "one server alone is killed", servers: 1, rate: paced, run: func(s *storm) {
		s.during(s.size.outage/2+2*s.size.calm, func() {
			s.leader()
			s.cluster.Servers[0].Kill()
			s.away(s.size.outage / 2)
			s.cluster.Servers[0].Restart()
		})
	}},
	{name: "NATS down", servers: 3, rate: paced, run: func(s *storm) {
		s.during(s.size.down+2*s.size.calm, func() {
			s.leader()
			for _, server := range s.cluster.Servers {
				server.Kill()
			}
			s.away(s.size.down)
			for _, server := range s.cluster.Servers {
				server.Restart()
			}
			s.cluster.Await()
		})
	}},
	{name: "a node is cut off", servers: 3, rate: paced, run: func(s *storm) {
		far, cut, heal := s.behindProxies()
		s.twoDeliverers()
		all := s.paced(s.size.outage + 2*s.size.calm)
		nodes := []*node{s.node(s.cluster.URLs(), appKey), s.node(far, appKey)}
		wait := s.feed(all, s.size.pace, nodes...)
		s.accepted(nodes[0], all, 0.2)
		cut()
		s.away(s.size.outage)
		heal()
		wait()
	}},
	{name: "a node and the leader cut off", servers: 3, repeats: true, rate: paced, run: func(s *storm) {
		far, cut, heal := s.behindProxies()
		s.deliver(far)
		all := s.paced(s.size.outage + s.size.ttl + 2*s.size.calm)
		nodes := []*node{s.node(s.cluster.URLs(), appKey), s.node(far, appKey)}
		wait := s.feed(all, s.size.pace, nodes...)
		first := s.leader()
		s.deliver(s.cluster.URLs())
		s.accepted(nodes[0], all, 0.1)
		cut()
		s.away(s.size.ttl + s.size.outage/2)
		if s.leader() == first {
			s.t.Error("a deliverer that is cut off delivers")
		}
		heal()
		wait()
	}},
	{name: "a key held, 50 bad alerts", servers: 3, rate: paced, dead: 50, run: heldAndBad},
	{name: "the stream full", servers: 3, rate: paced, settings: []string{"BIGPANDA_NATS_MAX_SIZE=1MiB"}, run: fullStream},
	{name: "MaxAge reached", servers: 3, rate: paced, run: tooOld},
	{name: "a node behind", servers: 3, rate: paced, run: func(s *storm) {
		s.twoDeliverers()
		all := s.paced(4 * s.size.calm)
		nodes := s.twoNodes()
		first := s.feed(all, s.size.pace, nodes[0])
		s.away(s.size.behind)
		s.feed(all, s.size.pace, nodes[1])()
		first()
	}},
	{name: "two functions and serve", servers: 3, rate: paced, run: oneHost},
}

// during feeds two nodes at the row's pace for a time, and has something happen when a
// tenth of it is over.
func (s *storm) during(d time.Duration, fault func()) {
	s.t.Helper()
	s.twoDeliverers()
	all := s.paced(d)
	nodes := s.twoNodes()
	wait := s.feed(all, s.size.pace, nodes...)
	s.accepted(nodes[0], all, 0.1)
	fault()
	wait()
}

// away is how long a failure lasts.
func (s *storm) away(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.t.Context().Done():
	}
}

// sometimes has a tenth of the requests end otherwise.
func (s *storm) sometimes(o outcome) {
	s.api.outcome = func(int, *request) outcome {
		if rand.IntN(10) == 0 {
			return o
		}
		return taken
	}
}

// behindProxies returns addresses of the servers that can be cut off.
func (s *storm) behindProxies() (urls string, cut, heal func()) {
	var proxies []*natstest.Proxy
	for _, server := range s.cluster.Servers {
		p := natstest.StartProxy(s.t, server)
		proxies = append(proxies, p)
		if urls != "" {
			urls += ","
		}
		urls += p.URL()
	}
	each := func(do func(*natstest.Proxy)) func() {
		return func() {
			for _, p := range proxies {
				do(p)
			}
		}
	}
	return urls, each((*natstest.Proxy).Cut), each((*natstest.Proxy).Heal)
}

// heldAndBad has BigPanda not know one app key, and refuse 50 alerts of another: the rest
// goes on. Then the key is known.
func heldAndBad(s *storm) {
	var known atomic.Bool
	s.api.outcome = func(_ int, q *request) outcome {
		switch {
		case q.appKey == "held" && !known.Load():
			return unknown
		case q.has(badPrefix):
			return refused
		}
		return taken
	}
	s.twoDeliverers()
	nodes := s.twoNodes()
	held := s.node(s.cluster.URLs(), "held")
	good := s.paced(4 * s.size.calm)
	waitHeld := s.feed(changes("held", 100, 5), s.size.pace, held)
	third := len(good) / 3
	s.feed(good[:third], s.size.pace, nodes...)()
	s.feed(changes(badPrefix, 50, 1), 0, nodes...)()
	s.feed(good[third:], s.size.pace, nodes...)()
	waitHeld()
	natstest.Await(s.t, "what is not held is delivered", func() error { return s.api.missing(good) })
	known.Store(true)
	// While nothing else of the app key is accepted, a tenth alert that is refused is
	// not taken for the alert's own fault.
	later := changes("later", 1, 10000)
	natstest.Await(s.t, "the bad alerts were refused one by one", func() error {
		s.feed(later[:10], 0, nodes...)()
		later = later[10:]
		if n := s.api.refusedAlone(); n < 50 {
			return fmt.Errorf("%d were", n)
		}
		return nil
	})
}

// fullStream has the stream be full of what was delivered, all of it within the window.
func fullStream(s *storm) {
	s.twoDeliverers()
	nodes := s.twoNodes()
	all := changes("host", 100, 40) // 1 MiB holds about 1,700
	s.feed(all, 0, nodes...)()
	natstest.Await(s.t, "what fits into the stream is delivered", func() error {
		return s.api.missing(all[:1000])
	})
	s.away(s.size.calm)
	if s.api.missing(all) == nil {
		s.t.Errorf("the stream was never full: %+v", s.state())
	}
	s.edit(func(c *jetstream.StreamConfig) { c.MaxBytes = 64 << 20 })
}

// tooOld has alerts expire that nobody delivers, between others.
func tooOld(s *storm) {
	const maxAge = 5 * time.Second
	s.twoDeliverers()
	s.edit(func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = maxAge, maxAge })
	n := s.node(s.cluster.URLs(), appKey)
	all := changes("host", 100, 12)
	before, during, after := all[:400], all[400:800], all[800:]
	s.feed(before, s.size.pace, n)()
	natstest.Await(s.t, "the alerts of before are delivered", func() error { return s.api.missing(before) })
	for _, d := range s.deliverers {
		s.stop(d)
	}
	s.feed(during, s.size.pace, n)()
	natstest.Await(s.t, "the outbox is empty", n.empty)
	natstest.Await(s.t, "everything has expired", func() error {
		if left := s.state().Msgs; left > 0 {
			return fmt.Errorf("%d messages are left", left)
		}
		return nil
	})
	// The rest is to be delivered however long a deliverer takes to begin. A server whose
	// copies are not removed by now keeps them, too.
	s.edit(func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Hour, time.Hour })
	for _, d := range s.deliverers {
		s.start(d, s.cluster.URLs())
	}
	s.feed(after, s.size.pace, n)()
	natstest.Await(s.t, "the deliverers have counted what has expired", func() error {
		s.expired = 0
		for _, d := range s.deliverers {
			s.expired += d.metric("expired_alerts_total")
		}
		if missing := s.api.lacks(all); s.expired == 0 || missing != s.expired {
			return fmt.Errorf("%d, and %d are missing", s.expired, missing)
		}
		return nil
	})
}

// oneHost has three tasks on one host: of two the functions run, with the same folder for
// their outboxes, and the third is served by the daemon, which delivers too.
func oneHost(s *storm) {
	s.deliver(s.cluster.URLs())
	outbox := s.t.TempDir()
	nodes := []*node{
		s.function(s.cluster.URLs(), appKey, "cpu", outbox),
		s.function(s.cluster.URLs(), appKey, "mem", outbox),
		s.serve("disk", s.t.TempDir()),
	}
	var waits []func()
	for _, n := range nodes {
		waits = append(waits, s.feed(changes(n.task, 100, int(4*s.size.calm.Seconds())), s.size.pace/len(nodes), n))
	}
	s.leader()
	for _, wait := range waits {
		wait()
	}
}
