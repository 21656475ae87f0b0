package cli

import (
	"maps"
	"slices"
	"strings"
	"unicode"

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
	d := c.server
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[c.task]--; d.running[c.task] <= 0 {
		delete(d.running, c.task)
	}
	if c.task = task; task != "" {
		d.running[task]++
	}
}

// sayWhatToReload logs the command that brings back the tasks that end with the
// daemon: Kapacitor dials none of them again. A line of the log has room for some
// of many tasks.
func (d *server) sayWhatToReload() {
	d.mu.Lock()
	tasks := slices.Sorted(maps.Keys(d.running))
	d.mu.Unlock()
	const reload = "kapacitor reload"
	command := reload
	say := func() {
		d.log.Warn("these tasks end with the daemon: reload them once it runs again", "command", command)
		command = reload
	}
	for _, task := range tasks {
		word := shellWord(task)
		if command != reload && len(command)+1+len(word) > maxLogValue {
			say()
		}
		command += " " + word
	}
	if command != reload {
		say()
	}
}

// shellWord is a text as a word of a command to paste.
func shellWord(text string) string {
	isPlain := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_.:", r) }
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !isPlain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
