package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
)

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

// fillHostile sends names that somebody might choose to spoil the page, or just
// might have.
func (c *console) fillHostile(now time.Time) {
	c.t.Helper()
	for i, host := range []string{
		"<script>window.hacked=1</script>", "\u202egnp.exe", "خادم-الويب-١", "🔥 db 👩‍👩‍👧‍👦", "Z\u0351\u036b\u0343\u036aa\u0351\u036blgo", " \u200b ",
		strings.Repeat("x", 2000), strings.Repeat("two words ", 200), "a\nb\tc", "{{7*7}}${7*7}",
	} {
		c.post(alertBody(host, "disk", "critical", now.Add(-time.Duration(i)*time.Second)))
	}
	c.post(fmt.Sprintf(`{"app_key":%q,"status":"ok","host":"h","timestamp":99999999999999,%q:%q}`, strings.Repeat("k", 512), strings.Repeat("n", 64), strings.Repeat("v", 3000)))
	c.post(alertBody("h", strings.Repeat("check", 60), "critical", now))
	c.try(fmt.Sprintf(`{"app_key":"k","status":%q,"host":"h"}`, strings.Repeat("s", 3000)))
	c.try(strings.Repeat("nonsense", 200))
}

// At each width all is within the window, nothing is cut off at its side, light
// and dark, whatever the names.
func TestBrowserWidths(t *testing.T) {
	full, empty, many := startSandbox(t), startSandbox(t), startSandbox(t)
	full.fill(time.Now())
	full.fillHostile(time.Now())
	many.post(manyBody(0, 500, "critical", time.Now()))
	const fits = `innerWidth === %d && document.documentElement.scrollWidth <= innerWidth
		&& [...document.querySelectorAll('main > section')].every((s) => s.scrollWidth <= s.clientWidth)`
	for _, view := range []struct {
		on     *console
		hashes []string
	}{{full, []string{"", "#incident=1", "#view=api"}}, {empty, []string{""}}, {many, []string{""}}} {
		p := startBrowser(t)
		for _, hash := range view.hashes {
			p.resize(360, 740)
			p.open(view.on.url + hash)
			p.reload()
			p.until("the buttons are there", `document.querySelector('.fault')`)
			p.until("the incidents are there", `document.querySelectorAll('#list li').length > 0 || document.body.classList.contains('is-empty')`)
			value[bool](p, `(document.querySelectorAll('details').forEach((d) => { d.open = true; }), true)`)
			for _, width := range []int64{320, 360, 700, 1024, 1280, 1300, 1920} {
				p.resize(width, 900)
				for _, scheme := range []string{"light", "dark"} {
					p.prefer(scheme)
					p.until(fmt.Sprintf("%q fits into %d, %s", hash, width, scheme), fmt.Sprintf(fits, width))
				}
			}
			if regions := p.texts("main > section"); len(regions) != 3 {
				t.Errorf("%d regions are seen on a wide screen", len(regions))
			}
		}
		if value[bool](p, `'hacked' in window || document.querySelector('#list script') !== null`) {
			t.Error("a name was read as HTML")
		}
	}
}

// Names that are hard to see can be told: one without anything to see is said to
// be, and one that runs from right to left leaves its neighbours in their place.
func TestBrowserHostileNames(t *testing.T) {
	box := startSandbox(t)
	box.fillHostile(time.Now())
	p := openTab(t, box.url, 1280, 900)
	p.untilText("#list", "(blank)")
	p.until("a name does not turn what follows it", `[...document.querySelectorAll('#list li')].filter((n) => n.innerText.includes('gnp.exe'))
		.every((n) => n.querySelector('.title').getBoundingClientRect().left < n.querySelector('.subtitle').getBoundingClientRect().left)`)
	p.until("a row is no higher for it", `[...document.querySelectorAll('#list li')].every((n) => n.clientHeight < 130)`)
}

// Times have their date and zone, and a point's is told from its request's.
func TestBrowserTimes(t *testing.T) {
	box := startSandbox(t)
	point := time.Date(2026, time.January, 2, 23, 30, 0, 0, time.UTC)
	box.post(alertBody("web-1", "http", "critical", point))
	p := startBrowser(t)
	p.resize(1920, 1080)
	for _, zone := range []struct{ name, want string }{
		{"UTC", "2026-01-02 23:30:00 UTC"},
		{"Europe/Berlin", "2026-01-03 00:30:00 CET"},
		{"Asia/Kolkata", "2026-01-03 05:00:00 GMT+5:30"},
	} {
		call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: zone.name})
		p.open(box.url + "#incident=1")
		p.reload()
		p.untilText("#incident .incident-head", "since "+zone.want)
		p.untilText("#incident .alert", "point "+zone.want)
		p.untilText("#incident .tags", fmt.Sprintf("%d %s", point.Unix(), zone.want))
		p.until("the picture has it", fmt.Sprintf(`document.querySelector('#incident svg').textContent.includes(%q)`, zone.want[len("2026-01-02 "):]))
		p.until("the incident's row has it at hand", fmt.Sprintf(`document.querySelector('#list time').title === %q`, zone.want))
		request := value[string](p, `document.querySelector('#requests time').innerText`)
		location, err := time.LoadLocation(zone.name)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseInLocation(time.DateTime, request[:len(time.DateTime)], location)
		if ago := time.Since(at); err != nil || ago < 0 || ago > 10*time.Minute {
			t.Errorf("%s: the request came at %q, %v", zone.name, request, err)
		}
		p.untilText("#incident .alert", "request "+request)
	}
}
