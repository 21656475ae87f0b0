// Package natstest runs real NATS servers with JetStream for tests: one alone or a
// cluster, on loopback, each a child process that can be killed, paused and started
// again on the same files and ports. The child is the test binary itself, which holds
// the server as a library, so that nothing has to be installed.
package natstest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Options say how servers differ from the usual: JetStream that syncs each write, no
// accounts, no TLS.
type Options struct {
	// Config is appended to nats-server.conf: accounts, users, tls.
	Config string
	// JetStream is appended to the block jetstream { }: max_file, limits.
	JetStream string
	// SyncInterval is the setting sync_interval; "" is always.
	SyncInterval string
	// Dir is where the server's files are. "" is a folder of the test. It must be empty
	// or what a server of before has left; of a cluster, server i has the folder si in it.
	Dir string
}

// A Server is a NATS server. Its methods fail the test where the server does not do
// what it must. They are not safe for concurrent use.
type Server struct {
	t       testing.TB
	name    string
	dir     string // holds nats-server.conf, the log and jetstream/
	port    int    // of clients
	monitor int
	cmd     *exec.Cmd // nil while it does not run
	exited  chan struct{}
	running io.Closer // the child ends when this is closed, so it does not outlive the test binary
	paused  bool
}

// Start starts one server and waits until JetStream takes requests. It is killed at the
// end of the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := newServer(t, "s0", folder(t, o), o, "")
	s.begin()
	s.awaitReady()
	return s
}

func folder(t testing.TB, o Options) string {
	if o.Dir != "" {
		return o.Dir
	}
	return t.TempDir()
}

func newServer(t testing.TB, name, dir string, o Options, cluster string) *Server {
	t.Helper()
	s := &Server{t: t, name: name, dir: dir, port: FreePort(t), monitor: FreePort(t)}
	config := fmt.Sprintf(`server_name: %s
listen: "127.0.0.1:%d"
http: "127.0.0.1:%d"
log_file: %q
logtime: true
jetstream {
  store_dir: %q
  sync_interval: %s
  %s
}
%s
%s
`, name, s.port, s.monitor, s.logFile(), s.StoreDir(), cmp.Or(o.SyncInterval, "always"), o.JetStream, cluster, o.Config)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.configFile(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			log, _ := os.ReadFile(s.logFile())
			lines := bytes.SplitAfter(log, []byte("\n"))
			t.Logf("log of NATS server %s:\n%s", name, bytes.Join(lines[max(0, len(lines)-30):], nil))
		}
	})
	return s
}

func (s *Server) configFile() string { return filepath.Join(s.dir, "nats-server.conf") }
func (s *Server) logFile() string    { return filepath.Join(s.dir, "nats-server.log") }

// Dir is the folder of the server: nats-server.conf, nats-server.log and StoreDir.
func (s *Server) Dir() string { return s.dir }

// StoreDir is where JetStream's files are.
func (s *Server) StoreDir() string { return filepath.Join(s.dir, "store") }

// Name is the server's name in its cluster.
func (s *Server) Name() string { return s.name }

// URL is where clients connect, nats://127.0.0.1:PORT.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

// MonitorURL is where the server answers /varz, /jsz and the like.
func (s *Server) MonitorURL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.monitor) }

// Command returns a command that runs the server, for tests that start it by another
// program, such as strace. Its stdin must stay open: the server ends with it.
func (s *Server) Command() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), configVariable+"="+s.configFile())
	return cmd
}

func (s *Server) begin() {
	s.t.Helper()
	cmd := s.Command()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	s.cmd, s.exited, s.running = cmd, exited, stdin
}

// end waits for the process.
func (s *Server) end() {
	<-s.exited
	if out := s.cmd.Stdout.(*bytes.Buffer).String(); out != "" {
		s.t.Logf("NATS server %s printed: %s", s.name, out)
	}
	s.running.Close()
	s.cmd, s.paused = nil, false
}

// Kill ends the server with SIGKILL. It is safe on one that does not run.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.end()
	}
}

// Stop ends the server as SIGTERM does.
func (s *Server) Stop() {
	if s.cmd != nil {
		s.Resume()
		s.cmd.Process.Signal(syscall.SIGTERM)
		s.end()
	}
}

// Pause stops the process where it is, as a machine that hangs. Its connections stay.
func (s *Server) Pause() {
	if s.cmd != nil && !s.paused {
		s.cmd.Process.Signal(syscall.SIGSTOP)
		s.paused = true
	}
}

// Resume has a paused process go on.
func (s *Server) Resume() {
	if s.paused {
		s.cmd.Process.Signal(syscall.SIGCONT)
		s.paused = false
	}
}

// Restart starts a server that was killed or stopped, on its files and ports, or kills
// it first. It waits until the server takes requests; that a cluster has a leader again
// is Cluster.Await.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.begin()
	s.awaitReady()
}

// Running reports whether the process was started and not ended.
func (s *Server) Running() bool { return s.cmd != nil }

// awaitReady waits until clients can connect and JetStream is enabled.
func (s *Server) awaitReady() {
	s.t.Helper()
	Await(s.t, "NATS server "+s.name+" is ready", func() error {
		select {
		case <-s.exited:
			s.t.Fatalf("NATS server %s ended by itself: %s", s.name, s.cmd.Stdout)
		default:
		}
		return s.get("/healthz?js-enabled-only=true", nil)
	})
}

// Patient is how long is waited for what happens at once on a machine that is not busy.
const Patient = 60 * time.Second

// Await asks cond again until it returns nil.
func Await(t testing.TB, what string, cond func() error) {
	t.Helper()
	AwaitWithin(t, Patient, what, cond)
}

// AwaitWithin is Await for what may take longer.
func AwaitWithin(t testing.TB, limit time.Duration, what string, cond func() error) {
	t.Helper()
	for late := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
	}
}

// FreePort returns a port of loopback that nothing listens on. It is below those that the
// kernel gives to connections, else one of them could have it while a server that is to
// have it again is down.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 20000 + int(nextPort.Add(1)%12000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

var monitorClient = &http.Client{Timeout: 2 * time.Second}

// get reads a page of the server's monitoring into v, unless that is nil.
func (s *Server) get(path string, v any) error {
	if s.cmd == nil || s.paused {
		return errors.New("it does not run")
	}
	return getJSON(monitorClient, s.MonitorURL()+path, v)
}

// URLs joins the addresses of servers with commas, as --nats takes them.
func URLs(servers ...*Server) string {
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}
