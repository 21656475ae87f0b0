package sandbox

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// A Preset is one of GET /presets.
type Preset struct {
	Group, Name, Says string
	Faults            json.RawMessage // what is put to /faults
}

func (s *sandbox) presets() (list []Preset) {
	s.t.Helper()
	decode(s.t, []byte(s.call("GET", "/presets", "").body), &list)
	return list
}

// Each of what BIGPANDA.md calls unknown can be switched by a preset: without
// it the API answers one way, with it another.
func TestUnknowns(t *testing.T) {
	t.Parallel()
	batch := func(n int) string {
		return `{"app_key":"k","alerts":[{"status":"ok","host":"h"}` + strings.Repeat(`,{"status":"ok","host":"h"}`, n-1) + `]}`
	}
	zipped := func() string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(oneAlert))
		z.Close()
		return b.String()
	}()
	for _, test := range []struct {
		unknown, preset string
		body            string
		times           int // 1
		without, with   int
		answer          string // with it, the body
	}{
		{unknown: "the bodies of responses", preset: "201, no body", body: oneAlert, without: 201, with: 201, answer: ""},
		{unknown: "the bodies of responses", preset: "201, plain text", body: oneAlert, without: 201, with: 201, answer: "OK"},
		{unknown: "the bodies of responses", preset: "200, a login page", body: oneAlert, without: 201, with: 200, answer: "<html>"},
		{unknown: "how many alerts one request may hold", preset: "At most 100 alerts: 413", body: batch(101), without: 201, with: 413},
		{unknown: "how many alerts one request may hold", preset: "At most 100 alerts: 413", body: batch(100), without: 201, with: 201},
		{unknown: "the status of a batch with one bad item", preset: "Take the good ones", body: `{"app_key":"k","alerts":[{"status":"ok","host":"h"},{"status":"x"}]}`, without: 400, with: 201},
		{unknown: "whether Retry-After is sent", preset: "429 without Retry-After", body: oneAlert, times: 2, without: 204, with: 429},
		{unknown: "413 or 400 for too much", preset: "At most 100 alerts: 400", body: batch(101), without: 201, with: 400},
		{unknown: "413 or 400 for too much", preset: "Over 6 MB: 400", body: wide(6 << 20), without: 413, with: 400},
		{unknown: "413 or 400 for too much", preset: "Over 6 MB: 400", body: wide(6<<20 - 100), without: 201, with: 201},
		{unknown: "413 or 400 for too much", preset: "At most 64 KiB: 413", body: wide(64 << 10), without: 201, with: 413},
		{unknown: "nulls, empty strings, floats, booleans", preset: "Strict values", body: `{"app_key":"k","status":"ok","host":"h","a":null}`, without: 201, with: 400},
		{unknown: "what happens to values over a limit", preset: "Strict values", body: `{"app_key":"k","status":"ok","host":"h","a":"` + strings.Repeat("x", 600) + `"}`, without: 201, with: 400},
		{unknown: "whether request bodies may be compressed", preset: "Take gzip", body: zipped, without: 400, with: 201},
	} {
		t.Run(test.unknown+": "+test.preset, func(t *testing.T) {
			var faults string
			s := start(t, Options{})
			for _, p := range s.presets() {
				if p.Name == test.preset && p.Group == "What is not documented" {
					faults = string(p.Faults)
				}
			}
			for _, step := range []struct {
				faults string
				want   int
			}{{"{}", test.without}, {faults, test.with}} {
				s.Reset()
				if got := s.call("PUT", "/faults", step.faults); got.status != 200 {
					t.Fatalf("%+v", got)
				}
				var got reply
				for range max(test.times, 1) {
					var err error
					got, err = s.do("POST", Path, test.body, func(r *http.Request) {
						if test.body == zipped {
							r.Header.Set("Content-Encoding", "gzip")
						}
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				if got.status != step.want {
					t.Errorf("with %s: %d %s, want %d", step.faults, got.status, got.body, step.want)
				}
				if step.faults == faults && (!strings.HasPrefix(got.body, test.answer) || got.header.Get("Retry-After") != "") {
					t.Errorf("with %s: %+v", step.faults, got)
				}
				if test.answer != "" && step.faults == faults && got.status == 201 && len(s.Events()) != 1 {
					t.Error("it was not taken")
				}
			}
		})
	}
}

// Every preset is one that PUT /faults takes, and does something.
func TestPresets(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	list := s.presets()
	names := make(map[string]bool)
	for _, p := range list {
		f, err := ParseFaults(p.Faults)
		if err != nil || f == (Faults{}) || p.Says == "" || p.Group == "" || names[p.Name] {
			t.Errorf("%+v: %v", p, err)
		}
		names[p.Name] = true
	}
	for _, key := range []string{"status", "latency", "hang", "drop", "token", "rate"} {
		found := false
		for _, p := range list {
			var faults map[string]any
			found = found || json.Unmarshal(p.Faults, &faults) == nil && faults[key] != nil
		}
		if !found {
			t.Errorf("no preset sets %s", key)
		}
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.String()
	}
	for _, test := range []struct {
		name, encoding, body string
		want                 int
		reason               string
	}{
		{"good", "gzip", zip(oneAlert), 201, ""},
		{"in capitals", "GZIP", zip(oneAlert), 201, ""},
		{"not gzip", "gzip", oneAlert, 400, "not what Content-Encoding says"},
		{"cut off", "gzip", zip(oneAlert)[:20], 400, "ended early"},
		{"another encoding", "br", oneAlert, 400, "Content-Encoding is set"},
		{"over 6 MB when unzipped", "gzip", zip(wide(6 << 20)), 413, "over 6 MB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, Options{Faults: Faults{Gzip: true}})
			got, err := s.do("POST", Path, test.body, func(r *http.Request) { r.Header.Set("Content-Encoding", test.encoding) })
			if err != nil || got.status != test.want || !strings.Contains(got.body, test.reason) {
				t.Fatalf("%+v, %v; want %d with %q", got, err, test.want, test.reason)
			}
			if q := s.lastRequest(); q.Bytes != len(test.body) {
				t.Errorf("%d bytes in the record, %d were sent", q.Bytes, len(test.body))
			}
		})
	}
}
