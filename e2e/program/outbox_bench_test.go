package program

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// BenchmarkStorm is 20,000 alerts that go CRITICAL at once, against an API with
// 50 ms latency: from the first point to the last answer.
func BenchmarkStorm(b *testing.B) {
	const alerts = 20_000
	input := changesOf(alerts, alerts)
	for b.Loop() {
		b.StopTimer()
		bp, env := test.NewBigPanda(b)
		test.SetFaults(b, bp, sandbox.Faults{Latency: 50 * time.Millisecond})
		p := startOn(b, env, b.TempDir())
		b.StartTimer()
		begin := time.Now()
		p.write(input)
		test.WaitEvents(b, bp, alerts)
		b.ReportMetric(alerts/time.Since(begin).Seconds(), "alerts/s")
		b.StopTimer()
		p.end()
		b.ReportMetric(p.peak(), "RssAnon-MiB")
		if s := bp.Stats(); s.Events != alerts || s.Incidents+s.IncidentsDropped != alerts {
			b.Errorf("%d events of %d alerts, want %d", s.Events, s.Incidents+s.IncidentsDropped, alerts)
		}
		b.StartTimer()
	}
}

// BenchmarkOutbox measures what the outbox on disk promises of time and
// memory, with the program as a process: the times are from outside, and
// RssAnon-MiB is the most anonymous memory that it was seen to have.
func BenchmarkOutbox(b *testing.B) {
	b.Run("1000000 changes queued", benchmarkBacklog)
	b.Run("100000 of 10000 alerts queued over a restart", func(b *testing.B) { benchmarkRestart(b, 10_000) })
	b.Run("100000 of as many alerts queued over a restart", func(b *testing.B) { benchmarkRestart(b, 100_000) })
	b.Run("1000000 alerts active", benchmarkActive)
}

// benchmarkBacklog queues 1,000,000 changes of 10,000 alerts while BigPanda is
// down, and delivers them.
func benchmarkBacklog(b *testing.B) {
	const changes, alerts = 1_000_000, 10_000
	input := changesOf(changes, alerts)
	for b.Loop() {
		b.StopTimer()
		// The record is too small for them all: it counts.
		bp, env := test.NewBigPanda(b)
		test.SetFaults(b, bp, sandbox.Faults{Status: 503})
		dir := b.TempDir()
		p := startOn(b, env, dir)
		b.StartTimer()
		begin := time.Now()
		p.write(input)
		p.waitBack(changes)
		b.ReportMetric(changes/time.Since(begin).Seconds(), "queued/s")
		b.ReportMetric(p.peak(), "RssAnon-queuing-MiB")
		b.ReportMetric(float64(sizeOf(b, dir))/(1<<20), "disk-MiB")

		test.SetFaults(b, bp, sandbox.Faults{})
		test.WaitWithin(b, bp, 10*test.Patient, func(s sandbox.Stats) bool { return s.Events >= 1 }) // a sender that has failed often waits
		begin = time.Now()
		test.WaitWithin(b, bp, 10*test.Patient, func(s sandbox.Stats) bool { return s.Events >= changes })
		b.ReportMetric(changes/time.Since(begin).Seconds(), "delivered/s")
		b.StopTimer()
		begin = time.Now()
		p.end()
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms-to-end")
		b.ReportMetric(p.peak(), "RssAnon-MiB")
		b.ReportMetric(float64(sizeOf(b, dir))/(1<<20), "disk-after-MiB")
		if s := bp.Stats(); s.Events != changes || s.Stale != 0 || s.Duplicates != 0 {
			b.Errorf("%d events, %d out of order, %d duplicates", s.Events, s.Stale, s.Duplicates)
		}
		b.StartTimer()
	}
}

// benchmarkActive opens 1,000,000 alerts, and starts the next process on them.
func benchmarkActive(b *testing.B) {
	const alerts = 1_000_000
	input := changesOf(alerts, alerts)
	for b.Loop() {
		bp, env := test.NewBigPanda(b)
		dir := b.TempDir()
		p := startOn(b, env, dir)
		p.write(input)
		p.waitBack(alerts)
		test.WaitWithin(b, bp, 10*test.Patient, func(s sandbox.Stats) bool { return s.Events >= alerts })
		b.ReportMetric(p.peak(), "RssAnon-MiB")
		p.end()

		p = startOn(b, env, dir)
		p.write(changesOf(1, 1))
		begin := time.Now()
		p.waitBack(1) // the levels were read
		b.ReportMetric(time.Since(begin).Seconds(), "s-to-first-point")
		b.ReportMetric(p.peak(), "RssAnon-restarted-MiB")
		p.end()
	}
}

