package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp/kb"
)

// The demo ends with one host critical, in the pane, next to the requests of the
// outage, and the page stays until Ctrl-C.
func TestBrowserDemo(t *testing.T) {
	p := startBrowser(t)
	p.resize(1400, 900)
	demo := startConsole(t, "demo", "--keep", "--speed", "2", "--listen", "127.0.0.1:0")
	p.open(demo.url)
	p.until("one host is critical, the others are well", `document.querySelectorAll('#list .pill.is-critical').length === 1 && document.querySelectorAll('#list .pill.is-ok').length === 5`)
	p.until("its incident is open in the pane", `document.querySelector('#list li:first-child a[aria-current]')?.innerText.includes('queue-1')
		&& document.querySelector('#incident:not([hidden]) h2')?.innerText === 'queue-1' && document.querySelector('#guide').hidden`)
	p.untilText("#incident .incident-head .pill", "critical")
	p.until("requests were refused in the outage", `[...document.querySelectorAll('#requests .answer')].some((a) => a.innerText === '503')`)
	p.until("the outage is over", `document.querySelector('#banner').hidden`)
	p.untilText("#list", "flapping") // web-1 changes six times in three minutes
	deadline := time.Now().Add(patience)
	for !strings.HasSuffix(demo.said(), "until Ctrl-C: "+demo.url+"\n") {
		if time.Now().After(deadline) {
			t.Fatal(demo.said())
		}
		time.Sleep(poll)
	}
	demo.post(alertBody("mine", "by hand", "critical", time.Now()))
	p.untilText("#incident h2", "mine")
	// Who has chosen is not led elsewhere, and nobody is told to run what runs.
	p.keys(kb.Escape)
	demo.post(alertBody("another", "by hand", "critical", time.Now()))
	p.untilText("#list", "another")
	p.untilText("#guide", "Let an alert come")
	if guide := p.text("#guide"); strings.Contains(guide, "demo --keep") {
		t.Error(guide)
	}
}

// untilTitles waits until the list has these incidents, in this order.
func (p *tab) untilTitles(what string, want ...string) {
	p.t.Helper()
	p.until(what, fmt.Sprintf(`[...document.querySelectorAll('#list .title')].map((n) => n.innerText).join() === %q`, strings.Join(want, ",")))
}

// The list: worst first, then the newest change.
func TestBrowserOrder(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1400, 900)
	now := time.Now()
	for i, status := range []string{"ok", "critical", "warning", "critical", "acknowledged", "unknown", "ok"} {
		box.post(alertBody(fmt.Sprint(status, "-", i), "disk", status, now.Add(time.Duration(i-20)*time.Minute)))
	}
	p.untilTitles("worst first, then newest", "critical-3", "critical-1", "warning-2", "unknown-5", "acknowledged-4", "ok-6", "ok-0")
	box.post(alertBody("critical-3", "disk", "acknowledged", now))
	box.post(alertBody("ok-0", "disk", "critical", now))
	p.untilTitles("what has changed has moved", "ok-0", "critical-1", "warning-2", "unknown-5", "critical-3", "acknowledged-4", "ok-6")
	if got := p.texts("#list .pill"); !slices.Equal(got, []string{"critical", "critical", "warning", "unknown", "acknowledged", "acknowledged", "ok"}) {
		t.Errorf("statuses %q", got)
	}
	// A duplicate and a stale event are no change.
	box.post(alertBody("critical-1", "disk", "ok", now.Add(-time.Hour)))
	p.untilText("#list li:nth-child(2)", "2 events")
	p.untilTitles("it stays where it was", "ok-0", "critical-1", "warning-2", "unknown-5", "critical-3", "acknowledged-4", "ok-6")
}

// Badges stand under an incident's names, which are there in full.
func TestBrowserRow(t *testing.T) {
	box := startSandbox(t)
	const host, check = "edge-fra1-with-a-rather-long-host-name.example.com", "latency of the checkout service, 99th percentile"
	for i := range 6 {
		box.post(alertBody(host, check, []string{"ok", "critical"}[i%2], time.Now().Add(time.Duration(i-9)*time.Second)))
	}
	p := openTab(t, box.url, 360, 900)
	for _, width := range []int64{360, 1280, 1920} {
		p.resize(width, 900)
		p.untilText("#list .title", host)
		p.untilText("#list .subtitle", check)
		p.until("all of the names is seen", `((n) => n.scrollHeight <= n.clientHeight && n.scrollWidth <= n.clientWidth)(document.querySelector('#list .names'))`)
		p.until("the badges are under them, and begin where they do", `['.pill', '.flapping', '.facts'].every((badge) => {
			const [names, under] = ['.names', badge].map((s) => document.querySelector('#list ' + s).getBoundingClientRect());
			return under.top >= names.bottom && (badge !== '.pill' || under.left === names.left) && under.right <= names.right + 1;
		})`)
	}
}

