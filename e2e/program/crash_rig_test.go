package program

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A crashTask is Kapacitor's side of one task: its alerts, and the process
// that it speaks to.
type crashTask struct {
	*crash
	use    crashUse
	folder crashFolder
	chance *rand.Rand
	alerts []*crashAlert
	former *crashLife // that was not killed when the next began
	topic  crashTopic // where it posts
}

// A crashAlert is one series, and what was fed of it.
type crashAlert struct {
	host     string
	overlaps bool // its task does
	changes  []*crashChange
}

// A crashChange is a point that was fed with another level than the one
// before.
type crashChange struct {
	seq    int // from 1, over all alerts
	alert  *crashAlert
	level  string
	fed    time.Time
	passed time.Time // when its point came back; zero if it did not
	// unsure: the log said that it was kept in memory, and there a newer change
	// of the alert took its place, or the process was killed.
	unsure bool
}

// A crashLife is one process.
type crashLife struct {
	task   *crashTask
	f      *test.Function
	chance *rand.Rand    // of feed
	inited chan struct{} // closed when Init has succeeded
	quiet  chan struct{} // closed when no more is to be fed
	fedAll chan struct{} // closed when feed has ended
	echo   chan int      // how many points came back
	ended  chan struct{} // closed at the end of stdout
	// last: feed each alert two changes. What the program holds before the
	// first may be unknown; the second is one in any case.
	last bool
	// refused: the outbox could not be begun. It is read after ended.
	refused bool
	echoes  int
	fed     []*crashChange
}

func (c *crash) newTask(s crashUse, r crashFolder, n uint64) *crashTask {
	k := &crashTask{crash: c, use: s, folder: r, chance: rand.New(rand.NewPCG(c.seed, n)), topic: make(crashTopic)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range crashAlerts {
		a := &crashAlert{host: fmt.Sprint(s.task, i), overlaps: s.overlaps}
		k.alerts = append(k.alerts, a)
		c.alerts = append(c.alerts, a)
	}
	return k
}

// round is a life and its end. Where the task overlaps, the end of one may
// come in the middle of the next.
func (k *crashTask) round() {
	l := k.start()
	go l.feed()
	stopFilling := func() {}
	if k.use.fills {
		stopFilling = k.fillAtTimes(l)
	}
	l.untilKilled()
	if k.former != nil {
		k.former.kill()
		k.former = nil
	}
	if k.use.overlaps && k.chance.IntN(2) == 0 {
		close(l.quiet)
		<-l.fedAll
		k.former = l
		return
	}
	l.kill()
	stopFilling()
}

// killFormer kills the process of before that still runs.
func (k *crashTask) killFormer() {
	if k.former != nil {
		k.former.kill()
		k.former = nil
	}
}

// start starts a process and reads what it says.
func (k *crashTask) start() *crashLife {
	k.mu.Lock()
	k.lives++
	k.mu.Unlock()
	l := &crashLife{
		task: k, chance: rand.New(rand.NewPCG(k.chance.Uint64(), 0)), inited: make(chan struct{}), quiet: make(chan struct{}), fedAll: make(chan struct{}),
		echo: make(chan int, 1<<16), ended: make(chan struct{}),
	}
	began := time.Now()
	variables := append(test.Environment(k.url),
		"BIGPANDA_OUTBOX="+k.folder.path(), "BIGPANDA_TIMEOUT="+crashTimeout.String(), "BIGPANDA_BATCH_SIZE=5",
		crashWaitVariable+"="+crashWait.String())
	switch {
	case k.use.daemon:
		l.f = launchDaemon(k.t, variables)
	case k.use.posts:
		l.f = launchPoster(k.t, variables, k.use.task, k.topic)
	default:
		l.f = test.Launch(k.t, variables)
	}
	go func() {
		defer close(l.ended)
		r := bufio.NewReader(l.f.Out)
		var buf []byte
		for {
			response := new(agent.Response)
			if agent.ReadMessage(&buf, r, response) != nil {
				return
			}
			switch {
			case response.GetInit() != nil && response.GetInit().Success:
				k.mu.Lock()
				k.startup = time.Since(began)
				k.mu.Unlock()
				close(l.inited)
			case response.GetInit() != nil && k.use.fills && !k.begun():
				l.refused = true // where nothing is yet, a full disk is no place
			case response.GetInit() != nil:
				k.t.Errorf("%s: Init failed: %s", k.use.task, response.GetInit().Error)
			case response.GetPoint() != nil:
				k.mu.Lock()
				k.changes[response.GetPoint().FieldsInt["seq"]-1].passed = time.Now()
				k.mu.Unlock()
				l.echo <- 1
			}
		}
	}()
	return l
}

// feed feeds changes until the process is killed or enough was fed. It waits
// for the points of a burst before it goes on, as there may be more than one
// change of an alert in one.
func (l *crashLife) feed() {
	defer close(l.fedAll)
	k := l.task
	l.f.In.Write(test.Frames( // an error: it was killed
		test.Info(),
		test.Init(k.use.task, "bigpanda3"),
	))
	select {
	case <-l.inited:
	case <-l.ended:
		return
	}
	for bursts := 1; ; bursts++ {
		var burst []*agent.Request
		if l.last {
			for _, a := range k.alerts {
				burst = append(burst, l.change(a))
			}
		} else {
			for range 1 + l.chance.IntN(12) {
				burst = append(burst, l.change(k.alerts[l.chance.IntN(len(k.alerts))]))
			}
		}
		l.f.In.Write(test.Frames(burst...))
		for range burst {
			select {
			case n := <-l.echo:
				l.echoes += n
			case <-l.ended:
				return
			}
		}
		if l.last && bursts == 2 {
			return
		}
		select {
		case <-l.quiet:
			return
		case <-l.ended:
			return
		case <-time.After(time.Duration(l.chance.IntN(20)) * time.Millisecond):
		}
	}
}

// change makes the next change of an alert, to a level that is none of those
// which the program may hold for it, if there is such a one.
func (l *crashLife) change(a *crashAlert) *agent.Request {
	k := l.task
	k.mu.Lock()
	defer k.mu.Unlock()
	held := map[string]bool{}
	last := "OK"
	if n := len(a.changes); n > 0 {
		last = a.changes[n-1].level
	}
	for i := len(a.changes) - 1; i >= 0; i-- {
		held[a.changes[i].level] = true
		if a.changes[i].sure() {
			break
		}
	}
	level := last
	for _, i := range l.chance.Perm(4) {
		other := [...]string{"OK", "INFO", "WARNING", "CRITICAL"}[i]
		if other != last && (level == last || !held[other]) {
			level = other
		}
	}
	change := &crashChange{seq: len(k.changes) + 1, alert: a, level: level, fed: time.Now()}
	k.changes = append(k.changes, change)
	a.changes = append(a.changes, change)
	l.fed = append(l.fed, change)
	// The points' time is far behind the clock, and four changes share a second.
	p := test.Point(a.host, level, 1_700_000_000+int64(change.seq/4))
	p.GetPoint().FieldsInt["seq"] = int64(change.seq)
	return p
}

// begun reports whether a point of the task ever came back.
func (k *crashTask) begun() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.changes, func(c *crashChange) bool {
		return slices.Contains(k.alerts, c.alert) && !c.passed.IsZero()
	})
}

