package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"bigpanda-udf/printable"
	"bigpanda-udf/sandbox"
)

type sandboxFlags struct {
	Listen string   `default:"127.0.0.1:8089" placeholder:"ADDRESS" help:"Where to listen; port 0 takes a free one (${default})."`
	Token  string   `placeholder:"TEXT" help:"The only token to accept; any without it."`
	AppKey []string `placeholder:"KEY" sep:"," help:"An app key to accept; any without it."`
	JSON   bool     `name:"json" help:"Print each request as a JSON object."`

	Faults sandbox.Faults `embed:"" group:"faults"`
}

// run serves until a signal.
func (f *sandboxFlags) run(ctx context.Context, p Process, _ *command) error {
	ctx, _, stop := stopSignals(ctx)
	defer stop()
	l, err := listen("listen", f.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	var mu sync.Mutex // requests end at the same time, lines do not
	show := func(q sandbox.Request) {
		mu.Lock()
		defer mu.Unlock()
		if f.JSON {
			p.printJSON(q) // nobody is left to hear of an error
		} else {
			fmt.Fprintln(p.Stdout, requestLine(q))
		}
	}
	server := sandbox.New(sandbox.Options{Token: f.Token, AppKeys: f.AppKey, Hosts: hostNames(f.Listen), OnRequest: show})
	if err := server.SetFaults(f.Faults); err != nil {
		return usageError{err}
	}
	p.introduceSandbox(l.Addr().(*net.TCPAddr), f.Token != "")
	return serveSandbox(ctx, l, server)
}

func (p Process) introduceSandbox(addr *net.TCPAddr, withToken bool) {
	p.warnOfNetwork(addr)
	url, token := "http://"+addr.String()+sandbox.Path, "any-token"
	p.say("The console is at %s", consoleURL(addr))
	if withToken {
		token = "…"
	}
	p.say("The sandbox listens at %s; stop it with Ctrl-C. Try:\n  BIGPANDA_URL=%[1]s BIGPANDA_TOKEN=%s %s send --app-key test",
		url, token, programName)
}

// warnOfNetwork says so where a sandbox is open to others.
func (p Process) warnOfNetwork(addr *net.TCPAddr) {
	if !addr.IP.IsLoopback() {
		p.say("warning: %s is not only for this machine: everybody on the network can see and change the sandbox", addr)
	}
}

// consoleURL is where a browser on this machine finds the console of what
// listens at addr.
func consoleURL(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String()) // addr is an address
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}

func serveSandbox(ctx context.Context, l net.Listener, server *sandbox.Server) error {
	s := &http.Server{Handler: server, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	s.RegisterOnShutdown(server.Close) // what hangs as a fault ends
	if err := serveHTTP(ctx, l, s); err != nil {
		return fmt.Errorf("serve the sandbox: %w", err)
	}
	return nil
}

func requestLine(q sandbox.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s ", q.Received.Format("15:04:05.000"), cell(q.Method))
	if q.Status == 0 {
		b.WriteString("no answer")
	} else {
		fmt.Fprintf(&b, "%d", q.Status)
	}
	fmt.Fprintf(&b, " alerts=%d accepted=%d", q.Alerts, q.Accepted)
	if q.Duplicates > 0 {
		fmt.Fprintf(&b, " duplicates=%d", q.Duplicates)
	}
	fmt.Fprintf(&b, " app_key=%q bytes=%d took=%s", printable.Cut(q.AppKey, 100), q.Bytes, q.Took.Round(time.Microsecond))
	if q.Reason != "" {
		fmt.Fprintf(&b, " reason=%q", printable.Cut(q.Reason, 200))
	}
	return b.String()
}