// benchmarkRestart ends the process with 100,000 changes queued, and starts the
// next, which delivers them. The levels of all alerts are read at the start.
func benchmarkRestart(b *testing.B, alerts int) {
	const changes = 100_000
	input := changesOf(changes, alerts)
	for b.Loop() {
		b.StopTimer()
		bp, env := test.NewBigPanda(b)
		test.SetFaults(b, bp, sandbox.Faults{Status: 503})
		dir := b.TempDir()
		p := startOn(b, env, dir)
		p.write(input)
		p.waitBack(changes)
		b.StartTimer()
		begin := time.Now()
		p.end()
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms-to-end")

		begin = time.Now()
		p = startOn(b, env, dir)
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms-to-start") // of the process, and to the answer to Init
		b.ReportMetric(float64(p.inited.Microseconds())/1000, "ms-to-Init")
		test.SetFaults(b, bp, sandbox.Faults{})
		test.WaitEvents(b, bp, changes)
		b.StopTimer()
		p.end()
		b.ReportMetric(p.peak(), "RssAnon-MiB")
		b.StartTimer()
	}
}

// A process is the program, measured.
type process struct {
	*test.Function
	inited  time.Duration // from Init to its answer
	back    atomic.Int64  // points
	most    atomic.Int64  // RssAnon, in KiB
	stop    chan struct{}
	workers sync.WaitGroup
}

// startOn starts the program on an outbox, and measures it from then on.
func startOn(b *testing.B, env []string, dir string) *process {
	b.Helper()
	p := measure(test.Launch(b, append(env, "BIGPANDA_OUTBOX="+dir)))
	frames := p.init()
	p.workers.Go(func() { p.countPoints(frames) })
	return p
}

// measure samples a process's memory from now to its end.
func measure(f *test.Function) *process {
	p := &process{Function: f, stop: make(chan struct{})}
	p.workers.Go(func() {
		for {
			p.sample()
			select {
			case <-time.After(10 * time.Millisecond):
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// init sends Info and Init, and returns what follows of the output.
func (p *process) init() *bufio.Reader {
	p.T.Helper()
	frames := bufio.NewReader(p.Out)
	var buf []byte
	ask := func(r *agent.Request) *agent.Response {
		p.write(test.Frames(r))
		answer := new(agent.Response)
		if err := agent.ReadMessage(&buf, frames, answer); err != nil {
			p.T.Fatal(err)
		}
		return answer
	}
	info := ask(test.Info())
	begin := time.Now()
	init := ask(test.Init("cpu_alert", "bigpanda3"))
	p.inited = time.Since(begin)
	if info.GetInfo() == nil || !init.GetInit().GetSuccess() {
		p.T.Fatalf("Init failed: %s", init.GetInit().GetError())
	}
	return frames
}

func (p *process) write(input []byte) {
	if _, err := p.In.Write(input); err != nil {
		p.T.Fatal(err)
	}
}

// countPoints counts the frames that come back. It parses none: that would
// cost as much as the program takes.
func (p *process) countPoints(frames *bufio.Reader) {
	for {
		size := uint64(0)
		for shift := 0; ; shift += 7 {
			c, err := frames.ReadByte()
			if err != nil {
				return
			}
			size |= uint64(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
		if _, err := io.CopyN(io.Discard, frames, int64(size)); err != nil {
			return
		}
		p.back.Add(1)
	}
}

func (p *process) waitBack(n int64) {
	p.T.Helper()
	for deadline := time.Now().Add(5 * test.Patient); p.back.Load() < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.T.Fatalf("%d of %d points came back", p.back.Load(), n)
		}
	}
}

// sample reads how much memory is the process's own: no file backs it.
func (p *process) sample() {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		return
	}
	_, after, _ := bytes.Cut(status, []byte("RssAnon:"))
	if fields := strings.Fields(string(after)); len(fields) > 0 {
		if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil && n > p.most.Load() {
			p.most.Store(n)
		}
	}
}

func (p *process) peak() (mebibytes float64) { return float64(p.most.Load()) / 1024 }

func (p *process) end() {
	p.T.Helper()
	if code := p.Function.End(); code != 0 {
		p.T.Errorf("exit code %d", code)
	}
	close(p.stop)
	p.workers.Wait()
}

// changesOf makes changes of alerts one after another, on the wire.
func changesOf(changes, alerts int) []byte {
	levels := [...]string{"CRITICAL", "WARNING"}
	input := make([]byte, 0, changes*256)
	for i := range changes {
		input = append(input, test.Frames(test.Point(fmt.Sprint("web", i%alerts), levels[i/alerts%2], 1_700_000_000+int64(i/alerts)))...)
	}
	return input
}

// sizeOf is how much of the disk a folder takes up at most.
func sizeOf(b *testing.B, dir string) (size int64) {
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		size += info.Size()
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return size
}
