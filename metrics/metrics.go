// Package metrics gives the state of all outboxes of a host to Prometheus: it asks the
// processes that work on them, and reads those whose process is gone. It changes
// nothing, and counts nothing itself (that is package counters). A metric is a row of
// table.go, one of the cluster a row of cluster_table.go.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"bigpanda-udf/outbox"
	"bigpanda-udf/printable"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
)

const (
	// answersWithin is how long a scrape waits for outboxes: less than the 10 s after
	// which Prometheus gives up by default.
	answersWithin = 4 * time.Second
	// atOnce is how many outboxes are asked at once.
	atOnce = 16
	// maxLabel bounds the value of a label, in bytes: task names come from outside.
	maxLabel = 200
)

// Options of a Collector.
type Options struct {
	// Folders returns the folders of the outboxes, at each scrape. Required.
	Folders func() ([]string, error)
	// Redact takes what is secret out of a text that comes from an outbox. Required.
	Redact func(string) string
	// Log gets why an outbox cannot be read. Required.
	Log *slog.Logger
}

// A Collector asks the outboxes at each scrape, one scrape after the other. An outbox
// that does not answer in time holds up neither what the others say nor the next scrape.
type Collector struct {
	options Options
	within  time.Duration       // answersWithin, but in tests
	slots   *semaphore.Weighted // of outboxes that are being asked

	mu      sync.Mutex      // held for a scrape; guards what follows, and each use but its asking
	known   map[string]*use // by folder
	empty   bool            // there was no outbox at the last scrape
	failure string          // of looking for outboxes, that was logged
}

// A use is what is remembered of an outbox from one scrape to the next.
type use struct {
	folder  string
	control *outbox.Control
	labels  []string
	failure string      // that was logged
	asking  atomic.Bool // an earlier scrape still is: the disk hangs
}

// An answer is what became of asking.
type answer struct {
	*use
	metrics outbox.Metrics
	err     error
}

// New returns a Collector.
func New(o Options) *Collector {
	return &Collector{options: o, within: answersWithin, slots: semaphore.NewWeighted(atOnce), known: make(map[string]*use)}
}

// Describe is part of prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range table {
		descs <- m.desc
	}
}

// Collect is part of prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	folders, err := c.options.Folders()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // no task has begun yet
	}
	if failed(&c.failure, err) {
		c.options.Log.Warn("the outboxes cannot be read for their metrics", "error", err)
	}
	if err != nil {
		out <- prometheus.NewInvalidMetric(success.desc, errors.New(c.text(err.Error())))
		return
	}
	if len(folders) == 0 && !c.empty {
		c.options.Log.Info("there is no outbox yet, and so there are no metrics: if a task runs, set --outbox (BIGPANDA_OUTBOX) to the folder of its function")
	}
	c.empty = len(folders) == 0
	ctx, cancel := context.WithTimeout(context.Background(), c.within)
	defer cancel()
	answers := make(chan answer, len(folders)) // nobody who is late waits for a reader
	waiting := c.uses(folders)
	for _, u := range waiting {
		if u.asking.CompareAndSwap(false, true) {
			go func() {
				defer u.asking.Store(false)
				m, err := c.ask(ctx, u)
				answers <- answer{u, m, err}
			}()
		}
	}
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			delete(waiting, a.folder)
			c.report(out, a)
		case <-ctx.Done():
			for _, u := range waiting {
				c.report(out, answer{use: u, err: errors.New("no answer within " + c.within.String() + ": its process, or its disk, hangs")})
			}
			clear(waiting)
		}
	}
}

// uses returns what is known of each folder, and forgets all others.
func (c *Collector) uses(folders []string) map[string]*use {
	uses := make(map[string]*use)
	for _, folder := range folders {
		u := c.known[folder]
		if u == nil {
			redact := func(b []byte) []byte { return []byte(c.options.Redact(string(b))) }
			u = &use{folder: folder, control: outbox.NewControl(folder, redact), labels: []string{"", "", c.folderName(filepath.Base(folder))}}
		}
		uses[folder] = u
	}
	c.known = uses
	return maps.Clone(uses)
}

func (c *Collector) ask(ctx context.Context, u *use) (outbox.Metrics, error) {
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return outbox.Metrics{}, err
	}
	defer c.slots.Release(1)
	return u.control.Metrics(ctx)
}

// report gives what an outbox has answered. Of one that has not, its labels are those
// of the scrape before.
func (c *Collector) report(out chan<- prometheus.Metric, a answer) {
	if failed(&a.failure, a.err) {
		c.options.Log.Warn("an outbox cannot be read for its metrics", "folder", a.folder, "error", a.err)
	}
	if a.err == nil {
		a.labels[0], a.labels[1] = c.text(a.metrics.Task), c.text(a.metrics.Node)
	}
	s := sample{Metrics: a.metrics, now: time.Now(), ok: a.err == nil, text: c.text}
	for _, m := range table {
		if s.ok || m.always {
			m.emit(out, &s, a.labels)
		}
	}
}

// failed tells whether an error is another than the one that was logged last.
func failed(logged *string, err error) bool {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	is := failure != "" && failure != *logged
	*logged = failure
	return is
}

// folderName is what the name of a folder is shown as: no two alike, as one pair of equal
// labels would be the end of the whole scrape.
func (c *Collector) folderName(name string) string {
	shown := c.text(name)
	if shown != name {
		shown += fmt.Sprintf(" #%08x", crc32.ChecksumIEEE([]byte(name)))
	}
	return shown
}

// text is a text as the value of a label shows it.
func (c *Collector) text(text string) string { return label(c.options.Redact, text) }

// label is a text as the value of a label, without what is secret.
func label(redact func(string) string, text string) string {
	return printable.Cut(printable.Text(redact(text)), maxLabel)
}
