package udf

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"bigpanda-udf/bigpanda"
)

// Of more than a snapshot holds what is open comes first: what is resolved is
// forgotten within a minute anyway.
func TestRecordsOfWhatIsOpenComeFirst(t *testing.T) {
	t.Parallel()
	s := newState()
	for i := range 100 {
		p := &bigpanda.Payload{AppKey: "key", Properties: map[string]string{"host": fmt.Sprint(i)}}
		level := Critical
		if i%2 == 0 {
			level = OK
		}
		s.update(fmt.Sprint(i), &event{level: level, time: 1e9}, p)
	}
	n := 0
	for l := range s.records() {
		var r record
		if err := json.Unmarshal(l.Value, &r); err != nil {
			t.Fatal(err)
		}
		if n++; (r.Level == OK) != (n > 50) {
			t.Fatalf("record %d is of level %v", n, r.Level)
		}
	}
}

// P7: what is remembered follows the number of active alerts. This looks
// inside, since what is forgotten too little shows nowhere else.
func TestStateForgets(t *testing.T) {
	t.Parallel()
	const second = 1e9
	payload := func(host string) *bigpanda.Payload {
		return &bigpanda.Payload{AppKey: "key", Status: "ok", Properties: map[string]string{"host": host}}
	}
	for _, tt := range []struct {
		name string
		run  func(s *state)
	}{
		{"resolved alerts", func(s *state) {
			for i := range 3000 {
				s.update(fmt.Sprint("series", i), &event{level: Critical, time: second}, payload(fmt.Sprint("host", i)))
				s.update(fmt.Sprint("series", i), &event{level: OK, time: 2 * second}, payload(""))
			}
		}},
		{"resolved alerts behind a point of a clock that is ahead", func(s *state) {
			s.saw(4e9 * second)
			for i := range int64(3000) {
				s.saw(i * second)
				s.update(fmt.Sprint("series", i), &event{level: Critical, time: i * second}, payload(fmt.Sprint("host", i)))
				s.update(fmt.Sprint("series", i), &event{level: OK, time: i * second}, payload(""))
			}
		}},
		{"recoveries of unseen series", func(s *state) {
			for i := range 3000 {
				s.update(fmt.Sprint("series", i), &event{level: OK, time: second}, payload(fmt.Sprint("host", i)))
			}
		}},
		{"a series that is another alert each time", func(s *state) {
			for i := range 3000 {
				s.update("series", &event{level: Critical, time: second}, payload(fmt.Sprint("host", i)))
				s.update("series", &event{level: OK, time: second}, payload(""))
			}
		}},
		{"many series that are one alert", func(s *state) {
			for i := range 3000 {
				s.update(fmt.Sprint("series", i), &event{level: Critical, time: second}, payload("host"))
			}
			for i := range 3000 {
				s.update(fmt.Sprint("series", i), &event{level: OK, time: second}, payload("host"))
			}
		}},
		{"an alert whose timestamp is what tells it apart", func(s *state) {
			for i := range 3000 {
				p := payload("host")
				p.Properties["primary_property"] = "timestamp"
				s.update(fmt.Sprint("series", i%10), &event{level: Critical, time: second}, p)
				s.update(fmt.Sprint("series", i%10), &event{level: OK, time: second}, payload("host"))
			}
		}},
		{"one that was taken over from another process", func(s *state) {
			before := newState()
			before.update("open", &event{level: Critical, time: second}, payload("a"))
			before.update("resolved", &event{level: Critical, time: second}, payload("b"))
			before.update("resolved", &event{level: OK, time: second}, payload("b"))
			for l := range before.records() {
				if err := s.restore(l); err != nil {
					t.Fatal(err)
				}
			}
			s.restored()
			s.update("open", &event{level: OK, time: second}, payload("a"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newState()
			tt.run(s)
			if s.order.Len() == 0 {
				t.Fatal("nothing is remembered at all")
			}
			forgetAll(s)
			if len(s.series) > 0 || len(s.alerts) > maxResolved || s.order.Len() > maxResolved || len(s.resolved) != s.order.Len() {
				t.Errorf("still there: %d series, %d alerts, %d and %d resolved", len(s.series), len(s.alerts), len(s.resolved), s.order.Len())
			}
		})
	}
	t.Run("not within a minute", func(t *testing.T) {
		s := newState()
		s.now = moment{unix: 1000}
		for i := range 3000 {
			s.update(fmt.Sprint("series", i), &event{level: OK, time: second}, payload(fmt.Sprint("host", i)))
		}
		for range 10 {
			s.forget(func() time.Time { return time.Unix(1059, 0) })
		}
		if s.order.Len() != 3000 {
			t.Errorf("%d are left", s.order.Len())
		}
	})
	t.Run("not the last timestamp of an alert that is open", func(t *testing.T) {
		s := newState()
		s.update("a", &event{level: Critical, time: second}, payload("host"))
		s.update("b", &event{level: Critical, time: second}, payload("host"))
		s.update("a", &event{level: OK, time: second}, payload("host"))
		for i := range 3000 {
			s.update(fmt.Sprint("series", i), &event{level: OK, time: second}, payload(fmt.Sprint("host", i)))
		}
		forgetAll(s)
		last := int64(0)
		for l, alert := range s.records() {
			if alert == s.series["b"].alert.key {
				last = max(last, l.Time)
			}
		}
		if last != 3 {
			t.Errorf("the outbox has timestamp %d, and 3 was sent", last)
		}
		p := payload("host")
		if s.update("b", &event{level: OK, time: second}, p); p.Timestamp != 4 {
			t.Errorf("timestamp %d, want one more than the last", p.Timestamp)
		}
	})
}

// forgetAll is an hour in which much comes.
func forgetAll(s *state) {
	for range 100 {
		s.forget(func() time.Time { return time.Unix(3600, 0) })
	}
}
