package daemon

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/test"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"

	"github.com/influxdata/kapacitor/udf/agent"
)

// quiet are the options of a daemon that sends nothing.
func quiet(log *slog.Logger) Options {
	return Options{
		Log: log, Wire: func(log *slog.Logger) wire.Options { return wire.Options{Log: log} },
		NewHandler: func(_ string, log *slog.Logger) (*udf.Handler, func()) {
			return udf.New(udf.Config{Enabled: false, Log: log}), func() {}
		},
	}
}

func send(t *testing.T, conn net.Conn, request *agent.Request) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(test.Patient))
	if err := agent.WriteMessage(request, conn); err != nil {
		t.Fatal(err)
	}
}

var askInit = &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: "cpu", NodeID: "bigpanda2"}}}

// panickingLog panics where Init gives the log the task's name.
type panickingLog struct{ slog.Handler }

func (panickingLog) WithAttrs([]slog.Attr) slog.Handler { panic("oh") }

// P1: a panic ends its own connection, and no other.
func TestPanic(t *testing.T) {
	log := new(test.LogBuffer)
	d := New(quiet(slog.New(slog.DiscardHandler)))
	here, there := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.serveConn(t.Context(), there, Stream, slog.New(panickingLog{slog.NewTextHandler(log, nil)}))
	}()
	send(t, here, askInit)
	if _, err := here.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is not closed: %v", err)
	}
	<-ended
	if !strings.Contains(log.String(), "panic=oh") {
		t.Errorf("the log does not say so: %s", log.String())
	}
}

// fullListener has no room for the first connections.
type fullListener struct {
	net.Listener
	refuses int // Accept is called by one goroutine
}

func (l *fullListener) Accept() (net.Conn, error) {
	if l.refuses--; l.refuses >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// P1: a system that has no room for one more connection does not end those that
// there are; a listener that is broken ends the daemon.
func TestAccepts(t *testing.T) {
	log := new(test.LogBuffer)
	path := filepath.Join(test.SocketDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	d := New(quiet(slog.New(slog.NewTextHandler(log, nil))))
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(t.Context(), []Socket{{&fullListener{l, 3}, Stream}}) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	send(t, conn, askInit)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("Init is not answered: %v", err)
	}
	conn.Close()
	if n := strings.Count(log.String(), "no more connections"); n != 1 {
		t.Errorf("the log says %d times that there is no room:\n%s", n, log.String())
	}
	l.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "accept connections at "+path) {
		t.Errorf("the error is %v", err)
	}
}
