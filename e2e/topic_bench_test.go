package e2e

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"bigpanda-udf/sandbox"
)

// A topicStorm is one line of BenchmarkTopic's table: so many series of a task with a
// topic go CRITICAL at once.
type topicStorm struct {
	name    string
	alerts  int
	buffer  int           // topic-buffer-length; 0: Kapacitor's own
	latency time.Duration // of BigPanda
	native  bool          // the handler is Kapacitor's own
}

// BenchmarkTopic prints a table of what becomes of storms in a topic of the real
// Kapacitor, with a handler that posts to the daemon, whose outbox is on disk, and with
// Kapacitor's own. Lost is what Kapacitor says that it has dropped. Of its own handler
// only the first 30 seconds are waited for.
func BenchmarkTopic(b *testing.B) {
	const latency = 50 * time.Millisecond
	storms := []topicStorm{
		{name: "post, within the buffer", alerts: 4_000},
		{name: "post", alerts: 20_000, latency: latency},
		{name: "post, topic-buffer-length = 50000", alerts: 20_000, buffer: 50_000, latency: latency},
		{name: "bigpanda, Kapacitor's own", alerts: 20_000, latency: latency, native: true},
		{name: "bigpanda, topic-buffer-length = 50000", alerts: 20_000, buffer: 50_000, latency: latency, native: true},
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "handler\talerts\tlost\ttaken\tseconds\tper second\topen files of kapacitord")
	for b.Loop() {
		for _, s := range storms {
			s.run(b, table)
		}
	}
	table.Flush()
	b.Logf("\n%s", &text)
}

// droppedEvent is in Kapacitor's log for each event that a full buffer has cost.
var droppedEvent = regexp.MustCompile(`failed to deliver event`)

func (s topicStorm) run(b *testing.B, table *tabwriter.Writer) {
	panda := startBigPanda(b)
	panda.fail(sandbox.Faults{Latency: s.latency})
	config := map[string]any{"bigpanda": nativeSection(panda)}
	if s.buffer > 0 {
		config["alert"] = map[string]any{"topic-buffer-length": s.buffer}
	}
	k := startKapacitor(b, config)
	defer k.stop()
	d := startTopics(b, panda, nil)
	defer d.end(syscall.SIGTERM)
	if s.native {
		k.handle("cpu", handlerSpec("cpu", withHost(nil)))
	} else {
		d.handle(k, "cpu", "cpu", "")
	}
	k.define("cpu", `
stream
    |from()
        .measurement('cpu')
        .groupBy('host')
    |alert()
        .topic('cpu')
        .details('')
        .crit(lambda: "usage" > 90)`)
	const lines = 5_000
	var bodies [][]byte
	for i := 0; i < s.alerts; i += lines {
		var body bytes.Buffer
		for n := range min(lines, s.alerts) {
			fmt.Fprintf(&body, "cpu,host=web%05d usage=95 %d\n", i+n, at(0))
		}
		bodies = append(bodies, body.Bytes())
	}
	began := time.Now()
	if err := k.writeAll(bodies); err != nil {
		b.Fatal(err)
	}
	lost := func() int { return len(droppedEvent.FindAllString(k.log(), -1)) }
	late := time.Now().Add(5 * time.Minute)
	if s.native {
		late = time.Now().Add(30 * time.Second)
	}
	files := 0
	for panda.Stats().Events < s.alerts-lost() && time.Now().Before(late) {
		time.Sleep(20 * time.Millisecond)
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", k.cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		files = max(files, len(open))
	}
	took, taken := time.Since(began), panda.Stats().Events
	fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%.1f\t%.0f\t%d\n", s.name, s.alerts, lost(), taken, took.Seconds(), float64(taken)/took.Seconds(), files)
}
