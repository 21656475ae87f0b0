package topic

import (
	"cmp"
	"errors"
	"fmt"
	"sync"

	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"

	"github.com/influxdata/kapacitor/udf/agent"
)

// maxUses is how many handlers a daemon has. Each has an outbox of its own, which is
// opened with its first event, and some hundred kilobytes of memory.
const maxUses = 500

var (
	errStopping    = errors.New("the daemon is shutting down")
	errTooManyUses = fmt.Errorf("this daemon has events of %d handlers already: use one of their names", maxUses)
)

// A use is one handler: what was told of its events, and their outbox. It takes one
// event at a time.
type use struct {
	server *Server
	name   string

	mu       sync.Mutex // guards what follows
	handler  *udf.Handler
	end      func()        // ends what handler delivers
	defaults *udf.Defaults // with which they were made
	closed   bool
}

// take has an event told. It is in the outbox when that returns nil, or changes
// nothing.
func (u *use) take(e udf.AlertEvent) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return errStopping
	}
	holds := cmp.Or(u.server.folder.of(u.name), u.server.options.Defaults)
	// Another file is another function, as a TICKscript that was edited is: what
	// was queued and told is in the outbox.
	if u.handler != nil && u.defaults != holds {
		u.stop()
	}
	if u.handler == nil {
		if err := u.open(holds); err != nil {
			return err
		}
	}
	u.handler.Event(e)
	return nil
}

func (u *use) open(d *udf.Defaults) error {
	o := u.server.options
	h, end := o.NewHandler(*d, o.Log)
	answer, err := h.Init(&agent.InitRequest{TaskID: u.name, NodeID: outbox.TopicNode})
	if err != nil || !answer.Success {
		end()
	}
	switch {
	case err != nil:
		return err
	case !answer.Success && d.AppKey == "":
		return fmt.Errorf("handler %s has no app key: set option app-key in its file, or BIGPANDA_APP_KEY for the daemon", u.name)
	case !answer.Success:
		return errors.New(answer.Error)
	}
	u.handler, u.end, u.defaults = h, end, d
	return nil
}

// tick is what a keepalive is for a function: it lets go of what waits.
func (u *use) tick() {
	if u.mu.TryLock() {
		defer u.mu.Unlock()
		if u.handler != nil {
			u.handler.Commit()
		}
	}
}

func (u *use) stop() {
	if u.handler == nil {
		return
	}
	u.handler.Stop()
	u.end()
	u.handler = nil
}

func (u *use) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.stop()
}
