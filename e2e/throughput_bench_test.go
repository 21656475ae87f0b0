package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// What BenchmarkThroughput compares, as a TICKscript has it.
const (
	noFunction     = ""
	mirrorFunction = "@mirror()"   // hands every point back, on Kapacitor's own agent
	thisFunction   = "@bigpanda()" // the program as it is, an outbox on disk
)

// A throughputCase is one line of BenchmarkThroughput's table.
type throughputCase struct {
	function string
	series   int
	changing float64 // part of the points that change their level
}

type throughputResult struct {
	throughputCase
	perSecond float64
	// Processor time of a point, in nanoseconds.
	functionCPU, kapacitordCPU float64
}

// BenchmarkThroughput prints a table of how fast the real Kapacitor passes
// points through a task: with no function in it, with a mirror on Kapacitor's
// own agent, and with this one. BENCH_POINTS points for each line of it, the
// median of BENCH_ROUNDS runs, each with a server of its own.
func BenchmarkThroughput(b *testing.B) {
	rounds, points := setting("BENCH_ROUNDS", 3), setting("BENCH_POINTS", 200_000)
	var table []throughputResult
	for _, series := range []int{10, 1_000} {
		for _, c := range []throughputCase{
			{noFunction, series, 0},
			{mirrorFunction, series, 0},
			{thisFunction, series, 0},
			{thisFunction, series, 0.001},
		} {
			b.Run(fmt.Sprintf("%s/series=%d/changing=%g", c.name(), series, c.changing), func(b *testing.B) {
				for b.Loop() {
					var runs []throughputResult
					for range rounds {
						runs = append(runs, c.run(b, points))
					}
					median := throughputResult{
						throughputCase: c,
						perSecond:      middle(runs, func(r throughputResult) float64 { return r.perSecond }),
						functionCPU:    middle(runs, func(r throughputResult) float64 { return r.functionCPU }),
						kapacitordCPU:  middle(runs, func(r throughputResult) float64 { return r.kapacitordCPU }),
					}
					b.ReportMetric(median.perSecond, "points/s")
					b.ReportMetric(median.functionCPU, "function-CPU-ns/point")
					b.ReportMetric(median.kapacitordCPU, "kapacitord-CPU-ns/point")
					table = append(table, median)
				}
			})
		}
	}
	printThroughput(table)
}

func (c throughputCase) name() string {
	if c.function == noFunction {
		return "none"
	}
	return c.function
}

// writers is how many clients write at once, each to series of its own: while
// the task takes what one of them wrote, Kapacitor parses what the next did.
const writers = 2

// run passes points through a task, in a server that it starts and stops.
func (c throughputCase) run(b *testing.B, points int) throughputResult {
	b.Helper()
	panda := startBigPanda(b)
	config := functionConfig(b, panda, nil)
	mirror, err := mirrorConfig()
	if err != nil {
		b.Fatal(err)
	}
	merge(config, map[string]any{"udf": map[string]any{"functions": map[string]any{"mirror": mirror}}})
	k := startKapacitor(b, config)
	// The last node lets nothing through: it is there to count.
	k.define("throughput", `
stream
    |from()
        .measurement('cpu')
        .groupBy('host')
    `+c.function+`
    |where(lambda: FALSE)`)
	functions := 0
	if c.function != noFunction {
		functions = 1
	}
	k.waitForFunctions(functions)

	var input [writers][][]byte
	changes := 0
	for w := range input {
		bodies, n := c.input(w, points/writers)
		input[w] = bodies
		changes += n
	}
	functionBefore, kapacitordBefore := k.processorTimes()
	begin := time.Now()
	written := make(chan error, writers)
	for _, bodies := range input {
		go func() { written <- k.writeAll(bodies) }()
	}
	for range writers {
		if err := <-written; err != nil {
			b.Fatal(err)
		}
	}
	k.eventually("the last node has seen every point", func() string {
		if err := k.failure(); err != nil {
			b.Fatal(err)
		}
		if seen := k.collected("throughput", "where"); seen != points {
			return fmt.Sprintf("it has seen %d of %d", seen, points)
		}
		return ""
	})
	took := time.Since(begin)
	if got := len(panda.waitForCount(changes)); got != changes {
		b.Errorf("%d alerts came for %d changes", got, changes)
	}
	functionAfter, kapacitordAfter := k.processorTimes()
	k.stop()
	return throughputResult{
		throughputCase: c,
		perSecond:      float64(points) / took.Seconds(),
		functionCPU:    float64(functionAfter-functionBefore) / float64(points),
		kapacitordCPU:  float64(kapacitordAfter-kapacitordBefore) / float64(points),
	}
}

