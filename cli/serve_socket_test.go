package cli

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

// What is in the way of the socket is a clear error, or is not in the way.
func TestServeSocket(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		socket string                            // beside the folder; "s" if empty
		before func(t *testing.T, socket string) // makes what is there already
		flags  []string
		code   int
		want   string // in stderr; PATH is the socket's
		mode   fs.FileMode
	}{
		{name: "nothing is there", mode: 0o660},
		{name: "a mode", flags: []string{"--socket-mode=0600"}, mode: 0o600},
		{name: "a mode for all", flags: []string{"--socket-mode=666"}, mode: 0o666},
		{name: "a group by number", flags: []string{"--socket-group=" + strconv.Itoa(os.Getgid())}, mode: 0o660},
		{name: "a stale socket", before: leaveSocket, mode: 0o660},
		{name: "a lock on its folder", before: lockFolder, code: 1, want: "another process holds a lock on the folder of PATH: stop it, or choose another folder with --socket"},
		{name: "another daemon", before: listenHere, code: 1, want: "another process listens at PATH: stop it, or choose another path with --socket"},
		{name: "a file", before: func(t *testing.T, path string) { os.WriteFile(path, []byte("precious"), 0o600) }, code: 1,
			want: "PATH is there and no socket: move it away, or choose another path with --socket"},
		{name: "a folder", before: func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, code: 1, want: "PATH is there and no socket"},
		{name: "a link to a stale socket", before: func(t *testing.T, path string) {
			leaveSocket(t, path+"2")
			os.Symlink(path+"2", path)
		}, code: 1, want: "PATH is there and no socket"},
		{name: "no folder", socket: "missing/s", code: 1, want: "no such file or directory: make the folder, or choose another path with --socket"},
		{name: "a long path", socket: strings.Repeat("x", 100), code: 2, want: "--socket is longer than 103 bytes"},
		{name: "no mode", flags: []string{"--socket-mode=rw"}, code: 2, want: `--socket-mode is "rw": write an octal mode, such as 0660`},
		{name: "too much of a mode", flags: []string{"--socket-mode=4777"}, code: 2, want: `--socket-mode is "4777"`},
		{name: "no group", flags: []string{"--socket-group=no-such-group"}, code: 2, want: `--socket-group is "no-such-group": write the name or number of a group of this machine`},
		{name: "a bad setting", flags: []string{"--rate=fast"}, code: 2, want: `--rate is "fast": write requests a second`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.socket == "" {
				tt.socket = "s"
			}
			path := filepath.Join(test.SocketDir(t), tt.socket)
			if tt.before != nil {
				tt.before(t, path)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var log test.LogBuffer
			ended := make(chan int)
			go func() {
				ended <- Run(ctx, Process{Args: append([]string{"serve", "--enabled=false", "--socket", path}, tt.flags...), Stderr: &log, LookupEnv: environment(nil)})
			}()
			if tt.code == 0 {
				eventually(t, "it listens", func() bool { return strings.Contains(log.String(), "listening") })
				dial(t, path)
				info, err := os.Stat(path)
				if err != nil || info.Mode().Perm() != tt.mode {
					t.Errorf("the socket is %v (%v), want %v", info, err, tt.mode)
				}
				stop()
			}
			if code := <-ended; code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			want := strings.ReplaceAll(tt.want, "PATH", path)
			if got := log.String(); !strings.Contains(got, want) || tt.code != 0 && strings.Count(got, "\n") != 1 {
				t.Errorf("it says %q, want %q", got, want)
			}
		})
	}
}

// leaveSocket leaves a socket as a process does that was killed.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func lockFolder(t *testing.T, path string) {
	t.Helper()
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
}

