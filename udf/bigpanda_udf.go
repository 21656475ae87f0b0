// Package udf is what @bigpanda() means: it reads the alert level of every
// point, finds the changes, and makes a BigPanda alert of each.
//
// A Handler serves one use of @bigpanda() in one task. It puts changes, with
// the levels that BigPanda is then told, into a Store, and never waits for the
// network. A Sender takes queued alerts from a Queue to BigPanda; it belongs
// to the process and serves any number of handlers. Both are ends of one
// outbox.
//
// The options are a table in options.go; package config gives some of them a default,
// from a handler file. scan has the bytes of a point, decide whether its level
// changes, payload each alert that is made, with its properties, series what is
// remembered, and sender the way out: what is done with each bigpanda.Class.
//
// The package reads no files, speaks no HTTP, and writes no protocol bytes.
package udf

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"bigpanda-udf/counters"
	"bigpanda-udf/outbox"

	"github.com/influxdata/kapacitor/udf/agent"
)

// A Store is what a Handler needs of an outbox.
type Store interface {
	// Levels calls each with every level that was appended before, by an
	// earlier process too, until it returns false. A value is each's until it
	// returns. isNew says that there never were any: then a snapshot's are taken.
	Levels(each func(outbox.Level) bool) (isNew bool, err error)
	// Append makes changes and levels durable, in one commit, before it
	// returns (P4). It takes them over whatever happens: where it cannot write,
	// it keeps what it must in memory and says so itself. The slices are the
	// caller's again afterwards, what they hold is not.
	Append(changes []outbox.Change, levels []outbox.Level)
}

// A Forgetful is a Store that ends with the process. What it has not delivered
// goes into the snapshot, since the levels there say that BigPanda knows.
type Forgetful interface {
	// Undelivered returns the newest change of each alert that is not
	// delivered, in the order of change.
	Undelivered() []outbox.Change
}

// A Use is one @bigpanda() in one task, as Kapacitor numbers the node. AppKey is
// the one that its alerts go to, and HasLeft reports whether alerts of its own went
// to another one before, as far as that is remembered; it may be called at any
// time, from any goroutine.
type Use struct {
	Task, Node, AppKey string
	HasLeft            func(appKey string) bool
}

// Config is what a Handler is made of, besides the options of a TICKscript.
type Config struct {
	// Defaults of the options.
	Defaults Defaults
	// Edge is what the function wants and provides: a stream, unless set.
	Edge agent.EdgeType
	// Enabled as false lets points pass and sends nothing.
	Enabled bool
	// Err, if set, is a bad flag or setting: Info is answered, and every Init
	// fails with it (P2).
	Err error
	// Open opens the outbox for one use in one task. Init calls it, once the
	// options are known to be good.
	Open func(Use) (Store, error)
	// Log gets what an operator should know. Required.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// A Public is a Store that others may look into, and resolve an alert in.
type Public interface {
	// Own has the owner asked whenever somebody does.
	Own(outbox.Owner)
	// Count has source asked for what was counted, at any time: it adds to what it
	// is given.
	Count(source func(*counters.Counters))
}

// Handler is one use of @bigpanda() in one task: an agent.Handler. Each point of
// a stream is decided about when it comes, those of a batch together at its end.
//
// The goroutine of the input calls its methods, and owns the point at hand. Those who
// look into the outbox or resolve an alert there call Turn, and the sender hasLeft,
// from others: what all of them use is load's until that has ended, and then mu's,
// which is taken and released within each call.
type Handler struct {
	config Config
	log    *slog.Logger

	// Set by Init.
	task    string
	options *options      // nil before
	store   Store         // nil when nothing is sent
	loaded  chan struct{} // closed when load has ended
	stopped atomic.Bool   // load need not go on

	// Of the goroutine of the input.
	ready bool   // it has seen that load has ended
	point point  // at hand
	key   []byte // of its series

	mu        sync.Mutex      // guards what follows
	isNew     bool            // the store was
	left      map[string]bool // app keys that were in force before
	state     *state
	changes   []outbox.Change // not yet in the store
	batch     batch           // the one at hand
	feed      feed            // of the points
	rendered  renderedIDs
	incidents incidents

	counts       counts
	noLevel      noLevel
	unknownWords map[string]bool // that were logged
	said         map[string]bool // by once

	counted struct { // counts, as of the last append: whoever asks is not to wait for mu
		sync.Mutex
		counters.Input
	}
}

// New returns a Handler that waits for Init.
func New(c Config) *Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Handler{
		config: c, log: c.Log, state: newState(),
		left: make(map[string]bool), unknownWords: make(map[string]bool), said: make(map[string]bool),
	}
}

// Init checks the options and opens the outbox. A failure is part of the
// answer, and what a user reads in `kapacitor show`.
func (h *Handler) Init(r *agent.InitRequest) (*agent.InitResponse, error) {
	if err := h.init(r); err != nil {
		return &agent.InitResponse{Success: false, Error: err.Error()}, nil
	}
	return &agent.InitResponse{Success: true}, nil
}