// input is what a writer writes, as the bodies of its requests, and how many
// changes of a level are in it. The levels change at random, each from what it
// was.
func (c throughputCase) input(writer, points int) (bodies [][]byte, changes int) {
	const lines = 5_000 // in a request, as Telegraf is often set to
	r := rand.New(rand.NewPCG(1, uint64(writer)))
	series := c.series / writers
	critical := make([]bool, series)
	var body bytes.Buffer
	for i := range points {
		s := i % series
		if r.Float64() < c.changing {
			critical[s] = !critical[s]
			changes++
		}
		level := ok.name
		if critical[s] {
			level = "CRITICAL"
		}
		fmt.Fprintf(&body, "cpu,cpu=cpu-total,host=web%d-%04d usage=42.5,level=%q %d\n", writer, s, level, at(i/series))
		if (i+1)%lines == 0 || i+1 == points {
			bodies = append(bodies, bytes.Clone(body.Bytes()))
			body.Reset()
		}
	}
	return bodies, changes
}

// writeAll writes one body after the other.
func (k *kapacitor) writeAll(bodies [][]byte) error {
	for _, body := range bodies {
		if _, err := k.try(http.MethodPost, "/write?db="+database+"&rp="+retention, bytes.NewReader(body)); err != nil {
			return err
		}
	}
	return nil
}

// collected returns how many points have come to a task's node of the kind.
func (k *kapacitor) collected(id, kind string) int {
	k.t.Helper()
	for name, stats := range k.show(id).Stats.Nodes {
		if strings.HasPrefix(name, kind) {
			n, _ := stats["collected"].(float64)
			return int(n)
		}
	}
	k.t.Fatalf("task %s has no node %s", id, kind)
	return 0
}

// processorTimes returns what the functions and the server have used so far.
func (k *kapacitor) processorTimes() (functions, kapacitord time.Duration) {
	k.t.Helper()
	for _, p := range k.functions() {
		functions += processorTime(k.t, p.id)
	}
	return functions, processorTime(k.t, k.cmd.Process.Pid)
}

// processorTime returns what a process has used so far, to 20 ms.
func processorTime(t testing.TB, id int) time.Duration {
	t.Helper()
	const tick = time.Second / 100 // on all of Go's ports to Linux
	path := filepath.Join("/proc", strconv.Itoa(id), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The name, in parentheses, may hold anything: begin after it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var used time.Duration
	for _, ticks := range fields[11:13] { // in user mode, and in the kernel: see proc(5)
		n, err := strconv.Atoi(string(ticks))
		if err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		used += time.Duration(n) * tick
	}
	return used
}

func printThroughput(table []throughputResult) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nseries\tchanging\tfunction\tpoints/s\tof none\tof the mirror\tfunction CPU µs/point\tkapacitord CPU µs/point\t")
	var none, mirror float64
	for _, r := range table {
		switch r.function {
		case noFunction:
			none, mirror = r.perSecond, 0
		case mirrorFunction:
			mirror = r.perSecond
		}
		fmt.Fprintf(w, "%d\t%g %%\t%s\t%.0f\t%s\t%s\t%.2f\t%.2f\t\n", r.series, 100*r.changing, r.name(),
			r.perSecond, ratio(r.perSecond, none), ratio(r.perSecond, mirror), r.functionCPU/1000, r.kapacitordCPU/1000)
	}
	w.Flush()
}

// ratio is a cell of the table, empty for a line that has not come.
func ratio(value, of float64) string {
	if of == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", value/of)
}

func middle(runs []throughputResult, value func(throughputResult) float64) float64 {
	var all []float64
	for _, r := range runs {
		all = append(all, value(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// setting is a number from the environment.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}