// The filter, and an address that leads back.
func TestBrowserList(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1400, 900)
	p.untilText("#none", "No incident yet")
	p.untilText("#guide", box.url+"data/v2/alerts")
	now := time.Now()
	box.post(alertBody("web-1", "http", "acknowledged", now.Add(-3*time.Minute)))
	box.post(alertBody("web-2", "http", "warning", now.Add(-2*time.Minute)))
	box.post(alertBody("db-1", "Disk", "ok", now.Add(-time.Minute)))
	p.untilTitles("all three", "web-2", "web-1", "db-1")
	p.click(".chip.is-warning")
	p.untilTitles("one status", "web-2")
	p.click(".chip.is-ok")
	p.untilTitles("two statuses", "web-2", "db-1")
	p.click(".chip.is-warning")
	p.click(".chip.is-ok")
	p.slash()
	p.keys("DISK")
	p.untilTitles("a text, in any case", "db-1")
	p.untilText("#count", "1 of 3 incidents")
	if hash := value[string](p, `location.hash`); hash != "#text=DISK" {
		t.Errorf("the address has %q", hash)
	}
	p.keys("x")
	p.untilText("#none", "No incident fits")
	value[bool](p, `(location.hash = '#text=web&status=warning,ok&incident=1', true)`)
	p.untilTitles("what the address says", "web-2")
	p.untilText("#incident", "web-1")
	p.reload()
	p.untilTitles("what the address says, after a reload", "web-2")
	p.untilText("#incident", "web-1")
}

// The title of a page that is out of sight, where browsers draw no pictures.
func TestBrowserTitleOutOfSight(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1400, 900)
	p.untilText("#none", "No incident yet")
	value[bool](p, `(window.requestAnimationFrame = () => 0, true)`)
	box.post(alertBody("web-1", "http", "critical", time.Now()))
	p.until("the title counts it", `document.title.startsWith('(1) ')`)
}

// One incident: timeline, tags, links, payloads, problems, and no script.
func TestBrowserIncident(t *testing.T) {
	box := startSandbox(t)
	now := time.Now()
	const script = `<script>window.hacked=1</script><img src=x onerror="window.hacked=1">`
	body := func(status string, ago time.Duration) string {
		return fmt.Sprintf(`{"app_key":"test","status":%q,"host":%q,"check":"c","timestamp":%d,"big":12345678901234567890,`+
			`"link":"https://example.com/?a=%s","items":["http://example.org/","plain"],"trap":"javascript:alert(1)","Upper":%[2]q}`,
			status, strings.ReplaceAll(script, `"`, `'`), now.Add(-ago).Unix(), "%3Cb%3E")
	}
	box.post(body("warning", time.Hour))
	box.post(body("critical", 30*time.Minute))
	p := openTab(t, box.url+"#incident=1", 1400, 900)
	p.until("the timeline is there", `document.querySelectorAll('#incident svg .bar').length === 2`)
	box.post(body("ok", time.Minute))
	p.until("the timeline goes on", `document.querySelectorAll('#incident svg .bar').length === 3`)
	described := value[string](p, `document.querySelector('#incident svg desc').textContent`)
	for _, part := range []string{"warning from ", "critical from ", "for 30 min", "ok since "} {
		if !strings.Contains(described, part) {
			t.Errorf("the picture is described as %q, without %q", described, part)
		}
	}
	p.until("every event is there", `document.querySelectorAll('#incident .alert').length === 3`)
	if got := p.text("#incident h2"); !strings.Contains(got, "<script>") {
		t.Errorf("the title is %q", got)
	}
	if value[bool](p, `Boolean(window.hacked) || document.querySelector('#incident script, #incident img, #list script, #list img') !== null`) {
		t.Error("a payload was read as HTML")
	}
	links := value[[]string](p, `[...document.querySelectorAll('.tags a')].map((a) => [a.getAttribute('href'), a.target, a.rel].join(' '))`)
	if want := []string{"http://example.org/ _blank noopener noreferrer", "https://example.com/?a=%3Cb%3E _blank noopener noreferrer"}; !slices.Equal(links, want) {
		t.Errorf("links %q, want %q", links, want)
	}
	if got := p.text(".tags"); !strings.Contains(got, "http://example.org/ | plain") || !strings.Contains(got, "12345678901234567890") {
		t.Errorf("tags\n%s", got)
	}
	p.untilText("#incident .problems", `Property "Upper"`)
	p.untilText("#incident .problems", "docs/tag-naming")

	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		call(p, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted})
	}
	p.click("#incident .alert[open] .copy")
	p.untilText("#incident .alert[open] .copy", "Copied")
	shown := value[string](p, `document.querySelector('#incident .alert[open] pre').textContent`)
	if copied := value[string](p, `navigator.clipboard.readText()`); copied != shown || !strings.Contains(copied, `"big": 12345678901234567890`) {
		t.Errorf("copied is\n%s\nshown is\n%s", copied, shown)
	}
}

