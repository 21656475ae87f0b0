package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	// patience is how long a Control waits for a process that does not answer:
	// its disk may hang, or it is beginning or ending.
	patience = 5 * time.Second
	askAgain = 20 * time.Millisecond
)

// Folders returns the folders of the outboxes in dir, sorted. dir may also be
// that of one outbox.
func Folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, readable(dir, err)
	}
	if isOutbox(dir) {
		return []string{dir}, nil
	}
	var folders []string
	for _, e := range entries {
		if folder := filepath.Join(dir, e.Name()); e.IsDir() && isOutbox(folder) {
			folders = append(folders, folder)
		}
	}
	return folders, nil
}

// isOutbox tells whether a folder is an outbox's, also one that cannot be read.
func isOutbox(folder string) bool {
	_, err := os.Lstat(filepath.Join(folder, databaseName))
	return err == nil || errors.Is(err, fs.ErrPermission) || len(damagedFiles(folder)) > 0
}

// readable adds the mend to the error of a file that belongs to somebody else.
func readable(path string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	owner := "another user"
	for ; path != filepath.Dir(path); path = filepath.Dir(path) {
		info, statErr := os.Stat(path)
		if statErr != nil {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = "user " + strconv.Itoa(int(stat.Uid))
			if u, err := user.LookupId(strconv.Itoa(int(stat.Uid))); err == nil {
				owner = u.Username
			}
		}
		break
	}
	return fmt.Errorf("it is %s's, and private: run this as %s or as root", owner, owner)
}

// A Control asks one outbox, and changes what it holds: over its socket while a
// process works on it, and in its database otherwise. Each call may find it in
// another of these states.
type Control struct {
	folder string
	http   http.Client
	filter func([]byte) []byte
}

// NewControl returns the control of the outbox in a folder. What comes from
// there goes through filter, if there is one, before it is read.
func NewControl(folder string, filter func([]byte) []byte) *Control {
	return &Control{folder: folder, filter: filter, http: http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dialControl(ctx, folder) },
		DisableKeepAlives:  true,
		DisableCompression: true,
	}}}
}

// Folder returns the outbox's folder.
func (c *Control) Folder() string { return c.folder }

// Status returns the state of the outbox.
func (c *Control) Status(ctx context.Context) (s Status, err error) {
	err = c.ask(ctx, "read the outbox", http.MethodGet, "/status", nil, &s)
	s.Folder = c.folder // a process in a container may see another
	return s, err
}

// Queued returns queued changes, as Disk.List does.
func (c *Control) Queued(ctx context.Context, after uint64, limit int, payload bool) (Page, error) {
	return c.page(ctx, "/queued", after, limit, payload)
}

// DeadLetters returns dead letters, as Disk.DeadLetters does.
func (c *Control) DeadLetters(ctx context.Context, after uint64, limit int, payload bool) (Page, error) {
	return c.page(ctx, "/dead", after, limit, payload)
}

func (c *Control) page(ctx context.Context, path string, after uint64, limit int, payload bool) (p Page, err error) {
	q := url.Values{
		"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(limit)}, "payload": {strconv.FormatBool(payload)},
	}
	err = c.ask(ctx, "read the outbox", http.MethodGet, path+"?"+q.Encode(), nil, &p)
	return p, err
}

// Retry puts dead letters back in the queue, as Disk.Retry does, but all.
func (c *Control) Retry(ctx context.Context, s Selection) (Outcome, error) {
	return c.change(ctx, "put dead letters back", "/retry", s)
}

// Drop drops what is of a kind, as Disk.Drop does, but all.
func (c *Control) Drop(ctx context.Context, kind string, s Selection) (Outcome, error) {
	return c.change(ctx, "drop changes", "/drop?kind="+url.QueryEscape(kind), s)
}

// change asks until nothing is left to do. With an error, what the Outcome
// counts is done.
func (c *Control) change(ctx context.Context, what, path string, s Selection) (all Outcome, err error) {
	for rest := &s; rest != nil; {
		body, err := json.Marshal(rest)
		if err != nil {
			return all, err
		}
		var o Outcome
		if err := c.ask(ctx, what, http.MethodPost, path, body, &o); err != nil {
			return all, err
		}
		all.Done += o.Done
		all.InFlight, all.Missing = append(all.InFlight, o.InFlight...), append(all.Missing, o.Missing...)
		rest = o.Rest
	}
	return all, nil
}

// levels returns the levels that a live process hands over, and nobody else's.
// What came before an error is returned with it.
func (c *Control) levels(ctx context.Context) (levels []Level, again bool, err error) {
	err = eachLevelPage(func(path string, page *levelPage) (err error) {
		again, err = c.roundTrip(ctx, http.MethodGet, path, nil, page)
		return err
	}, func(l Level) { levels = append(levels, l) })
	return levels, again, err
}

// ask asks the process, or the database. It asks again while one process is
// leaving, or another has not begun to listen.
func (c *Control) ask(ctx context.Context, what, method, path string, body []byte, into any) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		again, err := c.roundTrip(bounded, method, path, body, into)
		if nobodyListens(err) {
			again, err = c.visit(method, path, body, into)
		}
		if err == nil {
			return nil
		}
		if again {
			select {
			case <-time.After(askAgain):
				continue
			case <-bounded.Done():
			}
		}
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case again || bounded.Err() != nil:
			err = fmt.Errorf("the process that works on it did not answer within %s: its disk may hang, or it runs an older program; try again", patience)
		}
		return fmt.Errorf("%s %s: %w", what, c.folder, readable(c.folder, err))
	}
}

// roundTrip asks the process that works on the outbox. again says that the
// answer may be another one soon.
func (c *Control) roundTrip(ctx context.Context, method, path string, body []byte, into any) (again bool, err error) {
	r, err := c.request(ctx, method, path, body)
	if err != nil {
		return false, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without an address that means nothing to anybody
		}
		return ended(err), err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return ended(err), err
	}
	return c.read(resp.StatusCode, answer, into)
}

// ended tells whether an error is that of a process that ended while it was
// asked.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// visit asks the database.
func (c *Control) visit(method, path string, body []byte, into any) (again bool, err error) {
	r, err := c.request(context.Background(), method, path, body)
	if err != nil {
		return false, err
	}
	s, err := openStopped(c.folder, method != http.MethodGet)
	if err != nil {
		return errors.Is(err, errInUse), err
	}
	defer s.close()
	a := answer{header: make(http.Header), status: http.StatusOK}
	controlHandler(s).ServeHTTP(&a, r)
	return c.read(a.status, a.body, into)
}

func (c *Control) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, method, "http://outbox"+path, bytes.NewReader(body))
}

func (c *Control) read(status int, answer []byte, into any) (again bool, err error) {
	if c.filter != nil {
		answer = c.filter(answer)
	}
	if status == http.StatusOK {
		return false, json.Unmarshal(answer, into)
	}
	var failed wireError
	if json.Unmarshal(answer, &failed) != nil || failed.Error == "" {
		failed.Error = http.StatusText(status)
		if status == http.StatusNotFound {
			failed.Error = "the process that works on it is an older program, which does not know this: reload its task"
		}
	}
	return status == http.StatusServiceUnavailable, errors.New(failed.Error)
}
