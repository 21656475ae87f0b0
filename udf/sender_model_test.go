package udf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bigpanda-udf/bigpanda"
)

// randomFaults is a BigPanda at its worst, at random: phases in which everything,
// an app key or nothing fails, alerts that are never accepted for a while, and
// answers that get lost.
type randomFaults struct {
	r      *rand.Rand
	bad    map[string]bool // payloads that are refused for good
	poison map[string]bool // alerts that fail until calm
	appKey string          // which fails; empty: all of them
	fault  *bigpanda.Error // nil: none
	share  float64         // of the requests that fail
	ends   time.Duration   // of the phase
	calm   bool
}

func (c *randomFaults) answer(q request) *bigpanda.Error {
	if slices.ContainsFunc(q.alerts, func(p string) bool { return c.bad[p] }) {
		return status(400)
	}
	if c.calm {
		return nil
	}
	for alert := range c.poison {
		if q.has(alert) {
			return status(500)
		}
	}
	if q.at > c.ends {
		c.ends = q.at + time.Duration(c.r.IntN(90))*time.Second
		faults := []*bigpanda.Error{
			nil, nil, nil, status(0), status(500), status(503), statusAfter(503, 7*time.Second), status(429),
			statusAfter(429, 5*time.Second), status(401), status(403), status(404), {Class: bigpanda.Retry, Answer: lost},
		}
		c.fault = faults[c.r.IntN(len(faults))]
		c.appKey = []string{"", "", "x", "y"}[c.r.IntN(4)]
		c.share = []float64{1, 1, 0.5, 0.1}[c.r.IntN(4)]
	}
	if (c.appKey == "" || c.appKey == q.appKey) && c.r.Float64() < c.share {
		return c.fault
	}
	return nil
}

// P5: whatever happens, in the end everything is delivered, but what was
// refused for good, and in order for each alert.
func TestSenderModel(t *testing.T) {
	t.Parallel()
	for seed := range rounds(60, 15) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, seed, 6, 3) })
		})
		if seed%3 > 0 {
			continue
		}
		t.Run(fmt.Sprint("many that fail, seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, seed, 40, 40) })
		})
	}
}

// runModel has so many alerts of each app key, and less than so many of them that
// fail, or are refused, for themselves.
func runModel(t *testing.T, seed uint64, alerts, bad int) {
	random := rand.New(rand.NewPCG(seed, 7))
	anAlert := func() string { return fmt.Sprintf("%c/%d", "xyz"[random.IntN(3)], random.IntN(alerts)) }
	r := newSenderRig(t)
	r.api.latency = time.Duration(random.IntN(3000)) * time.Millisecond
	c := &randomFaults{r: rand.New(rand.NewPCG(seed, 8)), bad: make(map[string]bool), poison: make(map[string]bool)}
	for range random.IntN(2 * bad) {
		c.bad[fmt.Sprintf("%s#%d", anAlert(), 1+random.IntN(120/alerts))] = true
	}
	for range random.IntN(bad) {
		c.poison[anAlert()] = true
	}
	r.api.answer(c.answer)
	start := func() {
		r.start(rigOptions{
			BatchSize:   []int{1, 2, 5, 500}[random.IntN(4)],
			Connections: 1 + random.IntN(4),
			Rate:        []float64{0, 0, 20}[random.IntN(3)],
		})
	}
	start()
	for step := range 300 {
		time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
		var some []string
		for range random.IntN(4 * alerts / 6) {
			some = append(some, anAlert())
		}
		r.append(some...)
		if step%100 == 50 {
			r.stop() // and another sender goes on
			start()
		}
	}
	r.api.mu.Lock()
	c.calm = true
	r.api.mu.Unlock()
	r.append("x/good", "y/good", "z/good")
	defer r.stop()
	r.drain(5*time.Minute + time.Duration(r.queue.Stats().Queued)*2*r.api.latency)

	dead := make(map[string]int)
	for _, d := range r.queue.DeadLetters() {
		dead[string(d.Payload)]++
	}
	for alert, n := range r.count {
		var want []string
		for i := range n {
			p := fmt.Sprintf("%s#%d", alert, i+1)
			if !c.bad[p] {
				want = append(want, p)
			} else if dead[p] != 1 {
				t.Errorf("%s, which is refused, makes %d dead letters", p, dead[p])
			}
		}
		if got := r.api.deliveredOf(alert); !slices.Equal(got, want) {
			t.Errorf("of %s arrived\n%v, want\n%v", alert, got, want)
		}
	}
	if n := r.queue.Stats().Dead; n != len(dead) {
		t.Errorf("%d dead letters of %d changes", n, len(dead))
	}
	if n := r.lines(""); n > 250 && bad < 10 { // each alert that fails for itself makes one
		t.Errorf("the log has %d lines", n)
	}
}
