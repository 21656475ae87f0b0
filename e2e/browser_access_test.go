package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
)

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

	// What others do takes no focus away, and is not read out as if it came anew.
	value[bool](p, `(document.querySelector('#list li:nth-child(2) a').focus(), window.moved = 0, addEventListener('focusin', () => { window.moved++; }), true)`)
	box.post(alertBody("web-0", "http", "ok", time.Now()))
	p.untilTitles("another has moved past it", "web-1", "web-2", "web-0")
	focused("the focus stays", `f.innerText.includes('web-1') && window.moved === 0`)

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

// Whatever can be worked is reached by Tab alone, and seen when it is.
func TestBrowserTab(t *testing.T) {
	box := startSandbox(t)
	for i, status := range []string{"critical", "ok", "critical", "ok", "critical", "warning"} {
		box.post(alertBody("web-1", "http", status, time.Now().Add(time.Duration(i-9)*time.Second)))
	}
	p := startBrowser(t)
	for _, view := range []struct {
		width int64
		hash  string
		least int // that there is to reach
	}{{360, "", 9}, {360, "#incident=1", 10}, {360, "#view=api", 8}, {1280, "#view=api", 40}, {1920, "#incident=1", 40}} {
		p.resize(view.width, 900)
		p.open(box.url + view.hash)
		p.reload()
		p.until("all is there", `document.querySelector('.fault') && document.querySelectorAll('#requests li').length === 6 && (location.hash !== '#incident=1' || document.querySelector('.alert pre'))`)
		there := value[int](p, `(() => {
			window.left = new Set([...document.querySelectorAll('a[href], button:not(:disabled), input, textarea, summary, pre')]
				.filter((n) => n.checkVisibility() && (n.tabIndex >= 0 || !n.closest('#list'))));
			return window.left.size;
		})()`)
		if there < view.least {
			t.Errorf("%q at %d has only %d to reach", view.hash, view.width, there)
		}
		for range there {
			p.keys(kb.Tab)
			if bad := value[string](p, `((f) => {
				window.left.delete(f);
				const box = f.getBoundingClientRect();
				const seen = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
				const style = getComputedStyle(f);
				return seen && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 ? '' : f.outerHTML.slice(0, 200);
			})(document.activeElement)`); bad != "" {
				t.Errorf("%q at %d: the focus cannot be seen at %s", view.hash, view.width, bad)
			}
		}
		if missed := value[[]string](p, `[...window.left].map((n) => n.outerHTML.slice(0, 100))`); len(missed) > 0 {
			t.Errorf("%q at %d: Tab does not lead to %q", view.hash, view.width, missed)
		}
	}
}

// poorContrast lists what WCAG 2.2, AA, finds hard to read: a text that has less
// than 4.5:1 to what is behind it. A button that is disabled is exempt.
const poorContrast = `(() => {
	const parse = (color) => color.match(/[\d.]+/g).map(Number);
	const light = (color) => color.slice(0, 3).map((v) => v / 255)
		.map((v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
	const behind = (node) => {
		for (; node; node = node.parentElement) {
			const color = parse(getComputedStyle(node).backgroundColor);
			if (color[3] !== 0) return color;
		}
		return [255, 255, 255];
	};
	const texts = [...document.querySelectorAll('body *')].filter((n) => n.checkVisibility() && !n.closest(':disabled, noscript, .hidden')
		&& (n.placeholder || [...n.childNodes].some((c) => c.nodeType === Node.TEXT_NODE && c.data.trim())));
	return [texts.length, ...texts.flatMap((n) => {
		const own = getComputedStyle(n, n.placeholder ? '::placeholder' : null);
		const [a, b] = [light(parse(n.closest('svg') ? own.fill : own.color)), light(behind(n))];
		const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		return contrast < 4.5 ? [contrast.toFixed(2) + ' ' + n.outerHTML.slice(0, 120)] : [];
	})].map(String);
})()`

func TestBrowserContrast(t *testing.T) {
	box := startSandbox(t)
	box.fill(time.Now())
	p := openTab(t, box.url+"#incident=1", 1920, 1080)
	p.until("all is there", `document.querySelector('.fault') && document.querySelector('#requests li') && document.querySelector('#incident .problems')`)
	value[bool](p, `(document.querySelectorAll('details').forEach((d) => { d.open = true; }), document.querySelector('.fault').click(), true)`)
	p.until("they are open", `document.querySelector('.request-body .problems') && document.querySelector('.fault[aria-pressed=true]')`)
	for _, scheme := range []string{"light", "dark"} {
		p.prefer(scheme)
		p.until("it is "+scheme, fmt.Sprintf(`document.documentElement.dataset.theme === %q`, scheme))
		poor := value[[]string](p, poorContrast)
		if len(poor) > 1 {
			t.Errorf("%s: hard to read: %q", scheme, poor[1:])
		}
		if n, err := strconv.Atoi(poor[0]); err != nil || n < 200 {
			t.Errorf("%s: only %s texts were looked at", scheme, poor[0])
		}
	}
}
