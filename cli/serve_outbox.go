package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bigpanda-udf/config"
)

const (
	// daemonLock is the file in the folder of the outboxes that a daemon locks. It
	// stays there: whoever removed it might remove the lock of the next daemon.
	daemonLock = "serve.lock"
	// daemonLeaves is how long a daemon that was told to end may take to let go of
	// the outboxes: it reads what is on its way and closes them.
	daemonLeaves = 5 * time.Second
)

// errTwoDaemons is part of the error of a daemon that comes second.
var errTwoDaemons = errors.New("another bigpanda-udf serve works on")

// own takes the lock on the folder of the outboxes, unless it has it. Of two
// daemons each would take the other's tasks for gone and open their outboxes, and
// an alert's changes would come in no order. Where there is no lock to be had, as
// in a folder that cannot be written yet, the log says so and it is tried again:
// what is wrong with the outboxes is theirs to say. d.mu is held.
func (d *server) own(ctx context.Context, wait time.Duration) error {
	dir := d.settings.Outbox
	if d.lock != nil || dir == config.OutboxMemory || dir == "" {
		return nil
	}
	lock, err := lockOutboxes(ctx, dir, wait)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("%w the outbox in %s: stop it, since one serves all tasks (those of batches with --batch-socket), "+
			"or set --outbox (BIGPANDA_OUTBOX) to a folder of its own", errTwoDaemons, dir)
	case err == nil:
		d.lock = lock
	case err.Error() != d.noLock:
		d.noLock = err.Error()
		d.log.Warn("a second bigpanda-udf serve would not be kept from this outbox", "error", err)
	}
	return nil
}

// disown lets go of the lock.
func (d *server) disown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock != nil {
		d.lock.Close()
	}
}

func lockOutboxes(ctx context.Context, dir string, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, daemonLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockWithin(ctx, f, wait); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// lockWithin locks a file or folder for as long as it is open. Where another
// process has it until wait or ctx is over, the error is EWOULDBLOCK.
func lockWithin(ctx context.Context, f *os.File, wait time.Duration) error {
	for late := time.Now().Add(wait); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK), time.Now().After(late), ctx.Err() != nil:
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
