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
	s := newState()
	for i := range 100 {
		p := &bigpanda.Payload{AppKey: "key", Properties: map[string]string{"host": fmt.Sprint(i)}}
		level := Critical
		if i%2 == 0 {
			level = OK
		}
		s.tell(fmt.Sprint(i), event{level: level}, 1e9, p)
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
				s.tell(fmt.Sprint("series", i), event{level: Critical}, second, payload(fmt.Sprint("host", i)))
				s.tell(fmt.Sprint("series", i), event{level: OK}, 2*second, payload(""))
			}
		}},
		{"resolved alerts behind a point of a clock that is ahead", func(s *state) {
			s.saw(4e9 * second)
			for i := range int64(3000) {
				s.saw(i * second)
				s.tell(fmt.Sprint("series", i), event{level: Critical}, i*second, payload(fmt.Sprint("host", i)))
				s.tell(fmt.Sprint("series", i), event{level: OK}, i*second, payload(""))
			}
		}},
		{"recoveries of unseen series", func(s *state) {
			for i := range 3000 {
				s.tell(fmt.Sprint("series", i), event{level: OK}, second, payload(fmt.Sprint("host", i)))
			}
		}},
		{"a series that is another alert each time", func(s *state) {
			for i := range 3000 {
				s.tell("series", event{level: Critical}, second, payload(fmt.Sprint("host", i)))
				s.tell("series", event{level: OK}, second, payload(""))
			}
		}},
		{"many series that are one alert", func(s *state) {
			for i := range 3000 {
				s.tell(fmt.Sprint("series", i), event{level: Critical}, second, payload("host"))
			}
			for i := range 3000 {
				s.tell(fmt.Sprint("series", i), event{level: OK}, second, payload("host"))
			}
		}},
		{"an alert whose timestamp is what tells it apart", func(s *state) {
			for i := range 3000 {
				p := payload("host")
				p.Properties["primary_property"] = "timestamp"
				s.tell(fmt.Sprint("series", i%10), event{level: Critical}, second, p)
				s.tell(fmt.Sprint("series", i%10), event{level: OK}, second, payload("host"))
			}
		}},
		{"one that was taken over from another process", func(s *state) {
			before := newState()
			before.tell("open", event{level: Critical}, second, payload("a"))
			before.tell("resolved", event{level: Critical}, second, payload("b"))
			before.tell("resolved", event{level: OK}, second, payload("b"))
			for l := range before.records() {
				if err := s.restore(l); err != nil {
					t.Fatal(err)
				}
			}
			s.restored()
			s.tell("open", event{level: OK}, second, payload("a"))
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
			s.tell(fmt.Sprint("series", i), event{level: OK}, second, payload(fmt.Sprint("host", i)))
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
		s.tell("a", event{level: Critical}, second, payload("host"))
		s.tell("b", event{level: Critical}, second, payload("host"))
		s.tell("a", event{level: OK}, second, payload("host"))
		for i := range 3000 {
			s.tell(fmt.Sprint("series", i), event{level: OK}, second, payload(fmt.Sprint("host", i)))
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
		if s.tell("b", event{level: OK}, second, p); p.Timestamp != 4 {
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
