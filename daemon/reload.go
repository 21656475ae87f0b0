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

// sayWhatToReload logs the command that brings back the tasks that end with the
// daemon: Kapacitor dials none of them again. A line of the log has room for some
// of many tasks.
func (d *Daemon) sayWhatToReload() {
	d.mu.Lock()
	tasks := slices.Compact(slices.Sorted(maps.Values(d.running)))
	d.mu.Unlock()
	const maxCommand = 2 << 10 // bytes: of more, the log shows a part
	command := ""
	say := func() {
		if command != "" {
			d.log.Warn("these tasks end with the daemon: reload them once it runs again", "command", "kapacitor reload"+command)
		}
		command = ""
	}
	for _, task := range tasks {
		word := " " + printable.ShellWord(task)
		if len("kapacitor reload"+command+word) > maxCommand {
			say()
		}
		command += word
	}
	say()
}
