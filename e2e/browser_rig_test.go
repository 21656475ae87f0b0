package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// console is the program that serves a console, as a process, and its address.
type console struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string // with a slash at the end
	once sync.Once
	err  error
	said func() string
}

var consoleLink = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/(?:\s|$)`)

// startConsole starts the program with these arguments and waits until it
// prints where the console is. At the end of the test it is stopped as with
// Ctrl-C, and must end well.
func startConsole(t *testing.T, args ...string) *console {
	t.Helper()
	cmd := exec.Command(function, args...)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var text strings.Builder
	link := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			mu.Lock()
			fmt.Fprintln(&text, lines.Text())
			mu.Unlock()
			if found := consoleLink.FindString(lines.Text()); found != "" {
				select {
				case link <- strings.TrimSpace(found):
				default: // one is enough
				}
			}
		}
	}()
	c := &console{t: t, cmd: cmd, said: func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, c.said())
		}
		in.Close()
	})
	select {
	case c.url = <-link:
	case <-time.After(patience):
		t.Fatalf("%v does not say where the console is:\n%s", args, c.said())
	}
	return c
}

func startSandbox(t *testing.T, args ...string) *console {
	t.Helper()
	return startConsole(t, append([]string{"sandbox", "--listen", "127.0.0.1:0"}, args...)...)
}

// stop does what Ctrl-C does, and returns how the program ended.
func (c *console) stop() error {
	c.once.Do(func() {
		c.cmd.Process.Signal(syscall.SIGINT)
		c.err = c.cmd.Wait()
	})
	return c.err
}

// try posts to the API and returns the status of the answer.
func (c *console) try(body string) int {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, c.url+"data/v2/alerts", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.GetBody = nil // so that it is not sent again when the connection breaks
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res.StatusCode
}

// post posts alerts that must be taken.
func (c *console) post(body string) {
	c.t.Helper()
	if status := c.try(body); status != http.StatusCreated {
		c.t.Fatalf("status %d for %.300s", status, body)
	}
}

// alertBody makes the body of one alert.
func alertBody(host, check, status string, at time.Time) string {
	return fmt.Sprintf(`{"app_key":"test","status":%q,"host":%q,"check":%q,"timestamp":%d}`, status, host, check, at.Unix())
}

// manyBody makes one request of n alerts, of the hosts named host-FROM and on.
func manyBody(from, n int, status string, at time.Time) string {
	var b strings.Builder
	b.WriteString(`{"app_key":"test","alerts":[`)
	for i := from; i < from+n; i++ {
		if i > from {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"status":%q,"host":"host-%05d","check":"cpu","timestamp":%d,"description":"CPU of host-%05d is %s"}`, status, i, at.Unix(), i, status)
	}
	b.WriteString("]}")
	return b.String()
}

// tab is a page in a browser of its own.
type tab struct {
	t      *testing.T
	ctx    context.Context
	origin string // of the page opened, with a slash

	mu         sync.Mutex
	requests   []string // addresses
	browserLog []string // what the browser's log has
	forgiven   []string // parts of what it may have
}

// findBrowser returns the path of a Chromium. Without one, a test is skipped
// on somebody's own machine; where CI is set, it fails.
func findBrowser(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("BIGPANDA_CHROMIUM"); path != "" {
		return path
	}
	path, err := exec.LookPath("chromium")
	if err == nil {
		return path
	}
	const hint = "no Chromium: install it (apt-get install chromium), or name one in BIGPANDA_CHROMIUM"
	if os.Getenv("CI") != "" {
		t.Fatal(hint)
	}
	t.Skip(hint)
	return ""
}

// openTab opens an address in a window of this size.
func openTab(t *testing.T, url string, width, height int64) *tab {
	t.Helper()
	p := startBrowser(t)
	p.resize(width, height)
	p.open(url)
	return p
}

// startBrowser starts a browser. At the end of the test no request may have
// gone to another origin than that of the page opened, and the browser's log
// must be without errors and warnings.
//
// The tests do not run in parallel: a browser takes all of the processors that
// it can get, and several together take longer than one after the other.
func startBrowser(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(findBrowser(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(patience))
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	p := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		bounded, cancelBounded := context.WithTimeout(ctx, patience)
		defer cancelBounded()
		if err := chromedp.Cancel(bounded); err != nil {
			t.Errorf("close the browser: %v", err)
		}
		cancel()
		cancelAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.check)
	return p
}

