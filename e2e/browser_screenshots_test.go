package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// screenshots is for `make screenshots`.
var screenshots = flag.String("screenshots", "", "a folder to write pictures of the console to")

// TestBrowserScreenshots writes what the README shows. Each view is taken at the
// width of a telephone, of a small and of a large screen.
func TestBrowserScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("no -screenshots")
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	full, empty := startSandbox(t), startSandbox(t)
	full.fill(time.Now())
	sizes := []struct{ width, height int64 }{{360, 740}, {1280, 800}, {1920, 1080}}
	for _, view := range []struct {
		name   string
		on     *console
		hash   string
		dark   bool
		faults string
	}{
		{name: "list", on: full},
		{name: "incident", on: full, hash: "#incident=1"},
		{name: "requests", on: full, hash: "#view=api"},
		{name: "empty", on: empty},
		{name: "dark", on: full, hash: "#incident=1", dark: true},
	} {
		p := openTab(t, view.on.url, 1280, 800)
		if view.dark {
			p.prefer("dark")
		} else {
			p.prefer("light")
		}
		for _, size := range sizes {
			p.resize(size.width, size.height)
			value[bool](p, fmt.Sprintf(`(location.hash = %q, true)`, view.hash))
			p.reload()
			p.until("the buttons are there", `document.querySelector('.fault')`)
			if view.on == full {
				p.until("the incidents are there", `document.querySelectorAll('#list li').length > 10`)
			}
			if view.name == "incident" || view.name == "dark" {
				p.until("the incident is there", `document.querySelector('#incident svg')`)
			}
			if view.name == "requests" {
				p.until("requests are there", `document.querySelectorAll('#requests details').length > 5`)
				value[bool](p, `(document.querySelector('#requests .is-bad').closest('details').open = true)`)
				p.until("the request is there", `document.querySelector('.request-body .problems')`)
			}
			file := filepath.Join(*screenshots, fmt.Sprintf("%s-%d.png", view.name, size.width))
			if err := os.WriteFile(file, small(t, p.screenshot()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// small makes a picture of the 256 colours that are most of it and not almost
// the same, which is a third of its size: most of a page has few colours.
func small(t *testing.T, data []byte) []byte {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	bounds := picture.Bounds()
	counts := make(map[color.Color]int)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[picture.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return counts[b] - counts[a] })
	var palette color.Palette
	for _, c := range colors {
		// Else the shades of a text's edges leave no room for a small dot's green.
		if len(palette) < 256 && (len(palette) == 0 || distance(c, palette.Convert(c)) > 6) {
			palette = append(palette, c)
		}
	}
	index := make(map[color.Color]uint8)
	for _, c := range colors {
		index[c] = uint8(palette.Index(c))
	}
	few := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			few.SetColorIndex(x, y, index[picture.At(x, y)])
		}
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, few); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// distance is how far apart two colours are at most in red, green or blue, of 255.
func distance(a, b color.Color) int {
	r, g, bl, _ := a.RGBA()
	r2, g2, bl2, _ := b.RGBA()
	most := 0
	for _, d := range []int{int(r) - int(r2), int(g) - int(g2), int(bl) - int(bl2)} {
		most = max(most, d/257, -d/257)
	}
	return most
}

// fill sends what a small fleet might in an hour.
func (c *console) fill(now time.Time) {
	c.t.Helper()
	at := func(minutes float64) time.Time { return now.Add(-time.Duration(minutes * float64(time.Minute))) }
	rich := func(status string, minutes float64, load string) {
		c.post(fmt.Sprintf(`{"app_key":"kapacitor","status":%q,"host":"db-1","check":"cpu:host=db-1","timestamp":%d,`+
			`"description":"CPU load of db-1 is %s %%","details":"The load of five minutes is over the threshold.","task":"cpu_alerts:cpu",`+
			`"usage":%q,"datacenter":"fra1","rack":"r7","owners":["dba","platform"],`+
			`"dashboard":"https://grafana.example.com/d/cpu?var-host=db-1","Runbook":"https://wiki.example.com/runbooks/cpu"}`,
			status, at(minutes).Unix(), load, load))
	}
	rich("warning", 52, "84.1")
	rich("critical", 49, "93.0")
	rich("warning", 41, "88.2")
	rich("ok", 37, "61.5")
	rich("warning", 22, "82.9")
	rich("critical", 12, "96.4")
	for i, alert := range []struct {
		host, check, status string
		minutes             float64
	}{
		{"web-1", "http", "critical", 50}, {"web-1", "http", "ok", 44},
		{"web-2", "http", "warning", 31}, {"queue-1", "consumer lag", "critical", 26},
		{"cache-1", "memory", "warning", 24}, {"cache-1", "memory", "ok", 18},
		{"mail-1", "queue length", "unknown", 16}, {"backup", "nightly job", "critical", 9}, {"backup", "nightly job", "acknowledged", 8},
		{"web-3", "latency of the checkout service, 99th percentile", "critical", 4}, {"web-3", "latency of the checkout service, 99th percentile", "warning", 2},
		{"edge-fra1-with-a-rather-long-host-name.example.com", "certificate", "warning", 1.5},
		{"ldap-1", "replication", "critical", .4},
	} {
		if i == 6 {
			c.fault(`{"status":503,"count":2}`)
			c.try(alertBody("mail-1", "queue length", "unknown", at(16)))
			c.try(alertBody("mail-1", "queue length", "unknown", at(16)))
		}
		c.post(alertBody(alert.host, alert.check, alert.status, at(alert.minutes)))
	}
	c.post(manyBody(1, 12, "ok", at(33)))
	c.try(`{"app_key":"kapacitor","status":"critical","check":"disk"}`)
	c.try(`{"app_key":"kapacitor","alerts":[{"status":"critical","host":"db-2","check":"disk","labels":{"mount":"/var"}}]}`)
	c.post(alertBody("db-2", "disk", "warning", at(.1)))
}
