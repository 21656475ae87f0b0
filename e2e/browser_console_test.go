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

// The demo's incidents appear and resolve on the page while it runs, and the
// page stays until Ctrl-C.
func TestBrowserDemo(t *testing.T) {
	p := startBrowser(t) // first, as the demo does not wait for it
	p.resize(1400, 900)
	demo := startConsole(t, "demo", "--keep", "--speed", "2")
	p.open(demo.url)
	p.until("a host is critical", `document.querySelector('#list .pill.is-critical')`)
	p.until("the outage is seen", `document.querySelector('#banner').innerText.includes('503')`)
	p.until("a request was refused", `[...document.querySelectorAll('#requests .answer')].some((a) => a.innerText === '503')`)
	p.until("all six hosts are well", `document.querySelectorAll('#list .pill.is-ok').length === 6`)
	p.until("the outage is over", `document.querySelector('#banner').hidden`)
	p.untilText("#list", "cpu load")
	p.untilText("#list", "flapping") // web-1 changes six times in three minutes
	deadline := time.Now().Add(patience)
	for !strings.Contains(demo.said(), "The console stays") {
		if time.Now().After(deadline) {
			t.Fatal(demo.said())
		}
		time.Sleep(poll)
	}
	demo.post(alertBody("mine", "by hand", "critical", time.Now()))
	p.untilText("#list", "by hand")
}

