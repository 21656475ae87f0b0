package udf

import (
	"encoding/json"
	"fmt"
	"testing"

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
		s.tell(fmt.Sprint(i), level, 1e9, p)
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
			for i := range 1000 {
				s.tell(fmt.Sprint("series", i), Critical, second, payload(fmt.Sprint("host", i)))
				s.tell(fmt.Sprint("series", i), OK, 2*second, payload(""))
			}
		}},
		{"resolved alerts behind a point of a clock that is ahead", func(s *state) {
			s.saw(4e9 * second)
			for i := range int64(1000) {
				s.saw(i * second)
				s.tell(fmt.Sprint("series", i), Critical, i*second, payload(fmt.Sprint("host", i)))
				s.tell(fmt.Sprint("series", i), OK, i*second, payload(""))
			}
		}},
		{"recoveries of unseen series", func(s *state) {
			for i := range 1000 {
				s.tell(fmt.Sprint("series", i), OK, second, payload(fmt.Sprint("host", i)))
			}
		}},
		{"a series that is another alert each time", func(s *state) {
			for i := range 1000 {
				s.tell("series", Critical, second, payload(fmt.Sprint("host", i)))
				s.tell("series", OK, second, payload(""))
			}
		}},
		{"many series that are one alert", func(s *state) {
			for i := range 1000 {
				s.tell(fmt.Sprint("series", i), Critical, second, payload("host"))
			}
			for i := range 1000 {
				s.tell(fmt.Sprint("series", i), OK, second, payload("host"))
			}
		}},
		{"an alert whose timestamp is what tells it apart", func(s *state) {
			for i := range 1000 {
				p := payload("host")
				p.Properties["primary_property"] = "timestamp"
				s.tell(fmt.Sprint("series", i%10), Critical, second, p)
				s.tell(fmt.Sprint("series", i%10), OK, second, payload("host"))
			}
		}},
		{"one that was taken over from another process", func(s *state) {
			before := newState()
			before.tell("open", Critical, second, payload("a"))
			before.tell("resolved", Critical, second, payload("b"))
			before.tell("resolved", OK, second, payload("b"))
			for l := range before.records() {
				if err := s.restore(l); err != nil {
					t.Fatal(err)
				}
			}
			s.restored()
			s.tell("open", OK, second, payload("a"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newState()
			tt.run(s)
			if len(s.graves) == 0 {
				t.Fatal("nothing is remembered at all")
			}
			s.saw(1e4 * second)
			if len(s.series)+len(s.alerts)+len(s.graves)+len(s.burials) > 0 {
				t.Errorf("still there: %d series, %d alerts, %d graves, %d burials", len(s.series), len(s.alerts), len(s.graves), len(s.burials))
			}
		})
	}
	t.Run("with one alert far ahead of the others", func(t *testing.T) {
		s := newState()
		s.saw(1e6 * second)
		s.tell("future", Critical, 1e6*second, payload("future"))
		s.tell("future", OK, 1e6*second, payload("future"))
		for i := range 1000 {
			s.tell(fmt.Sprint("series", i), Critical, second, payload(fmt.Sprint("host", i)))
			s.tell(fmt.Sprint("series", i), OK, second, payload(""))
		}
		s.saw((1e6 + 1) * second)
		if len(s.graves) != 1 || len(s.alerts) != 1 || len(s.burials) != 1 {
			t.Errorf("%d graves, %d alerts, %d burials, want the one from ahead", len(s.graves), len(s.alerts), len(s.burials))
		}
	})
	t.Run("but not an open alert", func(t *testing.T) {
		s := newState()
		s.tell("a", Critical, second, payload("host"))
		s.tell("b", Critical, second, payload("host"))
		s.tell("a", OK, second, payload("host"))
		s.saw(1e4 * second)
		if len(s.series) != 1 || len(s.alerts) != 1 || len(s.graves) != 0 {
			t.Errorf("%d series, %d alerts, %d graves", len(s.series), len(s.alerts), len(s.graves))
		}
		p := payload("host")
		if s.tell("b", OK, second, p); p.Timestamp != 4 {
			t.Errorf("timestamp %d, want one more than the last", p.Timestamp)
		}
	})
}
