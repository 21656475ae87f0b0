package sandbox

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func accept(types string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Accept", types) }
}

// A browser gets the page at /, everybody else the text.
// A fault's body may be HTML, and is at the console's own origin.
func TestAnswerRunsNoScript(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Faults: Faults{Body: "<script>alert(1)</script>"}})
	got := s.call("GET", Path, "")
	if got.header.Get("Content-Security-Policy") != contentPolicy || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.header)
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, test := range []struct{ accept, want string }{
		{"text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"},
		{"*/*", "text/plain; charset=utf-8"},
		{"", "text/plain; charset=utf-8"},
	} {
		got, err := s.do("GET", "/", "", accept(test.accept))
		if err != nil || got.status != 200 || got.header.Get("Content-Type") != test.want || got.header.Get("Vary") != "Accept" {
			t.Errorf("%q: %d %v, %v", test.accept, got.status, got.header, err)
		}
	}
}

// The page and all that it names are in the binary, and it names nothing else:
// no other origin, and nothing inline, which the policy would not let it run.
func TestConsoleFiles(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	page, err := s.do("GET", "/", "", accept("text/html"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:src|href)="([^#"][^"]*)"`).FindAllStringSubmatch(page.body, -1)
	if len(named) < 3 {
		t.Fatalf("%d files are named", len(named))
	}
	queue := []string{}
	for _, n := range named {
		queue = append(queue, n[1])
	}
	types := map[string]string{".css": "text/css; charset=utf-8", "e.js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	seen := map[string]bool{}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		if !strings.HasPrefix(path, "/console/") {
			t.Errorf("the page names %s", path)
		}
		got := s.call("GET", path, "")
		if want := types[path[len(path)-4:]]; got.status != 200 || want != "" && got.header.Get("Content-Type") != want {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
		for _, n := range regexp.MustCompile(`from '\./([^']+)'`).FindAllStringSubmatch(got.body, -1) {
			queue = append(queue, "/console/"+n[1])
		}
		if strings.Contains(got.body, "innerHTML") || strings.Contains(got.body, "insertAdjacentHTML") || strings.Contains(got.body, "eval(") {
			t.Errorf("%s makes HTML or code of text", path)
		}
	}
	files, err := consoleFiles.ReadDir("console")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen["/console/"+f.Name()] && f.Name() != "index.html" {
			t.Errorf("nothing names %s", f.Name())
		}
	}
	if inline := regexp.MustCompile(`<script>|<style|\sstyle=|\son[a-z]+=`).FindString(page.body); inline != "" {
		t.Errorf("the page has %q", inline)
	}
	if got := s.call("GET", "/console/", ""); got.status != 404 {
		t.Errorf("/console/: %d", got.status)
	}
	if got := s.call("GET", "/console/nothing.js", ""); got.status != 404 {
		t.Errorf("a file that is not there: %d", got.status)
	}
}

// Every answer of control has them, also the refused ones.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, path := range []string{"/", "/console/main.js", "/incidents", "/faults", "/nowhere"} {
		for _, host := range []string{"", "evil.example"} {
			got, err := s.do("GET", path, "", func(r *http.Request) {
				if host != "" {
					r.Host = host
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
					"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
				"X-Content-Type-Options":       "nosniff",
				"Referrer-Policy":              "no-referrer",
				"Cross-Origin-Resource-Policy": "same-origin",
				"Cross-Origin-Opener-Policy":   "same-origin",
				"Cache-Control":                "no-store",
			} {
				if got := got.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
		}
	}
}

// A page of another origin may lead to the console, and have nothing of it.
func TestOtherOriginsSeeNothing(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, test := range []struct {
		path, site string
		want       int
	}{
		{"/", "cross-site", 200}, {"/", "same-site", 200}, {"/", "none", 200},
		{"/incidents", "same-origin", 200}, {"/incidents", "none", 200}, {"/incidents", "", 200},
		{"/incidents", "cross-site", 403}, {"/incidents", "same-site", 403}, // another port of this machine
		{"/live", "cross-site", 403}, {"/faults", "cross-site", 403}, {"/console/main.js", "cross-site", 403},
	} {
		got, err := s.do("GET", test.path, "", func(r *http.Request) {
			if test.site != "" {
				r.Header.Set("Sec-Fetch-Site", test.site)
			}
		})
		if err != nil || got.status != test.want {
			t.Errorf("%s from %q: %d, %v; want %d", test.path, test.site, got.status, err, test.want)
		}
	}
}

// A payload is data: it comes out as JSON, which a browser does not run.
func TestScriptInAPayload(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.post(`{"app_key":"k","status":"ok","host":"<script>alert(1)</script>","</script>":"<img src=x onerror=alert(1)>"}`, 201)
	s.call("POST", Path, `<script>alert(1)</script>`)
	for _, path := range []string{"/incidents", "/incidents/1", "/events", "/requests", "/requests/1", "/requests/2", "/alerts"} {
		got := s.call("GET", path, "")
		if got.header.Get("Content-Type") != "application/json" || strings.Contains(got.body, "<script") && strings.Contains(got.body, "</script>") && got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
}