// sure reports that the program must have taken the change.
func (c *crashChange) sure() bool { return !c.passed.IsZero() && !c.unsure }

// untilKilled waits until the moment at which to kill a process: while it
// starts, while it is fed, or while it sends.
func (l *crashLife) untilKilled() {
	k := l.task
	k.mu.Lock()
	startup := k.startup
	k.mu.Unlock()
	upTo := func(d time.Duration) time.Duration { return time.Duration(k.chance.Int64N(int64(d))) }
	kind := k.chance.IntN(4)
	if kind == 0 {
		time.Sleep(upTo(2 * startup))
		return
	}
	select {
	case <-l.inited:
	case <-l.ended:
	case <-time.After(test.Patient):
		k.t.Errorf("%s: Init is not answered", k.use.task)
	}
	switch kind {
	case 1:
		time.Sleep(upTo(60 * time.Millisecond))
	case 2:
		for range 1 + k.chance.IntN(4) {
			select {
			case <-k.heard():
			case <-time.After(time.Second): // it waits to try again
			}
		}
		time.Sleep(upTo(3 * time.Millisecond))
	case 3:
		time.Sleep(upTo(500 * time.Millisecond))
	}
}

// kill kills the process, and takes note of what it has left unsure.
func (l *crashLife) kill() {
	k := l.task
	k.mu.Lock()
	k.kills = append(k.kills, time.Now())
	k.mu.Unlock()
	l.f.Cmd.Process.Signal(syscall.SIGKILL)
	err := l.f.Cmd.Wait()
	var exit *exec.ExitError
	<-l.ended
	if !l.refused && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		k.t.Errorf("%s: the program ended by itself: %v\n%s", k.use.task, err, test.Tail(l.f.Log.String()))
	}
	l.close()
}

// close reads what there is to read of a process that has ended.
func (l *crashLife) close() {
	k := l.task
	<-l.ended
	l.f.In.Close()
	<-l.fedAll
	l.f.Out.Close()
	log := l.f.Log.String()
	for _, word := range []string{"goroutine ", "damaged", "dead letter", "please report"} {
		if strings.Contains(log, word) {
			k.t.Errorf("%s: in the log:\n%s", k.use.task, test.Tail(log))
			break
		}
	}
	if k.t.Failed() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, in := range refusals(log) {
		if !k.use.fills {
			k.t.Errorf("%s: the disk was never full, and the log says\n%s", k.use.task, test.Tail(log))
		}
		newer := make(map[*crashAlert]bool)
		for i := len(l.fed) - 1; i >= 0; i-- {
			c := l.fed[i]
			if c.fed.After(in.end) || !c.passed.IsZero() && c.passed.Before(in.begin) {
				continue
			}
			c.unsure = in.killed || newer[c.alert] || c.unsure
			newer[c.alert] = true
		}
	}
	l.f.Log, l.f.Raw, l.fed = new(test.LogBuffer), new(test.LogBuffer), nil
}
