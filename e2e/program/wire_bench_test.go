package program

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/cli"
	"bigpanda-udf/outbox"
	"bigpanda-udf/retry"
	"bigpanda-udf/test"
	"bigpanda-udf/test/bench"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// What BenchmarkWire compares.
const (
	stockMirror   child = "mirror on the stock agent"   // hands every point back, does nothing else
	stockFunction child = "function on the stock agent" // this function, an outbox on disk
	wireFunction  child = "function on wire"            // the program as it is
	catProgram    child = "cat"                         // the limit of the pipes
)

// BenchmarkWire prints a table of what a point costs: the median of BENCH_ROUNDS
// runs (3) of BENCH_POINTS points (4,000,000), or fewer where they are slow.
func BenchmarkWire(b *testing.B) {
	const changed1000, changed10 = 0.001, 0.1
	rounds, points := bench.Setting("BENCH_ROUNDS", 3), bench.Setting("BENCH_POINTS", 4_000_000)
	var cases []wireCase
	for _, series := range []int{1, 1_000, 1_000_000} {
		cases = append(cases, wireCase{catProgram, series, 0, points}, wireCase{stockMirror, series, 0, points / 20})
		for _, changing := range []float64{0, changed1000, changed10} {
			cases = append(cases,
				wireCase{stockFunction, series, changing, points / 20},
				wireCase{wireFunction, series, changing, int(float64(points) / (1 + 50*changing))})
		}
	}
	var table []wireResult
	for _, c := range cases {
		b.Run(strings.ReplaceAll(fmt.Sprintf("%s/series=%d/changing=%g", c.child, c.series, c.changing), " ", "_"), func(b *testing.B) {
			input := c.input()
			for b.Loop() {
				var runs []wireResult
				for range rounds {
					runs = append(runs, c.run(b, input))
				}
				median := wireResult{
					wireCase:  c,
					perSecond: bench.Median(runs, func(r wireResult) float64 { return r.perSecond }),
					cpu:       bench.Median(runs, func(r wireResult) float64 { return r.cpu }),
					allocs:    bench.Median(runs, func(r wireResult) float64 { return r.allocs }),
					peak:      bench.Median(runs, func(r wireResult) float64 { return r.peak }),
				}
				b.ReportMetric(median.perSecond, "points/s")
				b.ReportMetric(median.cpu, "CPU-ns/point")
				b.ReportMetric(median.allocs, "allocs/point")
				b.ReportMetric(median.peak, "RssAnon-MiB")
				table = append(table, median)
			}
		})
	}
	printWire(table)
}

type wireCase struct {
	child    child
	series   int
	changing float64 // part of the points that change their level
	points   int
}

type wireResult struct {
	wireCase
	perSecond, cpu, allocs, peak float64
}

// input is the case's points on the wire. The levels change at random, each
// from what it was.
func (c wireCase) input() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	critical := make([]bool, c.series)
	var b []byte
	for i := range min(c.points, max(c.series, 200_000)) {
		s := i % c.series
		if r.Float64() < c.changing {
			critical[s] = !critical[s]
		}
		level := "OK"
		if critical[s] {
			level = "CRITICAL"
		}
		p := test.Point(fmt.Sprintf("web%07d", s), level, 1_700_000_000+int64(i/c.series))
		p.GetPoint().FieldsInt["duration"] = 0
		b = append(b, test.Frames(p)...)
	}
	return b
}

// startChild starts a child, up to the answer to Init. What it has allocated
// when it ends is in the file.
func startChild(b *testing.B, c child) (p *process, stats string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	if c == catProgram {
		cmd = exec.Command("cat")
	}
	_, env := test.NewBigPanda(b)
	stats = filepath.Join(b.TempDir(), "stats")
	cmd.Env = append(append(os.Environ(), env...), test.AsChild+"="+string(c), statsFile+"="+stats)
	p = measure(test.LaunchCommand(b, cmd))
	if c != catProgram {
		p.init() // which leaves nothing in its buffer: no data has come
	}
	return p, stats
}

// run sends the points, again and again until there were enough.
func (c wireCase) run(b *testing.B, input []byte) wireResult {
	b.Helper()
	p, stats := startChild(b, c.child)
	once := min(c.points, max(c.series, 200_000))
	turns := max(1, c.points/once)
	begin := time.Now()
	p.workers.Go(func() {
		for range turns {
			p.write(input)
		}
	})
	buffer := make([]byte, 1<<20)
	for left := turns * len(input); left > 0; {
		n, err := p.Out.Read(buffer)
		if err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	took := time.Since(begin)
	n := float64(turns * once)
	p.end()
	r := wireResult{
		perSecond: n / took.Seconds(),
		cpu:       float64(p.Cmd.ProcessState.UserTime()+p.Cmd.ProcessState.SystemTime()) / n,
		peak:      p.peak(),
	}
	if text, err := os.ReadFile(stats); err == nil {
		mallocs, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			b.Fatal(err)
		}
		r.allocs = mallocs / n
	}
	return r
}

