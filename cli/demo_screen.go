package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"bigpanda-udf/sandbox"

	"github.com/fatih/color"
)

// screen shows the demo: a line for each thing that happens, in colour on a
// terminal. Safe for concurrent use.
type screen struct {
	out, messages io.Writer
	colored       bool

	mu  sync.Mutex
	now time.Duration // of the play
}

func newScreen(p Process) *screen {
	plain, _ := p.LookupEnv("NO_COLOR")
	return &screen{out: p.Stdout, messages: p.Stderr, colored: p.IsTerminal(p.Stdout) && plain == ""}
}

// colors are those of levels, statuses and kinds of lines.
var colors = map[string]*color.Color{
	"ok":       color.New(color.FgGreen),
	"warning":  color.New(color.FgYellow),
	"critical": color.New(color.FgRed, color.Bold),
	"outage":   color.New(color.FgRed),
	"refused":  color.New(color.FgRed),
	"faint":    color.New(color.Faint),
	"bold":     color.New(color.Bold),
}

func (s *screen) paint(kind, text string) string {
	c := colors[strings.ToLower(kind)]
	if c == nil || !s.colored {
		return text
	}
	shown := *c
	shown.EnableColor()
	return shown.Sprint(text)
}

func (s *screen) title(console string, step time.Duration) {
	fmt.Fprintf(s.out, "A BigPanda to work against shows what comes of it: open %s\n", s.paint("bold", console))
	fmt.Fprintf(s.out, "The function is spoken to over pipes, as Kapacitor does it\n")
	length := step * time.Duration(fleetLength/fleetTick)
	fmt.Fprintf(s.out, "%d hosts report their CPU load: %s in %s, warning over %.0f %%, critical over %.0f %%\n\n",
		len(fleet), fleetLength, length.Round(100*time.Millisecond), warnOver, critOver)
}

func (s *screen) line(kind, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%s  %s  %s\n", s.paint("faint", mmss(s.now)), s.paint(kind, fmt.Sprintf("%-9s", kind)), what)
}

func (s *screen) clock(at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = at
}

func (s *screen) changed(c fleetChange) {
	s.line("change", fmt.Sprintf("%-8s %s → %s  %.1f %%", c.host, c.from, s.paint(c.level, c.level), c.load))
}

func (s *screen) delivered(e sandbox.Event, q sandbox.Request) {
	what := fmt.Sprintf("%-8s %s", cell(e.Title), s.paint(e.Status, cell(e.Status)))
	if q.Alerts > 1 {
		what += fmt.Sprintf("  (one of %d in a request)", q.Alerts)
	}
	if e.Duplicate {
		what += "  (again)"
	}
	s.line("delivered", what)
}

func (s *screen) refused(q sandbox.Request) {
	answer := fmt.Sprint(q.Status)
	if q.Status == 0 {
		answer = "no answer"
	}
	s.line("refused", answer+", "+counted(q.Alerts, "alert waits", "alerts wait"))
}

// Write shows a line of the function's log.
func (s *screen) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.messages, "the function's log: %s\n", plain(strings.TrimSuffix(string(line), "\n")))
	return len(line), nil
}

// summary prints the counts. It returns an error unless all went well.
func (s *screen) summary(r demoResult) error {
	fmt.Fprintf(s.out, `
points      %d sent, %d came back
changes     %d
requests    %d, of them %d refused in the outage
delivered   %d
duplicates  %d
lost        %d
`, r.points, r.echoes, r.changes, r.requests, r.refused, r.delivered, r.duplicates, r.lost)
	switch {
	case r.lost > 0:
		return fmt.Errorf("%d of %d changes did not arrive", r.lost, r.changes)
	case !r.inOrder:
		return errors.New("the changes did not arrive in order, or others came too")
	case r.echoes != r.points:
		return fmt.Errorf("%d of %d points did not come back", r.points-r.echoes, r.points)
	}
	fmt.Fprintln(s.out, s.paint("ok", "Every change arrived, in order."))
	return nil
}

// ends says what becomes of the console, and once more where it is.
func (s *screen) ends(stays bool, console string) {
	if stays {
		fmt.Fprintf(s.out, "One host is still critical. The console stays, and takes alerts, until Ctrl-C: %s\n", s.paint("bold", console))
	} else {
		fmt.Fprintln(s.out, s.paint("faint", "The console at "+console+" ends with the demo; --keep leaves it open."))
	}
}

func mmss(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}
