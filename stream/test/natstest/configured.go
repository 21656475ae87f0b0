package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Place makes a server that is not started, with a configuration of its own: Configure
// says which. Its ports and folders are as those of Start.
func Place(t testing.TB, name string) *Server {
	t.Helper()
	return newServer(t, name, filepath.Join(t.TempDir(), name), Options{}, "")
}

// Configure replaces the whole nats-server.conf. For the other methods to work it has the
// server's name, and listens where URL, MonitorURL and StoreDir say.
func (s *Server) Configure(config string) {
	s.t.Helper()
	if err := os.WriteFile(s.configFile(), []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Edit replaces a piece of nats-server.conf.
func (s *Server) Edit(old, text string) {
	s.t.Helper()
	config, err := os.ReadFile(s.configFile())
	if err != nil || !strings.Contains(string(config), old) {
		s.t.Fatalf("the configuration is %s, %v, and has no %q", config, err, old)
	}
	s.Configure(strings.Replace(string(config), old, text, 1))
}

// Reload has the server read its nats-server.conf again, as SIGHUP does, and waits until it
// has.
func (s *Server) Reload() {
	s.t.Helper()
	loaded := func() (at string, err error) {
		var v struct {
			Loaded string `json:"config_load_time"`
		}
		err = s.get("/varz", &v)
		return v.Loaded, err
	}
	before, err := loaded()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Process.Signal(syscall.SIGHUP)
	Await(s.t, "the configuration is read again", func() error {
		now, err := loaded()
		if err == nil && now == before {
			err = fmt.Errorf("it is that of %s", now)
		}
		return err
	})
}

// StartPlaced starts servers that were placed and know one another, and waits until
// JetStream has a leader.
func StartPlaced(t testing.TB, servers ...*Server) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Servers: servers}
	for _, s := range servers {
		s.begin()
	}
	c.Await()
	return c
}
