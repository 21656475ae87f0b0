package cli

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What kapacitord v1.8.3 answers: the settings of its handler, its topics, and the
// handlers of a topic.
const (
	answeredConfig = `{"link":{"rel":"self","href":"/kapacitor/v1/config/bigpanda"},"elements":[{"link":{"rel":"self","href":"/kapacitor/v1/config/bigpanda/"},` +
		`"options":{"app-key":"k","auto-attributes":"tags,fields","enabled":ENABLED,"global":GLOBAL,"insecure-skip-verify":false,"state-changes-only":false,` +
		`"token":true,"url":"https://api.bigpanda.io/data/v2/alerts"},"redacted":["token"]}]}`
	answeredTopic = `{"link": {"rel": "self", "href": "/kapacitor/v1/alerts/topics/TOPIC"}, "id": "TOPIC", "level": "OK", "collected": 0,
		"events-link": {"rel": "events", "href": "/kapacitor/v1/alerts/topics/TOPIC/events"},
		"handlers-link": {"rel": "handlers", "href": "/kapacitor/v1/alerts/topics/TOPIC/handlers"}}`
	answeredHandlers = `{"link": {"rel": "self", "href": "/kapacitor/v1/alerts/topics/TOPIC/handlers"}, "topic": "TOPIC", "handlers": [HANDLERS]}`
	answeredHandler  = `{"link": {"rel": "self", "href": "/kapacitor/v1/alerts/topics/cpu/handlers/bp"}, "id": "bp", "kind": "KIND",
		"options": {"app-key": "x"}, "match": "level() == CRITICAL"}`
)

// fakeKapacitord answers as kapacitord does, and counts the requests.
type fakeKapacitord struct {
	enabled, global bool
	kind            string // of a handler; "": there is none
	handlerAt       string // its topic; "": cpu
	topics          []string
	user, password  string
	hook            func(w http.ResponseWriter, r *http.Request) (done bool)
	hangs           bool // so that nobody should wait for long
	asked           int
}

