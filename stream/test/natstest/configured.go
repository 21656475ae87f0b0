package natstest

import (
	"os"
	"path/filepath"
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
