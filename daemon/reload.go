package daemon

import (
	"maps"
	"slices"

	"bigpanda-udf/printable"

	"github.com/influxdata/kapacitor/udf/agent"
)

// Init notes which task the connection serves, once it has succeeded. That also holds
// while nothing is opened for it.
func (c connection) Init(r *agent.InitRequest) (*agent.InitResponse, error) {
	answer, err := c.Handler.Init(r)
	if err == nil && answer.GetSuccess() {
		c.serves(r.TaskID)
	}
	return answer, err
}

// serves notes the task that a connection serves, "" for none any more.
func (c connection) serves(task string) {
	d := c.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[c] = task; task == "" {
		delete(d.running, c)
	}
}

// maxReload is how many tasks a line of the log names: it has room for as many.
const maxReload = 15

// sayWhatToReload logs the command that brings back the tasks that end with the
// daemon: Kapacitor dials none of them again.
func (d *Daemon) sayWhatToReload() {
	d.mu.Lock()
	tasks := slices.Compact(slices.Sorted(maps.Values(d.running)))
	d.mu.Unlock()
	for some := range slices.Chunk(tasks, maxReload) {
		command := "kapacitor reload"
		for _, task := range some {
			command += " " + printable.ShellWord(task)
		}
		d.log.Warn("these tasks end with the daemon: reload them once it runs again", "command", command)
	}
}
