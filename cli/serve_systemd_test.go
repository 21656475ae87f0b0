package cli

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// systemd makes the sockets and keeps them. What is for which tasks goes by path
// and name; where that cannot be told, the daemon does not start.
func TestServeActivated(t *testing.T) {
	t.Parallel()
	const stream, batch = agent.EdgeType_STREAM, agent.EdgeType_BATCH
	for _, tt := range []struct {
		name  string
		count int               // of sockets; one is at PATH1, another at PATH2
		names string            // FileDescriptorName= of each
		vars  map[string]string // beside those of the outbox and BigPanda
		flags []string
		edges []agent.EdgeType // of each
		want  string           // in stderr, where it does not start
	}{
		{name: "no flags", count: 1, edges: []agent.EdgeType{stream}},
		{name: "the same path", count: 1, flags: []string{"--socket=PATH1"}, edges: []agent.EdgeType{stream}},
		{name: "an edge", count: 1, flags: []string{"--edge=batch"}, edges: []agent.EdgeType{batch}},
		{name: "the path of --batch-socket", count: 1, flags: []string{"--batch-socket=PATH1"}, edges: []agent.EdgeType{batch}},
		{name: "the name", count: 1, names: "batch", edges: []agent.EdgeType{batch}},
		{name: "two paths", count: 2, flags: []string{"--socket=PATH1", "--batch-socket=PATH2"}, edges: []agent.EdgeType{stream, batch}},
		{name: "two paths, the other way round", count: 2, flags: []string{"--socket=PATH2", "--batch-socket=PATH1"}, edges: []agent.EdgeType{batch, stream}},
		{name: "one path of two, for batches", count: 2, flags: []string{"--batch-socket=PATH1"}, edges: []agent.EdgeType{batch, stream}},
		{name: "two names", count: 2, names: "bigpanda-udf.socket:batch", edges: []agent.EdgeType{stream, batch}},
		{name: "a name and both paths", count: 2, names: "batch:stream", flags: []string{"--socket=PATH2", "--batch-socket=PATH1"}, edges: []agent.EdgeType{batch, stream}},

		{name: "another path", count: 1, flags: []string{"--socket=/elsewhere"}, want: `--socket is "/elsewhere" and systemd listens at PATH1: leave it out, or set ListenStream=`},
		{name: "another path for batches", count: 2, flags: []string{"--batch-socket=/elsewhere"}, want: `--batch-socket is "/elsewhere" and systemd listens at PATH1 and PATH2: leave it out, or set ListenStream=`},
		{name: "two and nothing that says which is which", count: 2, want: "systemd listens at PATH1 and at PATH2, both for stream tasks: set --batch-socket (BIGPANDA_SERVE_BATCH_SOCKET) to the path of the one for batch tasks"},
		{name: "two of which one is for streams", count: 2, flags: []string{"--socket=PATH1"}, want: "both for stream tasks"},
		{name: "one unit's name for two", count: 2, names: "batch:batch", want: "both for batch tasks"},
		{name: "one for batches and two others", count: 3, names: "batch:a:b", want: "both for stream tasks"},
		{name: "a name that the path is not for", count: 1, names: "batch", flags: []string{"--socket=PATH1"}, want: `--socket is "PATH1", which FileDescriptorName=batch of its socket unit says is for batch tasks: set --batch-socket to it, or take FileDescriptorName= out`},
		{name: "a name and the edge", count: 2, names: "a:batch", vars: map[string]string{"BIGPANDA_EDGE": "batch"}, want: "BIGPANDA_EDGE is batch, and the socket with FileDescriptorName=batch is for batch tasks anyway: leave BIGPANDA_EDGE out, and --socket is for stream tasks"},
		{name: "a mode", count: 1, flags: []string{"--socket-mode=0600"}, want: "set SocketMode= of the socket unit"},
		{name: "a group", count: 1, flags: []string{"--socket-group=0"}, want: "set SocketGroup= of the socket unit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api, url := newAPI(t, sandbox.Faults{})
			dir := test.SocketDir(t)
			var handed []fileListener
			var paths, replace []string
			for _, n := range []string{"1", "2", "3"}[:tt.count] {
				path := filepath.Join(dir, n)
				l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				handed, paths, replace = append(handed, l), append(paths, path), append(replace, "PATH"+n, path)
			}
			named := strings.NewReplacer(replace...)
			for i, flag := range tt.flags {
				tt.flags[i] = named.Replace(flag)
			}
			vars := serveVars(t, url)
			vars["LISTEN_FDNAMES"] = tt.names
			for name, v := range tt.vars {
				vars[name] = v
			}
			p := startProcess(t, vars, handed, tt.flags...)
			if tt.want != "" {
				p.cmd.Wait()
				if code := p.cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(p.log.String(), named.Replace(tt.want)) {
					t.Errorf("exit code %d and %s, want %s", code, p.log, named.Replace(tt.want))
				}
				return
			}
			p.awaitState("READY=1")
			for i, path := range paths {
				if got := edgeAt(t, path); got != tt.edges[i] {
					t.Errorf("socket %d is for %s tasks, want %s", i+1, got, tt.edges[i])
				}
				before := len(newsAt(api))
				c := (&served{t: t, socket: path}).use("cpu"+filepath.Base(path), "bigpanda2")
				if tt.edges[i] == batch {
					c.passBatch("a", "CRITICAL", time.Now().Unix())
				} else {
					c.pass(level("a", "CRITICAL", time.Now().Unix()))
				}
				awaitEvents(t, api, before+1)
			}
			if code := p.kill(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, path := range paths {
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("systemd's socket is gone: %v", err)
				}
			}
		})
	}
}

// What a user copies fits together: the paths of the service, of its socket unit
// and of kapacitor.conf.
func TestServeExamples(t *testing.T) {
	t.Parallel()
	lines := func(file, prefix string) (all []string) {
		data, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(strings.TrimLeft(line, "# "), prefix); ok {
				all = append(all, strings.Trim(rest, " \"\n"))
			}
		}
		return all
	}
	want := []string{"/run/bigpanda-udf/bigpanda.sock", "/run/bigpanda-udf/bigpanda-batch.sock"}
	const events, handlers = "127.0.0.1:9095", "/etc/bigpanda-udf/handlers"
	command := "serve --socket " + want[0] + " --batch-socket " + want[1]
	for _, tt := range []struct {
		file, prefix string
		want         []string
	}{
		{"packaging/systemd/bigpanda-udf.service", "ExecStart=/usr/bin/bigpanda-udf ", []string{command}},
		{"packaging/systemd/bigpanda-udf.service", "socket = ", want},
		{"packaging/systemd/bigpanda-udf.socket", "ListenStream=", append(slices.Clone(want), events)},
		{"packaging/systemd/bigpanda-udf.service", "BIGPANDA_SERVE_HTTP=", []string{events}},
		{"docs/topic-handlers.md", "bigpanda-udf serve --http " + events, []string{"--handlers " + handlers}},
		{"packaging/systemd/bigpanda-udf.service", "BIGPANDA_SERVE_HANDLERS=", []string{handlers}},
		{"docs/daemon.md", "bigpanda-udf serve --socket ", []string{strings.TrimPrefix(command, "serve --socket ")}},
		{"docs/daemon.md", "socket = ", want},
	} {
		if got := lines(tt.file, tt.prefix); !slices.Equal(got, tt.want) {
			t.Errorf("%s says %s%q, want %q", tt.file, tt.prefix, got, tt.want)
		}
	}
}
