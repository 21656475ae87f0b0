package cli

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// reloads returns the commands that a daemon's log says to paste.
func (s *served) reloads() (commands []string) {
	for _, found := range regexp.MustCompile(`level=WARN msg="these tasks end with the daemon: reload them once it runs again" command="(.*)"`).FindAllStringSubmatch(s.log.String(), -1) {
		commands = append(commands, found[1])
	}
	return commands
}

// A daemon that is stopped says how to bring back the tasks that end with it, and
// names no other.
func TestServeSaysWhatToReload(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		vars map[string]string
		use  func(s *served)
		want []string
	}{
		{"none", nil, func(*served) {}, nil},
		{"some, also with several nodes", nil, func(s *served) {
			s.use("mem.all", "bigpanda2")
			s.use("cpu", "bigpanda3")
			s.use("cpu", "bigpanda4")
		}, []string{"kapacitor reload cpu mem.all"}},
		{"one that has left", nil, func(s *served) {
			s.use("cpu", "bigpanda2")
			s.use("gone", "bigpanda2").end()
		}, []string{"kapacitor reload cpu"}},
		{"one whose Init failed", nil, func(s *served) {
			s.use("cpu", "bigpanda2")
			dial(s.t, s.socket).init("failed", "bigpanda2", test.Option("none", ""))
		}, []string{"kapacitor reload cpu"}},
		{"switched off", map[string]string{"BIGPANDA_ENABLED": "false"}, func(s *served) { s.use("cpu", "bigpanda2") }, []string{"kapacitor reload cpu"}},
		{"in memory", map[string]string{"BIGPANDA_OUTBOX": "memory"}, func(s *served) { s.use("cpu", "bigpanda2") }, []string{"kapacitor reload cpu"}},
		{"a name that a shell would read", nil, func(s *served) { s.use("a'b; c", "bigpanda2") }, []string{`kapacitor reload 'a'\\''b; c'`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, url := newAPI(t, sandbox.Faults{})
			vars := serveVars(t, url)
			maps.Copy(vars, tt.vars)
			s := startServer(t, vars)
			tt.use(s)
			s.end()
			if got := s.reloads(); !slices.Equal(got, tt.want) {
				t.Errorf("to reload %q, want %q", got, tt.want)
			}
		})
	}
}

// No line of the log is cut, however many tasks there are.
func TestServeSaysManyToReload(t *testing.T) {
	t.Parallel()
	_, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url), "--enabled=false")
	const tasks = 60
	long := strings.Repeat("x", 100)
	for n := range tasks {
		s.use(fmt.Sprint(long, n), "bigpanda2")
	}
	s.end()
	named := 0
	for _, command := range s.reloads() {
		if len(command) > maxLogValue || !strings.HasPrefix(command, "kapacitor reload x") {
			t.Errorf("a command of %d bytes: %s", len(command), command)
		}
		named += strings.Count(command, long)
	}
	if named != tasks {
		t.Errorf("%d tasks are named, want %d", named, tasks)
	}
}
