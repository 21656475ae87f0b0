package sandbox

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What a client announces takes no memory, and what it does not send no time for
// ever.
func TestBodiesThatDoNotCome(t *testing.T) {
	s := start(t, Options{})
	s.bodyTimeout = time.Second
	const connections = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	open := make(map[string][]net.Conn)
	for _, head := range []string{
		"POST " + Path + " HTTP/1.1\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: 60000000",
		"POST " + Path + " HTTP/1.1\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked",
		"PUT /faults HTTP/1.1\r\nContent-Length: 100",
		"GET /stats HTTP/1.1\r\nContent-Length: 100",
	} {
		for range connections / 4 {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			if _, err := fmt.Fprintf(conn, "%s\r\nHost: localhost\r\n\r\n1", head); err != nil {
				t.Fatal(err)
			}
			open[head] = append(open[head], conn)
		}
	}
	for head, conns := range open {
		for _, conn := range conns {
			answer, err := io.ReadAll(conn) // to its end: the connection is closed
			if err != nil {
				t.Fatalf("%.20s: %v", head, err)
			}
			if strings.HasPrefix(head, "POST") && !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
				t.Errorf("%.200s: answered %.200q", head, answer)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 20<<20 {
		t.Errorf("%d connections took %d bytes of memory", connections, n)
	}
}

// An answer may take longer than a body.
func TestAnswerMayTakeLongerThanItsBody(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.bodyTimeout = 200 * time.Millisecond
	s.setFaults(Faults{Latency: 600 * time.Millisecond})
	for range 2 { // the second on the same connection
		s.post(`{"app_key":"k","status":"ok","host":"h"}`, 201)
		s.Reset()
		s.setFaults(Faults{Latency: 600 * time.Millisecond})
	}
}