// The stream of requests, with the reason of those that were refused.
func TestBrowserRequests(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1400, 900)
	p.untilText("#requests-none", "No request has come yet")
	box.post(manyBody(0, 4, "critical", time.Now()))
	box.try(`{"app_key":"test","status":"ok","check":"<b>no host</b>"}`)
	box.try(`{"app_key":"test","status":"ok","host":"h","n":{}}`)
	box.try(`nonsense`)
	p.until("four requests are there", `document.querySelectorAll('#requests > li').length === 4`)
	rows := p.texts("#requests summary")
	for i, want := range [][]string{
		{"400", "no alert", "not JSON"},
		{"400", "ok h app key test", "nested object"},
		{"201", "ok no primary property app key test", "BigPanda drops it: no primary property"},
		{"201", "4 alerts", "critical host-00000", "critical host-00002", "and 1 more", "app key test"},
	} {
		text := strings.Join(strings.Fields(rows[i]), " ")
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("row %d is %q, without %q", i, text, part)
			}
		}
	}
	p.click("#requests > li:nth-child(2) summary")
	p.untilText("#requests > li:nth-child(2)", "Refused.")
	p.untilText("#requests > li:nth-child(2) pre", `"n": {}`)
	p.click("#requests > li:nth-child(3) summary")
	p.untilText("#requests > li:nth-child(3)", "Accepted, then dropped.")
	p.untilText("#requests > li:nth-child(3) pre", `<b>no host</b>`)
}

// The buttons change what the API answers, and show what is in force.
func TestBrowserFaults(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1400, 900)
	p.until("the buttons are there", `document.querySelectorAll('.fault').length > 20`)
	n := 0
	answer := func() int {
		n++
		return box.try(alertBody(fmt.Sprint("host-", n), "c", "ok", time.Now()))
	}
	press := func(name string, on bool) {
		t.Helper()
		value[bool](p, fmt.Sprintf(`([...document.querySelectorAll('.fault')].find((b) => b.firstChild.data === %q).click(), true)`, name))
		p.until(name, fmt.Sprintf(`[...document.querySelectorAll('.fault')].find((b) => b.firstChild.data === %q).getAttribute('aria-pressed') === '%t'`, name, on))
	}
	for _, step := range []struct {
		button string
		on     bool
		want   int
		banner string
	}{
		{"503 Unavailable", true, 503, "status 503"},
		{"400 Bad request", true, 400, "status 400"}, // in place of 503
		{"400 Bad request", false, 201, ""},
		{"Wrong token", true, 401, "token (set)"},
		{"Latency 100 ms", true, 401, "latency 100ms"}, // with the other
		{"Wrong token", false, 201, "latency 100ms"},
		{"Drop", true, 0, "drop"},
		{"Strict values", true, 0, "strict"}, // with the other
		{"429 without Retry-After", true, 201, "rate 1"},
	} {
		press(step.button, step.on)
		if got := answer(); got != step.want {
			t.Errorf("%s: %d, want %d", step.button, got, step.want)
		}
		if step.banner != "" {
			p.untilText("#banner", step.banner)
		} else {
			p.until("no banner", `document.querySelector('#banner').hidden`)
		}
	}
	limited := false
	for range 20 { // a busy machine may take a second for one
		limited = limited || answer() == 429
	}
	if !limited {
		t.Error("20 requests at one a second, and none is refused")
	}
	p.click("#banner button")
	p.until("no fault is in force", `document.querySelector('#banner').hidden && !document.querySelector('.fault[aria-pressed=true]')`)
	if got := answer(); got != 201 {
		t.Errorf("cleared: %d", got)
	}

	// What there is no button for, and what is wrong.
	p.click(".custom summary")
	p.click("#faults-json")
	p.keys(`{"status": 418, "count": 1}`)
	p.click("#faults-set")
	p.untilText("#banner", "count 1")
	if got := answer(); got != 418 {
		t.Errorf("418: %d", got)
	}
	p.until("the count is used up", `document.querySelector('#banner').hidden`)
	p.click("#faults-json")
	value[bool](p, `(document.querySelector('#faults-json').value = '{"statu": 1', true)`)
	p.click("#faults-set")
	p.untilText("#faults-error", "not JSON")

	// The sandbox is emptied by the second click alone.
	p.until("there are incidents", `document.querySelectorAll('#list li').length > 0`)
	p.click("#reset")
	p.untilText("#reset", "Click again")
	if p.text("#list") == "" {
		t.Error("the first click empties it")
	}
	p.click("#reset")
	p.until("it is empty", `document.querySelectorAll('#list li, #requests li').length === 0`)
}

// The page comes back by itself after the sandbox was away, with what is there
// then.
func TestBrowserReconnects(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1024, 768)
	box.post(alertBody("web-1", "http", "critical", time.Now()))
	p.untilText("#list", "web-1")
	if err := box.stop(); err != nil {
		t.Fatal(err)
	}
	p.untilText("#connection", "Not connected")
	again := startConsole(t, "sandbox", "--listen", strings.TrimSuffix(strings.TrimPrefix(box.url, "http://"), "/"))
	again.post(alertBody("web-2", "http", "warning", time.Now()))
	p.untilText("#list", "web-2")
	p.untilText("#connection", "Live")
	if got := p.texts("#list .title"); !slices.Equal(got, []string{"web-2"}) {
		t.Errorf("the list has %q", got)
	}
	// That nobody answered is in the browser's log, and is no fault of the page.
	p.forgive("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET")
}