func printWire(table []wireResult) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nseries\tchanging\t\tpoints/s\tof the mirror\tof cat\tCPU ns/point\tallocs/point\tpeak MiB\t")
	var cat, mirror float64
	for _, r := range table {
		switch r.child {
		case catProgram:
			cat = r.perSecond
		case stockMirror:
			mirror = r.perSecond
		}
		ofMirror := "" // cat comes before it
		if r.child != catProgram {
			ofMirror = fmt.Sprintf("%.1f", r.perSecond/mirror)
		}
		fmt.Fprintf(w, "%d\t%g %%\t%s\t%.0f\t%s\t%.2f\t%.0f\t%.2f\t%.1f\t\n",
			r.series, 100*r.changing, r.child, r.perSecond, ofMirror, r.perSecond/cat, r.cpu, r.allocs, r.peak)
	}
	w.Flush()
}

// statsFile in the environment names where a benchmarked child writes how often
// it has allocated.
const statsFile = "BIGPANDA_UDF_TEST_STATS"

// benchmarked is a child that BenchmarkWire measures.
func benchmarked(c child) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	code := 1
	switch c {
	case stockMirror:
		code = onStockAgent(new(mirror))
	case stockFunction:
		code = functionOnStockAgent()
	case wireFunction:
		code = cli.Run(context.Background(), cli.Process{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv})
	}
	runtime.ReadMemStats(&after)
	if err := os.WriteFile(os.Getenv(statsFile), fmt.Append(nil, after.Mallocs-before.Mallocs), 0o600); err != nil {
		return 1
	}
	return code
}

// A stockHandler serves agent.Agent: it sends its data itself.
type stockHandler interface {
	agent.Handler
	sendTo(responses chan<- *agent.Response)
}

func onStockAgent(h stockHandler) int {
	a := agent.New(os.Stdin, os.Stdout)
	a.Handler = h
	h.sendTo(a.Responses)
	if err := a.Start(); err != nil {
		return 1
	}
	if err := a.Wait(); err != nil {
		return 1
	}
	return 0
}

// mirror hands every point back.
type mirror struct{ responses chan<- *agent.Response }

func (m *mirror) sendTo(responses chan<- *agent.Response) { m.responses = responses }
func (m *mirror) Info() (*agent.InfoResponse, error) {
	return &agent.InfoResponse{Wants: agent.EdgeType_STREAM, Provides: agent.EdgeType_STREAM}, nil
}
func (m *mirror) Init(*agent.InitRequest) (*agent.InitResponse, error) {
	return &agent.InitResponse{Success: true}, nil
}
func (m *mirror) Snapshot() (*agent.SnapshotResponse, error) { return &agent.SnapshotResponse{}, nil }
func (m *mirror) Restore(*agent.RestoreRequest) (*agent.RestoreResponse, error) {
	return &agent.RestoreResponse{Success: true}, nil
}
func (m *mirror) BeginBatch(*agent.BeginBatch) error { return nil }
func (m *mirror) EndBatch(*agent.EndBatch) error     { return nil }
func (m *mirror) Stop()                              { close(m.responses) }
func (m *mirror) Point(p *agent.Point) error {
	m.responses <- &agent.Response{Message: &agent.Response_Point{Point: p}}
	return nil
}

// stockServed is a udf.Handler as the stock agent serves it.
type stockServed struct {
	*udf.Handler
	mirror
}

func (s *stockServed) Info() (*agent.InfoResponse, error) { return s.Handler.Info() }
func (s *stockServed) Init(r *agent.InitRequest) (*agent.InitResponse, error) {
	return s.Handler.Init(r)
}
func (s *stockServed) Snapshot() (*agent.SnapshotResponse, error) { return s.Handler.Snapshot() }
func (s *stockServed) Restore(r *agent.RestoreRequest) (*agent.RestoreResponse, error) {
	return s.Handler.Restore(r)
}
func (s *stockServed) BeginBatch(*agent.BeginBatch) error { return nil }
func (s *stockServed) EndBatch(*agent.EndBatch) error     { return nil }
func (s *stockServed) Stop() {
	s.Handler.Stop()
	s.mirror.Stop()
}
func (s *stockServed) Point(p *agent.Point) error {
	if err := s.Handler.Point(p); err != nil {
		return err
	}
	s.Handler.Commit()
	return s.mirror.Point(p)
}

// functionOnStockAgent is the program with agent.Agent in place of package
// wire.
func functionOnStockAgent() int {
	log := slog.New(slog.DiscardHandler)
	client, err := bigpanda.NewClient(bigpanda.Options{URL: os.Getenv("BIGPANDA_URL"), Token: os.Getenv("BIGPANDA_TOKEN")})
	if err != nil {
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h := udf.New(udf.Config{
		Defaults: udf.Defaults{AppKey: os.Getenv("BIGPANDA_APP_KEY"), AutoAttributes: "tags,fields"},
		Enabled:  true,
		Log:      log,
		Open: func(u udf.Use) (udf.Store, error) {
			disk, err := outbox.Open(os.Getenv("BIGPANDA_OUTBOX"), outbox.Options{
				Task: u.Task, Node: u.Node, URL: os.Getenv("BIGPANDA_URL"), Fingerprint: client.Fingerprint, Log: log,
			})
			if err == nil {
				api := retry.NewLimitedAPI(client, bigpanda.DefaultConnections, 0)
				go udf.NewSender(disk, api, udf.SenderOptions{Log: log}).Run(ctx)
			}
			return disk, err
		},
	})
	s := &stockServed{Handler: h}
	return onStockAgent(s)
}
