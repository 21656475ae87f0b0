package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"bigpanda-udf/test"
	"bigpanda-udf/test/bench"
)

// What BenchmarkThroughput compares, as a TICKscript has it.
const (
	noFunction     = ""
	mirrorFunction = "@mirror()"   // hands every point back, on Kapacitor's own agent
	rawFunction    = "@raw()"      // copies bytes
	thisFunction   = "@bigpanda()" // the program as it is, an outbox on disk
	thisSink       = "@bigpanda().passThrough(FALSE)"
)

// A throughputCase is one line of BenchmarkThroughput's table.
type throughputCase struct {
	function string
	socket   bool    // the function is a daemon's
	changing float64 // part of the points that change their level
}

// throughputSeries is in how many series the points are.
const throughputSeries = 1_000

type throughputResult struct {
	perSecond float64
	// Of a point: processor time in nanoseconds, and system calls of the function.
	functionCPU, kapacitordCPU, reads, writes float64
}

// BenchmarkThroughput prints a table of how fast the real Kapacitor passes
// points through a task: with no function in it, with a mirror on Kapacitor's
// own agent, with the least that a function could do, and with this one.
// BENCH_POINTS points for each line of it, the median of BENCH_ROUNDS rounds,
// each with a server of its own for each line.
func BenchmarkThroughput(b *testing.B) {
	rounds, points := bench.Setting("BENCH_ROUNDS", 3), bench.Setting("BENCH_POINTS", 200_000)
	cases := []throughputCase{
		{noFunction, false, 0},
		{mirrorFunction, false, 0},
		{rawFunction, false, 0},
		{thisFunction, false, 0},
		{thisFunction, true, 0},
		{thisFunction, false, 0.001},
		{thisFunction, true, 0.001},
		{thisFunction, false, 0.01},
		{thisSink, false, 0},
	}
	for b.Loop() {
		runs := make([][]throughputResult, len(cases))
		for range rounds {
			for i, c := range cases {
				runs[i] = append(runs[i], c.run(b, points))
			}
		}
		printThroughput(cases, runs)
	}
}

// writers is how many clients write at once, each to series of its own: while
// the task takes what one of them wrote, Kapacitor parses what the next did.
const writers = 2

// run passes points through a task, in a server that it starts and stops.
func (c throughputCase) run(b *testing.B, points int) (r throughputResult) {
	b.Helper()
	panda := startBigPanda(b)
	dir := test.SocketDir(b)
	config := functionConfig(b, panda, map[string]string{"BIGPANDA_OUTBOX": filepath.Join(dir, "outbox")})
	for name, kind := range map[string]string{"mirror": stockAgent, "raw": rawCopier} {
		section, err := mirrorConfig(kind)
		if err != nil {
			b.Fatal(err)
		}
		functionTables(config)[name] = section
	}
	var function int // the process
	if c.socket {
		socket := filepath.Join(dir, "s")
		daemon := serve(b, socket, onSocket(functionTable(config), socket))
		defer daemon.Process.Kill()
		function = daemon.Process.Pid
	}
	k := startKapacitor(b, config)
	// The last node lets nothing through: it is there to count.
	k.define("throughput", `
stream
    |from()
        .measurement('cpu')
        .groupBy('host')
    `+c.function+`
    |where(lambda: FALSE)`)
	last := "where"
	if c.function == thisSink {
		last = "bigpanda" // nothing comes further
	}
	if c.function != noFunction && !c.socket {
		k.waitForFunctions(1)
		function = k.functions()[0].id
	}

	var input [writers][][]byte
	changes := 0
	for w := range input {
		bodies, n := c.input(w, points/writers)
		input[w] = bodies
		changes += n
	}
	before, kapacitord := usageOf(b, function), usageOf(b, k.cmd.Process.Pid)
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
		if seen := k.collected("throughput", last); seen != points {
			return fmt.Sprintf("it has seen %d of %d", seen, points)
		}
		return ""
	})
	took := time.Since(begin)
	after, kapacitordAfter := usageOf(b, function), usageOf(b, k.cmd.Process.Pid)
	if got := len(panda.waitForCount(changes)); got != changes {
		b.Errorf("%d alerts came for %d changes", got, changes)
	}
	k.stop()
	n := float64(points)
	return throughputResult{
		perSecond:     n / took.Seconds(),
		functionCPU:   float64(after.cpu-before.cpu) / n,
		kapacitordCPU: float64(kapacitordAfter.cpu-kapacitord.cpu) / n,
		reads:         float64(after.reads-before.reads) / n,
		writes:        float64(after.writes-before.writes) / n,
	}
}

// input is what a writer writes, as the bodies of its requests, and how many
// changes of a level are in it. The levels change at random, each from what it
// was.
func (c throughputCase) input(writer, points int) (bodies [][]byte, changes int) {
	const lines = 5_000 // in a request, as Telegraf is often set to
	r := rand.New(rand.NewPCG(1, uint64(writer)))
	const series = throughputSeries / writers
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

// A usage is what a process has used so far.
type usage struct {
	cpu           time.Duration // to 20 ms
	reads, writes int           // system calls
}

// usageOf reads /proc (proc(5)); 0 is no process.
func usageOf(t testing.TB, id int) (u usage) {
	t.Helper()
	if id == 0 {
		return u
	}
	const tick = time.Second / 100 // on all of Go's ports to Linux
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(id), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	stat := read("stat")
	// The name, in parentheses, may hold anything: begin after it.
	var user, kernel time.Duration
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if _, err := fmt.Sscan(strings.Join(fields[11:13], " "), (*int64)(&user), (*int64)(&kernel)); err != nil {
		t.Fatal(err)
	}
	u.cpu = (user + kernel) * tick
	if _, err := fmt.Sscanf(read("io"), "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d", new(int), new(int), &u.reads, &u.writes); err != nil {
		t.Fatal(err)
	}
	return u
}

func printThroughput(cases []throughputCase, runs [][]throughputResult) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nchanging\tfunction\tpoints/s\tof the mirror\tof the copier\tfunction CPU µs/point\tkapacitord CPU µs/point\treads/point\twrites/point\t")
	median := func(i int, value func(throughputResult) float64) float64 { return bench.Median(runs[i], value) }
	perSecond := func(r throughputResult) float64 { return r.perSecond }
	var mirror, raw float64
	for i, c := range cases {
		name, speed := c.function, median(i, perSecond)
		switch {
		case name == noFunction:
			name = "none"
		case name == mirrorFunction:
			mirror = speed
		case name == rawFunction:
			raw = speed
		case c.socket:
			name += " on a socket"
		}
		fmt.Fprintf(w, "%g %%\t%s\t%.0f\t%s\t%s\t%.2f\t%.2f\t%.3f\t%.3f\t\n", 100*c.changing, name, speed, ratio(speed, mirror), ratio(speed, raw),
			median(i, func(r throughputResult) float64 { return r.functionCPU })/1000,
			median(i, func(r throughputResult) float64 { return r.kapacitordCPU })/1000,
			median(i, func(r throughputResult) float64 { return r.reads }),
			median(i, func(r throughputResult) float64 { return r.writes }))
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
