package retry

import (
	"sync"
	"time"

	"bigpanda-udf/bigpanda"
)

// A LogLimiter says when something that repeats is to be logged. The cause is the
// reason of an error and not its text, which may differ each time. The zero value
// is ready for use, by several goroutines: mu guards all of it.
type LogLimiter struct {
	mu    sync.Mutex
	cause bigpanda.Reason
	at    time.Time // when that was logged
	open  bool      // and its end was not
}

// Met reports whether a cause is to be logged.
func (l *LogLimiter) Met(cause bigpanda.Reason) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	again := LogAnew
	if l.open {
		again = LogAgain
	}
	if cause == l.cause && time.Since(l.at) < again {
		return false
	}
	l.cause, l.at, l.open = cause, time.Now(), true
	return true
}

// Over reports whether the end is to be logged.
func (l *LogLimiter) Over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.open
	l.open = false
	return was
}
