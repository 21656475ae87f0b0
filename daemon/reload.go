package daemon

import (
	"maps"
	"slices"

	"bigpanda-udf/printable"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// namedHandler is the handler of a connection that tells which task it serves,
// once its Init has succeeded. That also holds while nothing is opened for it.
type namedHandler struct {
	*udf.Handler
	serves func(task string)
}

func (h namedHandler) Init(r *agent.InitRequest) (*agent.InitResponse, error) {
	answer, err := h.Handler.Init(r)
	if err == nil && answer.GetSuccess() {
		h.serves(r.TaskID)
	}
	return answer, err
}

// serves notes the task that a connection serves, "" for none any more.
func (c *connection) serves(task string) {
	d := c.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[c] = task; task == "" {
		delete(d.running, c)
	}
}

// sayWhatToReload logs the command that brings back the tasks that end with the
// daemon: Kapacitor dials none of them again. A line of the log has room for some
// of many tasks.
func (d *Daemon) sayWhatToReload() {
	d.mu.Lock()
	tasks := slices.Compact(slices.Sorted(maps.Values(d.running)))
	d.mu.Unlock()
	const (
		reload     = "kapacitor reload"
		maxCommand = 2 << 10 // bytes: of more, the log shows a part
	)
	command := reload
	say := func() {
		d.log.Warn("these tasks end with the daemon: reload them once it runs again", "command", command)
		command = reload
	}
	for _, task := range tasks {
		word := printable.ShellWord(task)
		if command != reload && len(command)+1+len(word) > maxCommand {
			say()
		}
		command += " " + word
	}
	if command != reload {
		say()
	}
}
