package udf

import (
	"log/slog"
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
)

// What repeats is logged when its cause changes, and from time to time.
const (
	// sayAgain is for what has lasted since it was last logged.
	sayAgain = 10 * time.Minute
	// sayAnew is for what was over in between: it may be a new one, or come and
	// go with every request.
	sayAnew = time.Minute
)

// A complaint remembers what was logged of something that repeats. Its owner
// guards it. The cause is the reason of an error and not its text, which may
// differ each time.
type complaint struct {
	cause bigpanda.Reason
	at    time.Time // when that was logged
	open  bool      // and its end was not
}

// met reports whether a cause is to be logged.
func (c *complaint) met(cause bigpanda.Reason) bool {
	again := sayAnew
	if c.open {
		again = sayAgain
	}
	if cause == c.cause && time.Since(c.at) < again {
		return false
	}
	*c = complaint{cause: cause, at: time.Now(), open: true}
	return true
}

// over reports whether the end is to be logged.
func (c *complaint) over() bool {
	was := c.open
	c.open = false
	return was
}

// trouble is a complaint that many goroutines may have.
type trouble struct {
	log *slog.Logger

	mu   sync.Mutex
	said complaint
}

func (t *trouble) met(text string, cause bigpanda.Reason, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said.met(cause) {
		t.log.Warn(text, "reason", cause, "error", err)
	}
}

func (t *trouble) over(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said.over() {
		t.log.Info(text)
	}
}
