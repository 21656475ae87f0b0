package natstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// nextPort is where FreePort looks next: at random, so that two test binaries that run at
// once do not look at the same ports.
var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32()) }

// A Cluster is a number of servers that know one another, or one alone.
type Cluster struct {
	t       testing.TB
	Servers []*Server
}

// StartCluster starts n servers and waits until JetStream has a leader. They tell clients
// nothing of one another, so that a client that is given a proxy's address stays with it.
func StartCluster(t testing.TB, n int, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	dir := folder(t, o)
	ports, routes := make([]int, n), make([]string, n)
	for i := range n {
		ports[i] = FreePort(t)
		routes[i] = fmt.Sprintf("nats://127.0.0.1:%d", ports[i])
	}
	for i := range n {
		name, config := fmt.Sprintf("s%d", i), ""
		if n > 1 { // with a cluster of itself a server waits for others
			config = fmt.Sprintf(`cluster {
  name: test
  listen: "127.0.0.1:%d"
  routes: [%s]
  no_advertise: true
}`, ports[i], strings.Join(routes, ", "))
		}
		c.Servers = append(c.Servers, newServer(t, name, filepath.Join(dir, name), o, config))
	}
	for _, s := range c.Servers {
		s.begin()
	}
	c.Await()
	return c
}

// URLs are the addresses of all servers, separated by commas.
func (c *Cluster) URLs() string { return URLs(c.Servers...) }

// Await waits until every server that runs takes requests, and JetStream has a leader
// among them where more than half of them run.
func (c *Cluster) Await() {
	c.t.Helper()
	running := 0
	for _, s := range c.Servers {
		if s.cmd != nil && !s.paused {
			s.awaitReady()
			running++
		}
	}
	if len(c.Servers) > 1 && 2*running > len(c.Servers) {
		Await(c.t, "JetStream has a leader", func() error {
			_, err := c.Leader()
			return err
		})
	}
}

// Leader returns the server that leads JetStream's meta group.
func (c *Cluster) Leader() (*Server, error) {
	return c.lookUp("/jsz", func(j jsz) string { return j.Meta.Leader })
}

// StreamLeader returns the server that leads a stream, and waits until there is one.
func (c *Cluster) StreamLeader(t testing.TB, stream string) (leader *Server) {
	t.Helper()
	if len(c.Servers) == 1 {
		return c.Servers[0]
	}
	Await(t, "stream "+stream+" has a leader", func() (err error) {
		leader, err = c.lookUp("/jsz?streams=true&accounts=true", func(j jsz) string {
			for _, a := range j.Accounts {
				for _, s := range a.Streams {
					if s.Name == stream {
						return s.Cluster.Leader
					}
				}
			}
			return ""
		})
		return err
	})
	return leader
}

// lookUp asks the servers who leads something. One that was cut off may still name a
// former leader, so the answer counts where the leader itself says so.
func (c *Cluster) lookUp(path string, leaderOf func(jsz) string) (*Server, error) {
	problem := errors.New("no server leads it")
	for _, s := range c.Servers {
		var j jsz
		if err := s.get(path, &j); err != nil {
			problem = err
		} else if leaderOf(j) == s.name {
			return s, nil
		}
	}
	return nil, problem
}

// jsz is what is read of a server's page /jsz.
type jsz struct {
	Meta struct {
		Leader string `json:"leader"`
	} `json:"meta_cluster"`
	Accounts []struct {
		Streams []struct {
			Name    string `json:"name"`
			Cluster struct {
				Leader string `json:"leader"`
			} `json:"cluster"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

func getJSON(client *http.Client, url string, v any) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(body, v)
}
