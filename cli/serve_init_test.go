package cli

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/daemon"
	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A connection without an Init is closed after a while, and one that has come to
// its Init is not.
func TestServeConnectionsWithoutAnInit(t *testing.T) {
	t.Parallel()
	var log test.LogBuffer
	resolved, err := config.Resolve(map[string]string{"enabled": "false"}, environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(test.SocketDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	all := &deliveries{settings: settings{Settings: resolved, hidden: new(secrets)}, log: slog.New(slog.NewTextHandler(&log, nil)), hurrying: t.Context()}
	o := all.daemonOptions()
	o.InitWithin = 2 * time.Second
	ended := make(chan error, 1)
	go func() { ended <- daemon.New(o).Serve(t.Context(), []daemon.Socket{{Listener: l, Edge: daemon.Stream}}) }()
	s := &served{t: t, socket: path}
	task := s.use("cpu", "bigpanda2")
	var others []*dialled
	for _, sent := range []string{"", "\x80", "\x05abc"} {
		c := dial(t, path)
		if _, err := c.conn.Write([]byte(sent)); err != nil {
			t.Fatal(err)
		}
		others = append(others, c)
	}
	for i, c := range others {
		if got := c.receive().GetError().GetError(); !strings.Contains(got, "no Init within 2s") {
			t.Errorf("connection %d is told %q", i, got)
		}
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("the connection is not closed: %v", err)
		}
	}
	task.pass(level("a", "CRITICAL", 1000))
	task.end()
	l.Close()
	<-ended
}

// Large frames that do not end take no memory before Init; behind it they are
// a snapshot.
func TestServeLargeFramesBeforeInit(t *testing.T) {
	t.Parallel()
	_, url := newAPI(t, sandbox.Faults{})
	s := startServer(t, serveVars(t, url))
	frame := append(binary.AppendUvarint(nil, 62<<20), make([]byte, 1<<20)...)
	for range 3 {
		c := dial(t, s.socket)
		go c.conn.Write(frame) // fails once it is sent away
		if got := c.receive().GetError().GetError(); !strings.Contains(got, "a frame of 65011712 bytes before Init is over the limit") {
			t.Errorf("it is told %q", got)
		}
	}
	c := s.use("cpu", "bigpanda2")
	c.send(&agent.Request{Message: &agent.Request_Restore{Restore: &agent.RestoreRequest{Snapshot: make([]byte, 8<<20)}}})
	if c.receive().GetRestore() == nil {
		t.Error("Restore was not answered")
	}
	c.pass(level("a", "CRITICAL", 1000))
}