func (f *fakeKapacitord) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked++
	if f.hook != nil && f.hook(w, r) {
		return
	}
	if user, password, _ := r.BasicAuth(); user != f.user || password != f.password {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"authorization failed","message":"authorization failed"}`)
		return
	}
	path, isAPI := strings.CutPrefix(r.URL.Path, "/kapacitor/v1")
	topic, isHandlers := strings.CutSuffix(strings.TrimPrefix(path, "/alerts/topics/"), "/handlers")
	switch {
	case r.Method != http.MethodGet || !isAPI:
		w.WriteHeader(http.StatusNotFound)
	case path == "/config/bigpanda":
		fmt.Fprint(w, strings.NewReplacer("ENABLED", fmt.Sprint(f.enabled), "GLOBAL", fmt.Sprint(f.global)).Replace(answeredConfig))
	case path == "/alerts/topics":
		var topics []string
		for _, name := range f.topics {
			topics = append(topics, strings.ReplaceAll(answeredTopic, "TOPIC", name))
		}
		fmt.Fprintf(w, `{"link": {"rel": "self", "href": "/kapacitor/v1/alerts/topics"}, "topics": [%s]}`, strings.Join(topics, ","))
	case isHandlers:
		handlers := ""
		if topic == cmp.Or(f.handlerAt, "cpu") && f.kind != "" {
			handlers = strings.ReplaceAll(answeredHandler, "KIND", f.kind)
		}
		fmt.Fprint(w, strings.NewReplacer("TOPIC", topic, "HANDLERS", handlers).Replace(answeredHandlers))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// What no file says is asked of the server, and what is wrong there has a line of
// its own. No answer holds check up, and the password is shown nowhere.
func TestCheckAsksKapacitord(t *testing.T) {
	t.Parallel()
	many := []string{}
	for i := range maxTopics {
		many = append(many, fmt.Sprintf("main:task%d:alert2", i))
	}
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for _, tt := range []struct {
		name    string
		server  fakeKapacitord
		address string // with HOST for the server's
		code    int
		want    []string
	}{
		{"all is well", fakeKapacitord{topics: []string{"cpu", "disk"}, kind: "slack"}, "http://HOST", 0,
			[]string{"ok  [bigpanda]  Kapacitor's own handler is off at HOST\n", "ok  topic handlers  none of kind bigpanda at 2 topics\n"}},
		{"an address with the API's path", fakeKapacitord{}, "http://HOST/kapacitor/v1/", 0, []string{"ok  topic handlers  none of kind bigpanda at 0 topics\n"}},
		{"on for all alerts", fakeKapacitord{enabled: true, global: true}, "http://HOST", 1,
			[]string{"warn  [bigpanda]  every alert is sent twice: Kapacitor's own handler is on for all alerts at HOST; " +
				"set enabled = false in [bigpanda] of its kapacitor.conf and restart it; what was switched on in Chronograf, switch off there, or with curl -X POST http://HOST/kapacitor/v1/config/bigpanda/ -d '{\"set\":{\"enabled\":false}}'\n"}},
		{"on", fakeKapacitord{enabled: true}, "http://HOST", 1, []string{"warn  [bigpanda]  Kapacitor's own handler is on at HOST: alerts of nodes with .bigPanda()"}},
		{"a topic handler that is left", fakeKapacitord{enabled: true, topics: []string{"a", "cpu"}, kind: "bigpanda"}, "http://HOST", 1,
			[]string{"warn  topic handlers  the handler bp of kind bigpanda is left at the topic cpu, whose alerts it sends, too; kapacitor delete topic-handlers cpu bp\n"}},
		{"a topic whose name a shell would read", fakeKapacitord{topics: []string{"a;b"}, handlerAt: "a;b", kind: "bigpanda"}, "http://HOST", 1, []string{"; kapacitor delete topic-handlers 'a;b' bp\n"}},
		{"a topic handler that sends nothing", fakeKapacitord{topics: []string{"cpu"}, kind: "bigpanda"}, "http://HOST", 1,
			[]string{"is left at the topic cpu, which logs an error for each alert, as [bigpanda] is off; kapacitor delete"}},
		{"a topic behind those of many tasks", fakeKapacitord{topics: append(many, "cpu"), kind: "bigpanda"}, "http://HOST", 1,
			[]string{"is left at the topic cpu", "note  topic handlers  1 topic more were not looked at\n"}},
		{"a password", fakeKapacitord{user: "u", password: testToken}, "http://u:" + testToken + "@HOST", 0, []string{"is off at HOST\n"}},
		{"a password where something is wrong", fakeKapacitord{user: "u", password: testToken, enabled: true}, "http://u:" + testToken + "@HOST", 1,
			[]string{"curl -X POST http://HOST/kapacitor"}},
		{"no password", fakeKapacitord{user: "u", password: "p"}, "http://HOST", 1,
			[]string{"fail  kapacitord  HOST answered 401 Unauthorized; put a user and password into --kapacitor-url: http://USER:PASSWORD@HOST\n"}},
		{"a wrong password", fakeKapacitord{user: "u", password: "p"}, "http://u:" + testToken + "@HOST", 1, []string{"HOST answered 401 Unauthorized"}},
		{"a password that is answered", fakeKapacitord{topics: []string{testToken}, user: "u", password: testToken}, "http://u:" + testToken + "@HOST", 0, []string{"ok  topic handlers"}},
		{"settings that are not told", fakeKapacitord{hook: func(w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, "config") && answer(http.StatusForbidden, `{"error":"config override service is not enabled"}`)(w, r)
		}}, "http://HOST", 0, []string{"note  [bigpanda]  HOST does not tell what holds there, as [config-override] is switched off; look at KAPACITOR_BIGPANDA_", "ok  topic handlers"}},
		{"something else", fakeKapacitord{hook: answer(200, "<html>")}, "http://HOST", 1, []string{"fail  kapacitord  HOST does not answer as Kapacitor does; check that --kapacitor-url is"}},
		{"JSON of something else", fakeKapacitord{hook: answer(200, "{}")}, "http://HOST", 1, []string{"HOST does not answer as Kapacitor does"}},
		{"not found", fakeKapacitord{}, "http://HOST/elsewhere", 1, []string{"HOST answered 404 Not Found; check that --kapacitor-url is"}},
		{"a redirect", fakeKapacitord{hook: func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return true
		}}, "http://u:" + testToken + "@HOST", 1, []string{"HOST answered 302 Found"}},
		{"no answer", fakeKapacitord{hangs: true, hook: func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}}, "http://u:" + testToken + "@HOST", 1, []string{"fail  kapacitord  HOST gave no complete answer in time"}},
		{"an answer without end", fakeKapacitord{hangs: true, hook: func(w http.ResponseWriter, r *http.Request) bool {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1<<20))
			}
			return true
		}}, "http://HOST", 1, []string{"fail  kapacitord  HOST "}},
		{"nobody", fakeKapacitord{}, "http://u:" + testToken + "@127.0.0.1:1", 1, []string{"fail  kapacitord  ask 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; check that"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kapacitord := &tt.server
			s := httptest.NewServer(kapacitord)
			defer s.Close()
			host := s.Listener.Addr().String()
			r := newCheckRig(t)
			if kapacitord.hangs {
				r.times.Kapacitor = 500 * time.Millisecond
			}
			r.vars["BIGPANDA_CHECK_KAPACITOR_URL"] = strings.ReplaceAll(tt.address, "HOST", host)
			res, lines := r.run()
			lines = strings.ReplaceAll(lines, host, "HOST")
			for _, want := range tt.want {
				if res.code != tt.code || !strings.Contains(lines, want) {
					t.Errorf("exit code %d, want %d and %q in\n%s%s", res.code, tt.code, want, lines, res.stderr)
				}
			}
			if kapacitord.asked > maxTopics+2 {
				t.Errorf("%d requests", kapacitord.asked)
			}
		})
	}
}

// A certificate of its own is usual for Kapacitor.
func TestCheckAsksKapacitordOverTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(&fakeKapacitord{})
	s.Config.ErrorLog = quiet
	s.StartTLS()
	defer s.Close()
	r := newCheckRig(t)
	r.args = []string{"--kapacitor-url", "https://u:" + testToken + "@" + s.Listener.Addr().String()}
	const want = "certificate signed by unknown authority; name the file of its certificate, or of the CA that signed it, in SSL_CERT_FILE\n"
	if res, lines := r.run(); res.code != 1 || !strings.Contains(lines, want) {
		t.Errorf("exit code %d, no %q in\n%s", res.code, want, lines)
	}
}

// Without an address check says what it does not see; with one that is none it
// does not repeat the password.
func TestCheckOfNoKapacitord(t *testing.T) {
	t.Parallel()
	const said = "note  kapacitord  what its config API (Chronograf's BigPanda tab) or KAPACITOR_BIGPANDA_… variables say goes before kapacitor.conf, " +
		"and cannot be seen from here; add --kapacitor-url http://localhost:9092 to have it asked, or look at /kapacitor/v1/config/bigpanda there\n"
	r := newCheckRig(t)
	if res, lines := r.run(); res.code != 0 || strings.Count(lines, said) != 1 {
		t.Errorf("exit code %d, no %q in\n%s", res.code, said, lines)
	}
	r.args = []string{"--kapacitor-conf", r.file("k.conf", installed(t, "[udf.functions.bigpanda]\nprog = '/usr/local/bin/bigpanda-udf'\ntimeout = '10s'\nargs = ['--enabled=false']"), 0o600)}
	if res, lines := r.run(); res.code != 0 || strings.Count(lines, said) != 1 {
		t.Errorf("of a kapacitor.conf: exit code %d, no %q in\n%s%s", res.code, said, lines, res.stderr)
	}
	for _, address := range []string{"localhost:9092", "ftp://u:" + testToken + "@h", "http://u:" + testToken + "@", "http://u:" + testToken + "%zz@h"} {
		res := run(t, nil, nil, "check", "--kapacitor-url", address)
		if want := "bigpanda-udf check: --kapacitor-url is no address: write one such as http://localhost:9092, or http://USER:PASSWORD@localhost:9092\n"; res.code != 2 || res.stderr != want {
			t.Errorf("exit code %d, stderr %s", res.code, res.stderr)
		}
	}
}
