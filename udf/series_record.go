package udf

import (
	"cmp"
	"encoding/json"
	"errors"
	"iter"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"

	"github.com/valyala/fastjson"
)

// A record is what is kept of a series in the outbox and in a snapshot.
type record struct {
	Level    Level             `json:"level"`
	Told     int64             `json:"told,omitempty"`  // time of the point, in Unix nanoseconds
	Since    int64             `json:"since,omitempty"` // of the point that changed the level, in Unix seconds
	Seen     int64             `json:"seen,omitempty"`  // when a point came last, in Unix seconds
	Last     int64             `json:"last"`            // the newest timestamp sent, in Unix seconds
	Identity bigpanda.Identity `json:"identity"`
}

// Earlier programs kept neither of the two, but the point that they told of had
// come, and had that level.
func (r record) since() int64 { return cmp.Or(r.Since, unix(r.Told)) }
func (r record) seen() int64  { return cmp.Or(r.Seen, unix(r.Told)) }

var errNoRecord = errors.New("it is no level of an alert")

var parsers fastjson.ParserPool

// readRecord reads what level has made of one. There may be a million to read before the
// first point: encoding/json would take many times as long, and what copies each of them
// has the collector run meanwhile.
func readRecord(b []byte) (r record, err error) {
	parser := parsers.Get()
	defer parsers.Put(parser)
	v, err := parser.ParseBytes(b)
	if err != nil || !v.Exists("level") {
		return record{}, errNoRecord
	}
	level, err := v.Get("level").Int()
	if err != nil || level < int(OK) || level > int(Critical) {
		return record{}, errNoRecord
	}
	identity := v.Get("identity")
	text := func(name string) string { return string(identity.GetStringBytes(name)) }
	r = record{
		Level: Level(level), Told: v.GetInt64("told"), Since: v.GetInt64("since"), Seen: v.GetInt64("seen"), Last: v.GetInt64("last"),
		Identity: bigpanda.Identity{
			AppKey: text("app_key"), Incident: text("incident"),
			Primary: text("primary"), PrimaryValue: text("primary_value"),
			Secondary: text("secondary"), SecondaryValue: text("secondary_value"),
		},
	}
	if r.Identity.AppKey == "" {
		return record{}, errNoRecord
	}
	return r, nil
}

func (r record) level(key string) outbox.Level {
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // numbers and strings only
	}
	return outbox.Level{Key: key, Time: r.Last, Value: value}
}

// records are everything that a restart must know, each with the key of its
// alert: what is open, and then what is resolved, the last one first. There are
// size of them.
func (s *state) records() iter.Seq2[outbox.Level, string] {
	return func(yield func(outbox.Level, string) bool) {
		for key, known := range s.series {
			if !yield(s.record(known).level(key), known.alert.key) {
				return
			}
		}
		for e := s.order.Back(); e != nil; e = e.Prev() {
			r := e.Value.(*resolution)
			if !yield(s.resolvedLevel(r), r.alert.key) {
				return
			}
		}
	}
}

func (s *state) size() int { return s.order.Len() + len(s.series) }

// Last is part of outbox.Known: the newest timestamp that was sent for an alert, 0
// for one that is not remembered.
func (s *state) Last(alert string) int64 {
	if a := s.alerts[alert]; a != nil {
		return a.last
	}
	return 0
}

// Seen is part of outbox.Known: when the last point of an open series came.
func (s *state) Seen(key string) int64 {
	if known := s.series[key]; known != nil {
		return int64(known.seen.unix)
	}
	return 0
}

// amend takes over the level of a series that is in the store already.
func (s *state) amend(l outbox.Level) {
	if known, open := s.series[l.Key]; open {
		s.close(l.Key, known)
	}
	if err := s.restore(l); err != nil {
		s.drop(l.Key) // it was never told, as after a restart
	}
}
