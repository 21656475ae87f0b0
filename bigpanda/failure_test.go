package bigpanda

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// raw starts a TCP server that reads a request and lets reply do the rest.
func raw(t *testing.T, reply func(conn net.Conn, request *http.Request)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				io.Copy(io.Discard, request.Body)
				reply(conn, request)
			}()
		}
	}()
	return listener.Addr().String()
}

func says(text string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) { io.WriteString(conn, text) }
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		reply  func(net.Conn, *http.Request)
		class  Class
		reason Reason // empty: delivered
	}{
		{"dropped before the answer", says(""), Retry, ReasonNetwork},
		{"dropped in the header", says("HTTP/1.1 200 OK\r\nContent-"), Retry, ReasonNetwork},
		{"dropped in the body of 200", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), Retry, ReasonNetwork},
		{"dropped in the body of 201, which has said enough", says("HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"), 0, ""},
		{"dropped in the body of 400", says("HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\n{"), Refused, ReasonRefused},
		{"another protocol", says("220 mail.example ESMTP\r\n"), Retry, ReasonNetwork},
		{"bytes", says("\x00\x01\x02\r\n\r\n"), Retry, ReasonNetwork},
		{"an endless header", func(conn net.Conn, _ *http.Request) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for n := 0; ; n++ {
				if _, err := fmt.Fprintf(conn, "X-%d: %s\r\n", n, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, Retry, ReasonNetwork},
		{"a switch of protocols", func(conn net.Conn, _ *http.Request) {
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			io.Copy(io.Discard, conn) // until the client hangs up
		}, Hold, ReasonNotBigPanda},
		{"a status that is none", says("HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"), Hold, ReasonNotBigPanda},
		{"the request itself", func(conn net.Conn, r *http.Request) { r.Write(conn) }, Retry, ReasonNetwork},
		{"the token as the status", says("HTTP/1.1 " + testToken + "\r\n\r\n"), Retry, ReasonNetwork},
		{"the token as the status's name", says("HTTP/1.1 500 " + testToken + "\r\nContent-Length: 0\r\n\r\n"), Retry, ReasonServer},
		{"the token as a header", says("HTTP/1.1 200 OK\r\n" + testToken + "\r\n\r\n"), Retry, ReasonNetwork},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, e := send(t, dial(t, Options{URL: "http://" + raw(t, tt.reply)}))
			if tt.reason == "" {
				if e != nil {
					t.Error(e)
				}
				return
			}
			if e == nil || e.Class != tt.class || e.Reason != tt.reason {
				t.Fatalf("%+v, want %v, %s", e, tt.class, tt.reason)
			}
			if text := e.Error(); len(text) > 3*maxText || strings.ContainsAny(text, "\n\x00") {
				t.Errorf("the text %q does not fit into a line", text)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	c := dial(t, Options{URL: "http://" + address})
	_, first := send(t, c)
	if first == nil || first.Class != Retry || first.Reason != ReasonNetwork || !strings.Contains(first.Error(), address) {
		t.Fatalf("%+v", first)
	}
	if _, second := send(t, c); second == nil || second.Error() != first.Error() {
		t.Errorf("the same failure reads %q, then %q", first, second)
	}
}

// An operator's log must not fill because a port differs in each attempt.
func TestTextsDoNotChange(t *testing.T) {
	t.Parallel()
	local := func(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port} }
	remote := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 443}
	tests := []struct {
		name string
		err  func(port int) error
		want string
	}{
		{"a broken connection", func(port int) error {
			return fmt.Errorf("net/http: %w", &net.OpError{Op: "read", Net: "tcp", Source: local(port), Addr: remote, Err: errors.New("reset")})
		}, "read tcp 10.0.0.2:443: reset"},
		{"a proxy that cannot be reached", func(int) error {
			return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.OpError{Op: "dial", Net: "tcp", Addr: remote, Err: errors.New("refused")}}
		}, "proxyconnect tcp: dial tcp 10.0.0.2:443: refused"},
		{"a name server that hangs", func(port int) error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "h", IsTimeout: true, Err: fmt.Sprint("read udp ", local(port))}}
		}, "dial tcp: look up h: no answer in time"},
		{"a name that does not exist", func(int) error { return &net.DNSError{Name: "h", IsNotFound: true} }, "look up h: no such host"},
		{"a name server that errs", func(port int) error {
			return &net.DNSError{Name: "h", Err: fmt.Sprint("read udp ", local(port))}
		}, "look up h: no usable answer"},
		{"anything else", func(int) error { return errors.New("a\nb") }, "a·b"},
	}
	c := dial(t, Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for port := range 2 {
				got := c.unanswered(t.Context(), tt.err(port)).Err
				if got.Error() != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
		})
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		says string
	}{
		{"before the header", ""},
		{"in the body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := raw(t, func(conn net.Conn, _ *http.Request) {
				io.WriteString(conn, tt.says)
				io.Copy(io.Discard, conn) // until the client hangs up
			})
			_, e := send(t, dial(t, Options{URL: "http://" + address, Timeout: 100 * time.Millisecond}))
			if e == nil || e.Class != Retry || e.Reason != ReasonTimeout {
				t.Fatalf("%+v, want a timeout", e)
			}
			if errors.Is(e, context.DeadlineExceeded) {
				t.Error("looks like the end of the caller's context")
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1)
	address := raw(t, func(conn net.Conn, _ *http.Request) {
		arrived <- struct{}{}
		io.Copy(io.Discard, conn) // until the client hangs up
	})
	c := dial(t, Options{URL: "http://" + address})
	want := func(err error, cause error) {
		t.Helper()
		_, e := checked(t, Answer{}, err)
		if e == nil || e.Class != Retry || e.Reason != ReasonCanceled || !errors.Is(err, cause) {
			t.Errorf("%+v, want canceled", e)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := c.Send(ctx, "k", [][]byte{testAlert})
	want(err, context.Canceled)

	_, err = c.Send(ctx, "k", [][]byte{testAlert}) // has ended before
	want(err, context.Canceled)

	ctx, cancel = context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	_, err = c.Send(ctx, "k", [][]byte{testAlert})
	want(err, context.DeadlineExceeded)
}

// A server may close a kept connection just when the next request goes out.
func TestKeptConnectionThatWasClosed(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 2 {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
	})
	c := dial(t, Options{URL: server.URL, Connections: 1})
	for range 2 {
		if _, e := send(t, c); e != nil {
			t.Fatal(e)
		}
	}
	if got := requests.Load(); got != 3 {
		t.Errorf("%d requests, want the second one twice", got)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		says   string
		class  Class
		reason Reason
		hint   string
	}{
		{"wants a login", "407 Proxy Authentication Required", Hold, ReasonProxy, "HTTPS_PROXY"},
		{"wants a login in other words", "407 Computer says no", Hold, ReasonProxy, "NO_PROXY"},
		{"forbids", "403 Forbidden", Hold, ReasonProxy, "CONNECT"},
		{"is a web server", "302 Found", Hold, ReasonProxy, "CONNECT"},
		{"cannot reach the host", "502 Bad Gateway", Retry, ReasonProxy, "can reach"},
		{"has too much to do", "429 Too Many Requests", Retry, ReasonProxy, "can reach"},
		{"hangs up", "", Retry, ReasonNetwork, "HTTPS_PROXY"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			connect := make(chan *http.Request, 1)
			proxy := raw(t, func(conn net.Conn, r *http.Request) {
				connect <- r
				if tt.says != "" {
					io.WriteString(conn, "HTTP/1.1 "+tt.says+"\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
				}
			})
			c := dial(t, Options{URL: "https://bigpanda.invalid/data"})
			c.transport.Load().Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy, User: url.UserPassword("u", "pa55word")})
			_, e := send(t, c)
			if e == nil || e.Class != tt.class || e.Reason != tt.reason || !strings.Contains(e.Hint, tt.hint) {
				t.Fatalf("%+v, want %v, %s with %q", e, tt.class, tt.reason, tt.hint)
			}
			if tt.reason == ReasonProxy && e.RetryAfter != 5*time.Second {
				t.Errorf("wait %v, want 5s", e.RetryAfter)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", e, *e), "pa55word") {
				t.Errorf("%v shows the proxy's password", e)
			}
			if r := <-connect; r.Method != "CONNECT" || strings.Contains(fmt.Sprint(r.Header), testToken) {
				t.Errorf("the proxy got %s with %v", r.Method, r.Header)
			}
		})
	}
}

func TestProxyThatHasNoAddress(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{URL: "https://bigpanda.invalid/data"})
	c.transport.Load().Proxy = func(*http.Request) (*url.URL, error) { return nil, &proxyError{} }
	_, e := send(t, c)
	if e == nil || e.Class != Hold || e.Reason != ReasonProxy || !strings.Contains(e.Hint, "HTTPS_PROXY") {
		t.Errorf("%+v", e)
	}
}

// oldTLS is what a server speaks that was set up long ago.
func oldTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
}