func (p *tab) open(url string) {
	p.t.Helper()
	address, err := neturl.Parse(url)
	if err != nil {
		p.t.Fatal(err)
	}
	p.origin = address.Scheme + "://" + address.Host + "/"
	p.do("open "+url, chromedp.Navigate(url))
	p.until("the page is live", `document.getElementById('connection').textContent === 'Live'`)
}

func (p *tab) reload() {
	p.t.Helper()
	p.do("reload", chromedp.Reload())
	p.until("the page is live", `document.getElementById('connection').textContent === 'Live'`)
}

// hear keeps what the test must know of at its end.
func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.browserLog = append(p.browserLog, fmt.Sprintf("%s: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case *runtime.EventExceptionThrown:
		d := e.ExceptionDetails
		what := d.Text
		if d.Exception != nil {
			what += " " + d.Exception.Description
		}
		p.browserLog = append(p.browserLog, fmt.Sprintf("exception: %s (%s:%d)", what, d.URL, d.LineNumber+1))
	case *runtime.EventConsoleAPICalled:
		p.browserLog = append(p.browserLog, fmt.Sprintf("console.%s", e.Type))
	}
}

// forgive names what the browser's log may have after all.
func (p *tab) forgive(parts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgiven = append(p.forgiven, parts...)
}

func (p *tab) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == 0 {
		p.t.Error("no request was seen: this test would not see a foreign one either")
	}
	for _, r := range p.requests {
		if !strings.HasPrefix(r, p.origin) && !strings.HasPrefix(r, "about:") {
			p.t.Errorf("the page asks for %s", r)
		}
	}
	for _, line := range p.browserLog {
		if slices.ContainsFunc(p.forgiven, func(part string) bool { return strings.Contains(line, part) }) {
			continue
		}
		p.t.Errorf("the browser's log: %s", line)
	}
}

// bounded is the context of one step.
func (p *tab) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, patience)
}

func (p *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := p.bounded()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// call runs a command of the browser's protocol.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := p.bounded()
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.t.Fatalf("%s: %v", command.Method, err)
	}
	return r
}

// keys types on the keyboard.
func (p *tab) keys(keys string) {
	p.t.Helper()
	p.do("type", chromedp.KeyEvent(keys))
}

// slash types / as a keyboard does: the page may keep the key from typing.
func (p *tab) slash() {
	p.t.Helper()
	key := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/", WindowsVirtualKeyCode: 191}
	call(p, input.DispatchKeyEvent, key)
	key.Type, key.Text = input.DispatchKeyEventTypeKeyUp, ""
	call(p, input.DispatchKeyEvent, key)
}

func (p *tab) click(selector string) {
	p.t.Helper()
	p.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (p *tab) resize(width, height int64) {
	p.t.Helper()
	call(p, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
}

// prefer sets whether the system is light or dark.
func (p *tab) prefer(scheme string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia,
		emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// screenshot takes a picture. Now and then the browser draws none until it is
// asked again.
func (p *tab) screenshot() []byte {
	p.t.Helper()
	var err error
	for range 10 {
		ctx, cancel := context.WithTimeout(p.ctx, patience/10)
		var shot page.CaptureScreenshotResult
		shot, err = chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		cancel()
		if err == nil {
			return shot.Data
		}
	}
	p.t.Fatalf("take a picture: %v", err)
	return nil
}

// value returns what an expression is on the page. A promise is waited for.
func value[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := p.bounded()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text returns what stands in the first element that fits, "" if there is none.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return value[string](p, fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ''`, selector))
}

// texts returns what stands in each visible element that fits.
func (p *tab) texts(selector string) []string {
	p.t.Helper()
	return value[[]string](p, fmt.Sprintf(`[...document.querySelectorAll(%q)].filter((n) => n.checkVisibility()).map((n) => n.innerText)`, selector))
}

// until waits until an expression is true on the page.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for !value[bool](p, "Boolean("+expression+")") {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain until %s: %s\n%s", what, expression, p.text("body"))
		}
		time.Sleep(poll / 4)
	}
}

// untilText waits until an element holds a text.
func (p *tab) untilText(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s says %q", selector, text),
		fmt.Sprintf(`(document.querySelector(%q)?.innerText ?? '').includes(%q)`, selector, text))
}
