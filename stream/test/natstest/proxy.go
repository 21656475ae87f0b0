package natstest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between clients and a server, and can cut them off: while it does, what
// either side sends is kept, connections are neither closed nor made, and nobody is told,
// as when a network is partitioned. Safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   string // host:port

	mu    sync.Mutex
	open  *sync.Cond // of mu: not cut, or closed
	cut   bool
	ended bool
	delay time.Duration
	conns map[net.Conn]bool // true of a client
}

// StartProxy starts a proxy in front of a server, until the end of the test.
func StartProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: strings.TrimPrefix(s.URL(), "nats://"), conns: make(map[net.Conn]bool)}
	p.open = sync.NewCond(&p.mu)
	var serving sync.WaitGroup
	serving.Go(func() { p.serve(&serving) })
	t.Cleanup(func() {
		p.end()
		serving.Wait()
	})
	return p
}

// URL is where clients connect.
func (p *Proxy) URL() string { return fmt.Sprintf("nats://%s", p.listener.Addr()) }

// Cut lets nothing through.
func (p *Proxy) Cut() { p.set(true) }

// Heal lets everything through again, and first what was kept.
func (p *Proxy) Heal() { p.set(false) }

// Slow has whatever comes from now on take so much longer, either way.
func (p *Proxy) Slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// Fail tells each client of an error for which nats.go closes a connection for good.
func (p *Proxy) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn, client := range p.conns {
		if client {
			_, _ = io.WriteString(conn, "-ERR 'Maximum Payload Violation'\r\n")
		}
	}
}

func (p *Proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	p.open.Broadcast()
}

func (p *Proxy) end() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.open.Broadcast()
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *Proxy) serve(serving *sync.WaitGroup) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		serving.Go(func() { p.connect(client, serving) })
	}
}

func (p *Proxy) connect(client net.Conn, serving *sync.WaitGroup) {
	if !p.hold(client, true) || !p.await() {
		p.drop(client)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil || !p.hold(server, false) {
		p.drop(client)
		return
	}
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		serving.Go(func() {
			p.copy(pair[1], pair[0])
			p.drop(client)
			p.drop(server)
		})
	}
}

// copy copies what comes, until one side ends or fails.
func (p *Proxy) copy(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if !p.await() {
			return
		}
		if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}

// await waits while the proxy is cut, and as long as it is slow, and reports whether it
// goes on.
func (p *Proxy) await() bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	time.Sleep(delay)
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.cut && !p.ended {
		p.open.Wait()
	}
	return !p.ended
}

// hold has a connection closed at the end, at once if that has come.
func (p *Proxy) hold(conn net.Conn, client bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		conn.Close()
		return false
	}
	p.conns[conn] = client
	return true
}

func (p *Proxy) drop(conn net.Conn) {
	conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}
