package cli

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"bigpanda-udf/sandbox"
	"bigpanda-udf/test"
)

func TestSandboxIntroducesItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, ip string
		token    bool
		want     []string
		warns    bool
	}{
		{"any token", "127.0.0.1", false, []string{"The console is at http://127.0.0.1:8089/\n", "http://127.0.0.1:8089/data/v2/alerts;", "BIGPANDA_TOKEN=any-token "}, false},
		{"one token", "127.0.0.1", true, []string{"BIGPANDA_TOKEN=… "}, false},
		{"an address of the network", "192.0.2.1", false, nil, true},
		{"every address", "::", false, nil, true},
		{"IPv6 loopback", "::1", false, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var stderr test.LogBuffer
			Process{Stderr: &stderr}.introduceSandbox(&net.TCPAddr{IP: net.ParseIP(tt.ip), Port: 8089}, tt.token)
			for _, part := range tt.want {
				if !strings.Contains(stderr.String(), part) {
					t.Errorf("it does not say %q:\n%s", part, stderr.String())
				}
			}
			if got := strings.Contains(stderr.String(), "warning: "); got != tt.warns {
				t.Errorf("it says\n%s", stderr.String())
			}
		})
	}
}

// Who comes from elsewhere on the network calls the machine by its name; a page
// that a browser was lured to (DNS rebinding) has another one.
func TestSandboxAnswersToItsName(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var stderr test.LogBuffer
	ended := make(chan int)
	go func() {
		ended <- Run(ctx, Process{Args: []string{"sandbox", "--listen", "127.0.0.1:0"}, Stdout: io.Discard, Stderr: &stderr, LookupEnv: environment(nil)})
	}()
	console := regexp.MustCompile(`console is at (\S+)`)
	eventually(t, "the sandbox listens", func() bool { return console.MatchString(stderr.String()) })
	url := console.FindStringSubmatch(stderr.String())[1]
	for host, want := range map[string]int{name: 200, name + ":8089": 200, "evil.example": 403} {
		r, err := http.NewRequestWithContext(ctx, "GET", url+"stats", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("as %s: %d, want %d", host, answer.StatusCode, want)
		}
	}
	stop()
	<-ended
}

func TestConsoleURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ip   net.IP
		want string
	}{
		{"an address", net.IPv4(192, 0, 2, 1), "http://192.0.2.1:8089/"},
		{"IPv6 loopback", net.IPv6loopback, "http://[::1]:8089/"},
		{"every address", net.IPv6unspecified, "http://localhost:8089/"},
		{"every IPv4 address", net.IPv4zero, "http://localhost:8089/"},
	} {
		if got := consoleURL(&net.TCPAddr{IP: tt.ip, Port: 8089}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestRequestLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for _, tt := range []struct {
		name string
		q    sandbox.Request
		want string
	}{
		{"taken", sandbox.Request{Received: at, Took: 1500 * time.Microsecond, Method: "POST", Status: 201, Alerts: 2, Accepted: 2, AppKey: "k", Bytes: 300},
			`03:04:05.006 POST 201 alerts=2 accepted=2 app_key="k" bytes=300 took=1.5ms`},
		{"with a duplicate", sandbox.Request{Received: at, Method: "POST", Status: 201, Alerts: 2, Accepted: 2, Duplicates: 1, AppKey: "k"},
			`03:04:05.006 POST 201 alerts=2 accepted=2 duplicates=1 app_key="k" bytes=0 took=0s`},
		{"refused", sandbox.Request{Received: at, Method: "POST", Status: 400, Reason: "two\nlines"},
			`03:04:05.006 POST 400 alerts=0 accepted=0 app_key="" bytes=0 took=0s reason="two\nlines"`},
		{"not answered", sandbox.Request{Received: at, Method: "POST", Reason: "the connection was dropped"},
			`03:04:05.006 POST no answer alerts=0 accepted=0 app_key="" bytes=0 took=0s reason="the connection was dropped"`},
	} {
		if got := requestLine(tt.q); got != tt.want {
			t.Errorf("%s: the line is\n%s, want\n%s", tt.name, got, tt.want)
		}
	}
}