// The list: newest change first, the filter, and an address that leads back.
func TestBrowserList(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1400, 900)
	p.untilText("#none", "No incident yet")
	p.untilText("#guide", box.url+"data/v2/alerts")
	now := time.Now()
	box.post(alertBody("web-1", "http", "critical", now.Add(-3*time.Minute)))
	box.post(alertBody("web-2", "http", "warning", now.Add(-2*time.Minute)))
	box.post(alertBody("db-1", "Disk", "ok", now.Add(-time.Minute)))
	wantTitles := func(what string, want ...string) {
		t.Helper()
		p.until(what, fmt.Sprintf(`[...document.querySelectorAll('#list .title')].map((n) => n.innerText).join() === %q`, strings.Join(want, ",")))
	}
	wantTitles("the newest is first", "db-1", "web-2", "web-1")
	box.post(alertBody("web-1", "http", "acknowledged", now))
	wantTitles("what has changed is first", "web-1", "db-1", "web-2")
	if got := p.texts("#list .pill"); !slices.Equal(got, []string{"acknowledged", "ok", "warning"}) {
		t.Errorf("statuses %q", got)
	}
	p.click(".chip.is-warning")
	wantTitles("one status", "web-2")
	p.click(".chip.is-ok")
	wantTitles("two statuses", "db-1", "web-2")
	p.click(".chip.is-warning")
	p.click(".chip.is-ok")
	p.slash()
	p.keys("DISK")
	wantTitles("a text, in any case", "db-1")
	p.untilText("#count", "1 of 3 incidents")
	if hash := value[string](p, `location.hash`); hash != "#text=DISK" {
		t.Errorf("the address has %q", hash)
	}
	p.keys("x")
	p.untilText("#none", "No incident fits")
	value[bool](p, `(location.hash = '#text=web&status=warning,ok&incident=1', true)`)
	wantTitles("what the address says", "web-2")
	p.untilText("#incident", "web-1")
	p.reload()
	wantTitles("what the address says, after a reload", "web-2")
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
	box.post(manyBody(0, 3, "ok", time.Now()))
	box.try(`{"app_key":"test","status":"ok","check":"<b>no host</b>"}`)
	box.try(`{"app_key":"test","status":"ok","host":"h","n":{}}`)
	box.try(`nonsense`)
	p.until("four requests are there", `document.querySelectorAll('#requests > li').length === 4`)
	rows := p.texts("#requests summary")
	for i, want := range []string{"not JSON", "nested object", "BigPanda drops it: no primary property", "3 alerts"} {
		if !strings.Contains(rows[i], want) {
			t.Errorf("row %d is %q, without %q", i, rows[i], want)
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
		{"503", true, 503, "status 503"},
		{"400", true, 400, "status 400"}, // in place of 503
		{"400", false, 201, ""},
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

// Light and dark: as the system has it, until the user chooses, which is kept.
func TestBrowserDark(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url, 1024, 768)
	isDark := `getComputedStyle(document.querySelector('main > section')).backgroundColor === 'rgb(25, 31, 39)'`
	p.prefer("light")
	p.until("it is light", `!(`+isDark+`)`)
	p.prefer("dark")
	p.until("it is dark, as the system is", isDark)
	p.click("#theme")
	p.until("it is light, as chosen", `!(`+isDark+`)`)
	p.reload()
	p.until("it is still light", `!(`+isDark+`) && document.querySelector('#theme').ariaLabel === 'Theme: light'`)
	p.prefer("light")
	p.click("#theme")
	p.until("it is dark, as chosen", isDark)
}

// Everything by the keyboard alone.
func TestBrowserKeyboard(t *testing.T) {
	box := startSandbox(t)
	for i := range 3 {
		box.post(alertBody(fmt.Sprint("web-", i), "http", "critical", time.Now().Add(-time.Duration(i)*time.Minute)))
	}
	p := openTab(t, box.url, 1024, 768)
	p.until("the incidents are there", `document.querySelectorAll('#list li').length === 3`)
	focused := func(what, expression string) {
		t.Helper()
		p.until(what, `((f) => `+expression+`)(document.activeElement)`)
	}
	outlined := func() {
		t.Helper()
		p.until("the focus can be seen", `getComputedStyle(document.activeElement).outlineStyle !== 'none'`)
	}
	p.keys(kb.Tab)
	focused("the first is the way past the header", `f.innerText === 'Skip to the incidents'`)
	p.keys(kb.Enter)
	focused("it leads to the filter", `f.id === 'filter'`)
	p.keys(kb.ArrowDown)
	focused("down leads to the first incident", `f.innerText.includes('web-0')`)
	outlined()
	p.keys(kb.ArrowDown + kb.ArrowDown)
	focused("down", `f.innerText.includes('web-2')`)
	p.keys(kb.ArrowUp)
	focused("up", `f.innerText.includes('web-1')`)
	p.keys(kb.End)
	focused("the last", `f.innerText.includes('web-2')`)
	p.keys(kb.Home)
	focused("the first", `f.innerText.includes('web-0')`)
	p.keys(kb.Tab)
	focused("one step leads past the list", `!f.closest('#list')`)
	p.slash()
	focused("/ leads to the filter", `f.id === 'filter'`)
	p.keys(kb.ArrowDown + kb.ArrowDown + kb.Enter)
	p.untilText("#incident h2", "web-1")
	focused("the incident is read next", `f.id === 'detail'`)
	p.keys(kb.Tab)
	focused("into the incident", `f.closest('#detail')`)
	outlined()
	p.keys(kb.Escape)
	focused("Escape leads back to its row", `f.closest('#list') && f.innerText.includes('web-1')`)
	p.until("no incident is open", `document.querySelector('#incident').hidden && location.hash === ''`)
	p.keys(kb.Enter)
	p.untilText("#incident h2", "web-1")
	value[bool](p, `(history.back(), true)`)
	p.until("back leads back", `document.querySelector('#incident').hidden`)

	// A fault, set and cleared: the view, then its buttons in order.
	value[bool](p, `(document.querySelector('.views button:last-child').focus(), true)`)
	p.keys(" ")
	p.until("the other view", `document.body.dataset.view === 'api'`)
	value[bool](p, `(document.querySelector('.fault').focus(), true)`)
	outlined()
	p.keys(" ")
	p.untilText("#banner", "status 400")
	p.keys(" ")
	p.until("it is cleared", `document.querySelector('#banner').hidden`)
}

// What a screen reader needs: regions and controls have names, statuses are
// texts, and what happens is said.
func TestBrowserNames(t *testing.T) {
	box := startSandbox(t)
	p := openTab(t, box.url+"#incident=1", 1400, 900)
	box.post(alertBody("web-1", "http", "critical", time.Now()))
	box.post(alertBody("web-2", "http", "ok", time.Now()))
	p.untilText("#list", "web-2")
	p.until("it is said", `document.querySelector('[aria-live=polite]').textContent === '2 incidents: 1 critical, 1 ok'`)
	nameless := value[[]string](p, `[...document.querySelectorAll('section, nav, button, input, textarea, a, [role=search], [role=group], [role=img]')]
		.filter((n) => n.checkVisibility())
		.filter((n) => !(n.ariaLabel || n.getAttribute('aria-labelledby')?.split(' ').every((id) => document.getElementById(id)) || n.innerText || n.labels?.length))
		.map((n) => n.outerHTML.slice(0, 80))`)
	if len(nameless) > 0 {
		t.Errorf("without a name: %q", nameless)
	}
	ids := value[int](p, `(() => { const ids = [...document.querySelectorAll('[id]')].map((n) => n.id); return ids.length - new Set(ids).size; })()`)
	if ids != 0 {
		t.Errorf("%d ids are there twice", ids)
	}
}

// At each width all is within the window, nothing is cut off at its side.
func TestBrowserWidths(t *testing.T) {
	box := startSandbox(t)
	box.fill(time.Now())
	for _, hash := range []string{"", "#incident=1", "#view=api"} {
		p := openTab(t, box.url+hash, 360, 740)
		for _, width := range []int64{320, 360, 700, 1024, 1300, 1920} {
			p.resize(width, 900)
			p.until(fmt.Sprintf("%q fits into %d", hash, width), fmt.Sprintf(
				`innerWidth === %d && document.documentElement.scrollWidth <= innerWidth && [...document.querySelectorAll('main > section')].every((s) => s.scrollWidth <= s.clientWidth)`, width))
		}
		wide := p.texts("main > section")
		if len(wide) != 3 {
			t.Errorf("%d regions are seen on a wide screen", len(wide))
		}
	}
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