func listenHere(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// Of several daemons that start at once on the path of a stale socket, one
// listens there, and the others end.
func TestServeTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(test.SocketDir(t), "s")
	leaveSocket(t, path)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const daemons = 5
	ended := make(chan int, daemons)
	for range daemons {
		go func() {
			ended <- Run(ctx, Process{Args: []string{"serve", "--enabled=false", "--socket", path}, Stderr: new(test.LogBuffer), LookupEnv: environment(nil)})
		}()
	}
	for range daemons - 1 {
		if code := <-ended; code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
	}
	dial(t, path).end()
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestServeNeedsASocket(t *testing.T) {
	t.Parallel()
	r := run(t, nil, nil, "serve")
	if want := "bigpanda-udf serve: no socket: set --socket (BIGPANDA_SERVE_SOCKET), for batch tasks --batch-socket (BIGPANDA_SERVE_BATCH_SOCKET), to the path that socket has in kapacitor.conf, or for events of topics --http (BIGPANDA_SERVE_HTTP)\n"; r.code != 2 || r.stderr != want {
		t.Errorf("exit code %d and %q, want 2 and %q", r.code, r.stderr, want)
	}
	r = run(t, nil, map[string]string{"BIGPANDA_SERVE_SOCKET": "@abstract"}, "serve")
	if r.code != 2 || !strings.Contains(r.stderr, `--socket is "@abstract": write the path of a file`) {
		t.Errorf("exit code %d and %q", r.code, r.stderr)
	}
}

// A daemonProcess is the daemon in a process of its own, which systemd may have
// started, and which can be killed.
type daemonProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *test.LogBuffer
	notify *net.UnixConn // systemd's end
}

// A fileListener is a listener that can be handed over.
type fileListener interface{ File() (*os.File, error) }

// startProcess starts the daemon with flags behind "serve". handed are the
// sockets that systemd hands over, if it does.
func startProcess(t *testing.T, vars map[string]string, handed []fileListener, flags ...string) *daemonProcess {
	t.Helper()
	notify := filepath.Join(test.SocketDir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(test.Patient))
	// The process that LISTEN_PID names becomes the daemon.
	script := "exec " + programName + ` serve "$@"`
	if len(handed) > 0 {
		script = fmt.Sprintf("LISTEN_FDS=%d LISTEN_PID=$$ %s", len(handed), script)
	}
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, flags...)...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	for name, v := range vars {
		cmd.Env = append(cmd.Env, name+"="+v)
	}
	for _, l := range handed {
		file, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	p := &daemonProcess{t: t, cmd: cmd, log: new(test.LogBuffer), notify: conn}
	cmd.Stderr = p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		conn.Close()
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", p.log)
		}
	})
	return p
}

// awaitState waits for what systemd is told.
func (p *daemonProcess) awaitState(want string) {
	p.t.Helper()
	b := make([]byte, 100)
	n, err := p.notify.Read(b)
	if err != nil || !bytes.Equal(b[:n], []byte(want)) {
		p.t.Fatalf("systemd is told %q (%v), want %q", b[:n], err, want)
	}
}

func (p *daemonProcess) kill(with syscall.Signal) int {
	p.t.Helper()
	p.cmd.Process.Signal(with)
	p.cmd.Wait() // its error is the exit code
	return p.cmd.ProcessState.ExitCode()
}

// P5: nothing that was passed on is lost with the daemon's life, and nothing is
// told twice but what was on its way; the socket that it leaves is no obstacle.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	api, url := newAPI(t, sandbox.Faults{Status: 503})
	vars := serveVars(t, url)
	socket := filepath.Join(test.SocketDir(t), "s")
	var want []string
	const lives, tasks = 4, 3
	vars[noLooks] = "1" // else a daemon takes over what a task that dials late left
	for life := range int64(lives) {
		p := startProcess(t, vars, nil, "--socket", socket)
		p.awaitState("READY=1")
		var connections []*dialled
		for n := range tasks {
			c := (&served{t: t, socket: socket}).use(fmt.Sprint("task", n), "bigpanda2", test.Option("appKey", fmt.Sprint("key", n)))
			c.pass(level("a", []string{"WARNING", "CRITICAL"}[life%2], 1000+life), level("a", []string{"WARNING", "CRITICAL"}[life%2], 1000+life))
			connections = append(connections, c)
		}
		p.kill(syscall.SIGKILL)
		for _, c := range connections {
			if _, err := c.in.ReadByte(); err == nil {
				t.Error("the connection outlives the daemon")
			}
		}
		want = append(want, []string{"warning", "critical"}[life%2])
	}
	if err := api.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	delete(vars, noLooks)
	p := startProcess(t, vars, nil, "--socket", socket)
	p.awaitState("READY=1")
	awaitEvents(t, api, lives*tasks)
	for n := range tasks {
		var got []string
		for _, e := range newsAt(api) {
			if e.AppKey == fmt.Sprint("key", n) {
				got = append(got, e.Status)
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("key%d: BigPanda was told %v, want %v", n, got, want)
		}
	}
	if code := p.kill(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.awaitState("STOPPING=1")
}
