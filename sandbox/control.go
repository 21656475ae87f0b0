package sandbox

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const maxFaultsBody = 64 << 10

// presets are faults that are at hand, buttons of the console: each has its group,
// its name, what it says, and what to put to /faults. Of what BigPanda's
// documentation leaves open each has one, in the last group.
//
//go:embed presets.json
var presets []byte

// A route is a request that control answers. {seq} is a number.
type route struct {
	method, path string
	says         string // what it does, for the index
	serve        http.HandlerFunc
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/incidents", "what BigPanda's operators would see, the one first that has been quiet for longest", answerList(&s.record, &s.record.incidents)},
		{"GET", "/incidents/{seq}", "one, with its timeline, tags and events (?before=SEQ&limit=N)", s.getIncident},
		{"GET", "/events", "the alerts taken, oldest first (?since=SEQ&limit=N)", answerList(&s.record, &s.record.events)},
		{"DELETE", "/events", "empty the whole record and clear the faults", func(w http.ResponseWriter, _ *http.Request) {
			s.Reset()
			w.WriteHeader(http.StatusNoContent)
		}},
		{"GET", "/requests", "the requests to the API (?since=SEQ&limit=N)", answerList(&s.record, &s.record.requests)},
		{"GET", "/requests/{seq}", "one, with its alerts and what is wrong with them", s.getRequest},
		{"GET", "/alerts", "the incidents, by key", answerJSON(s.Alerts)},
		{"GET", "/stats", "the counts of the record", answerJSON(s.Stats)},
		{"GET", "/live", "what changes, as server-sent events", s.serveLive},
		{"GET", "/presets", "faults that are at hand", answerJSON(func() json.RawMessage { return presets })},
		{"GET", "/faults", "the faults in force; a token among them is not shown", answerJSON(s.Faults)},
		{"PUT", "/faults", `set them in place of all, such as {"status": 503, "retry_after": "2s", "count": 10}`, s.putFaults},
		{"DELETE", "/faults", "clear them", func(w http.ResponseWriter, _ *http.Request) {
			_ = s.SetFaults(Faults{}) // none are none that could be wrong
			writeJSON(w, s.Faults())
		}},
	}
}

func answerJSON[T any](get func() T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, get()) }
}

func (s *Server) newControl() http.Handler {
	mux := http.NewServeMux()
	index := "bigpanda-udf sandbox: a BigPanda to work against\n\nIn a browser, this address shows the console.\n\n" +
		"POST   " + Path + "  the Alerts API\nPOST   " + OIMPath + "  the same, of the Open Integration Manager\n"
	allowed := make(map[string]string)
	for _, route := range s.routes() {
		mux.HandleFunc(route.method+" "+route.path, route.serve)
		index += fmt.Sprintf("%-6s %-15s  %s\n", route.method, route.path, route.says)
		allowed[route.path] = strings.TrimPrefix(allowed[route.path]+", "+route.method, ", ")
	}
	handleConsole(mux, index+"\nFaults: "+strings.Join(faultKeys(), ", ")+"\n")
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if allow := allowed[r.URL.Path]; allow != "" {
			w.Header().Set("Allow", allow)
			fail(w, http.StatusMethodNotAllowed, fmt.Errorf("the methods of %s are %s", r.URL.Path, allow))
			return
		}
		fail(w, http.StatusNotFound, errors.New("no such path: / lists what there is"))
	})
	return s.guard(mux)
}

// guard keeps web pages of others out, as far as the Host header has not done so
// (ServeHTTP): they are known by what the browser says of them. Only the console
// itself may be led to from elsewhere.
func (s *Server) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		if err := origins.Check(r); err != nil {
			fail(w, http.StatusForbidden, errors.New("a web page of another origin may change nothing here"))
			return
		}
		switch r.Header.Get("Sec-Fetch-Site") {
		case "cross-site", "same-site":
			if r.URL.Path != "/" {
				fail(w, http.StatusForbidden, errors.New("a web page of another origin may see nothing here"))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) putFaults(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaultsBody))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("read faults: %w", err))
		return
	}
	f, err := ParseFaults(body)
	if err == nil && f.Token == tokenShown {
		if f.Token = s.Faults().Token; f.Token == "" {
			err = fmt.Errorf("read faults: token is %q, and none is set", tokenShown)
		}
	}
	if err == nil {
		err = s.SetFaults(f)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, f)
}

// answerList answers with what a list of the record has after the query's since, at
// most limit of it.
func answerList[T any](r *record, list interface{ after(uint64, int) []T }) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if since, limit, ok := queryNumbers(w, q, "since"); ok {
			writeList(w, after(r, list, since, int(limit)))
		}
	}
}

// writeList answers with a JSON array, one element a line.
func writeList[T any](w http.ResponseWriter, values []T) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, "[")
	separator := "\n"
	for _, v := range values {
		io.WriteString(w, separator)
		w.Write(bytes.TrimSuffix(marshal(v), []byte("\n")))
		separator = ",\n"
	}
	io.WriteString(w, "\n]\n")
}

// queryNumbers reads a number of the query and its limit, 0 for one that is
// absent. It answers what is none.
func queryNumbers(w http.ResponseWriter, r *http.Request, name string) (n, limit uint64, ok bool) {
	for to, name := range map[*uint64]string{&n: name, &limit: "limit"} {
		text := cmp.Or(r.URL.Query().Get(name), "0")
		var err error
		if *to, err = strconv.ParseUint(text, 10, 63); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("%s=%q is not a number", name, text))
			return 0, 0, false
		}
	}
	return n, limit, true
}

// writeJSON answers 200 with v. A slice that is empty must not be nil.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(marshal(v))
}

// fail answers with {"error": …}.
func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(marshal(map[string]any{"error": err.Error()}))
}

// marshal returns v as a line of JSON.
func marshal(v any) []byte {
	line, err := json.Marshal(v)
	must(err)
	return append(line, '\n')
}

// must is for what only a fault of the sandbox itself makes fail.
func must(err error) {
	if err != nil {
		panic("sandbox: " + err.Error())
	}
}