func (h *Handler) init(r *agent.InitRequest) error {
	if h.config.Err != nil {
		return h.config.Err
	}
	if h.options != nil {
		return errors.New("a function is initialised once: this is its second Init")
	}
	o, err := parseOptions(r.GetOptions(), h.config.Defaults)
	if err != nil {
		return err
	}
	h.task = r.GetTaskID()
	h.log = h.log.With("task", r.GetTaskID(), "node", r.GetNodeID())
	if !h.config.Enabled {
		h.options = o
		h.log.Info("switched off by --enabled=false: points pass, and nothing is sent to BigPanda")
		return nil
	}
	if o.appKey == "" {
		return errors.New("no app key: add .appKey('…') to @bigpanda(), or set app-key (BIGPANDA_APP_KEY) for the function")
	}
	store, err := h.config.Open(Use{r.GetTaskID(), r.GetNodeID(), o.appKey, h.hasLeft})
	if err != nil {
		return err
	}
	h.options, h.store = o, store
	now := h.config.Now()
	h.feed = feed{after: o.resolveAfter, last: now, due: o.resolveAfter}
	h.state.now.unix = seconds(now.Unix())
	h.loaded = make(chan struct{})
	if s, ok := store.(Public); ok {
		s.Own(h)
		s.Count(h.count)
	}
	go h.load()
	return nil
}

// lock takes mu for the goroutine of the input, once load has ended.
func (h *Handler) lock() {
	if !h.ready {
		<-h.loaded
		h.ready = true
	}
	h.mu.Lock()
}

// Turn is part of outbox.Owner.
func (h *Handler) Turn(do func(known outbox.Known) []outbox.Level) {
	<-h.loaded
	h.mu.Lock()
	defer h.mu.Unlock()
	h.append() // all that is known has to be in the outbox
	for _, level := range do(h.state) {
		h.state.amend(level)
	}
}

// hasLeft is Use.HasLeft.
func (h *Handler) hasLeft(appKey string) bool {
	<-h.loaded
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.left[appKey]
}

// Mirrors reports whether points leave as they came.
func (h *Handler) Mirrors() bool { return h.options == nil || h.options.passThrough }

// Wants takes a point, as it is on the wire, unless it is not plainly one: that has
// to be decoded and handed to Point.
func (h *Handler) Wants(point []byte) bool {
	if !h.point.scan(point) {
		return true
	}
	h.take()
	return false
}

// Point takes a point. It never fails: nothing about a point may end the
// process (P1).
func (h *Handler) Point(p *agent.Point) error {
	h.point.fromPoint(p)
	h.take()
	return nil
}

func (h *Handler) take() {
	if h.store == nil {
		return
	}
	h.lock()
	defer h.mu.Unlock()
	defer h.survive("handling a point failed: it passes on without an alert; please report this")
	h.counts.Points++
	h.arrived()
	if h.batch.open {
		h.addToBatch()
	} else {
		h.takePoint()
	}
}

// takePoint makes an alert of the point at hand, if it changes what BigPanda knows.
func (h *Handler) takePoint() {
	p := &h.point
	e := event{}
	e.time, e.ahead = h.date(p.time)
	h.state.saw(e.time)
	var known bool
	if e.level, known = h.readLevel(); !known {
		return
	}
	e.duration, e.lasts = h.options.readDuration(p)
	if !h.mayChange(&e) {
		return
	}
	h.options.ungroup(p, e.level)
	e.group, e.id = p.group, h.readID()
	if h.decide(&e) {
		h.alert(&e, h.content())
	}
}

// Commit ends a piece of input: all its changes are in the store when it
// returns, before the host lets the piece's points go on (P4).
func (h *Handler) Commit() {
	if h.store == nil {
		return
	}
	select {
	case <-h.loaded:
	default:
		return // no point has come
	}
	h.lock()
	defer h.mu.Unlock()
	h.commit()
}

// commit is Commit, with mu locked.
func (h *Handler) commit() {
	h.noticeNoLevel()
	h.resolveUnseen()
	h.state.forget(h.config.Now)
	h.append()
	h.feed.fresh = false
}

// append stores what is not in the store yet. mu is locked.
func (h *Handler) append() {
	h.publish()
	if len(h.changes) == 0 && len(h.state.pending) == 0 {
		return
	}
	// Then they stay for the next Commit: better twice than never.
	defer h.survive("storing changes failed: they are tried again with the next; please report this")
	for i := range h.changes {
		h.changes[i].Came = h.feed.last
	}
	h.store.Append(h.changes, h.state.pending)
	clear(h.changes)
	h.changes = h.changes[:0]
	h.state.pending = nil
}

// maxSaid bounds what is said once: the words come with the data.
const maxSaid = 200

// once calls say unless it was called for the key before. mu is locked.
func (h *Handler) once(key string, say func()) {
	if h.said[key] || len(h.said) >= maxSaid {
		return
	}
	h.said[key] = true
	say()
}

// survive is deferred where a panic must not end the process (P1). mu is locked.
func (h *Handler) survive(message string) {
	if v := recover(); v != nil {
		h.counts.Panics++
		h.once(fmt.Sprint("panic ", v), func() {
			h.log.Error(message, "panic", v, "stack", string(debug.Stack()))
		})
	}
}

// Stop says what became of the points. The store is its opener's to close.
func (h *Handler) Stop() {
	h.stopped.Store(true)
	if h.store == nil {
		return
	}
	h.lock()
	defer h.mu.Unlock()
	c := h.counts
	if c.Points > 0 && c.NoLevel == c.Points && h.noLevel.logged.IsZero() {
		h.log.Error(noLevelText, "points", c.Points)
	}
	changes := 0
	for _, n := range c.Changes {
		changes += n
	}
	h.log.Info("input ended", "points", c.Points, "changes", changes, "resent", c.resent, "unseen", c.unseen, "ahead", c.ahead,
		"no_level", c.NoLevel, "unknown_level", c.UnknownLevel, "too_old", c.TooOld,
		"failed_templates", c.Templates, "shared_alerts", c.sharedAlerts, "panics", c.Panics)
}
