package stream

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Whatever BigPanda has answered, an alert that a Publisher takes has room for it when
// it becomes a dead letter.
func TestRefusalFits(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"none": "", "usual": `{"error":"no primary property"}`, "long": strings.Repeat("x", 100_000),
		"of control characters": strings.Repeat("\x01\n", 50_000), "of another alphabet": strings.Repeat("ü\u2028", 50_000),
	} {
		for _, room := range []int{maxRefusal, 1 << 10, leastRefusal} {
			value, err := refusal{400, answer, 1_700_000_000}.encode(room)
			if err != nil {
				t.Fatal(err)
			}
			var r refusal
			if err := json.Unmarshal([]byte(value), &r); err != nil || r.Status != 400 || answer != "" && r.Answer == "" {
				t.Errorf("%s: it became %+v, %v", name, r, err)
			}
			alert := options.encode("app", []byte(`{"status":"ok","timestamp":5}`))
			dead := nats.NewMsg(options.deadSubject("app"))
			dead.Data = alert.Data
			dead.Header.Set(headerID, hash())
			dead.Header.Set(headerRefusal, value)
			if more := dead.Size() - alert.Size(); more > room || strings.ContainsAny(value, "\r\n") {
				t.Errorf("%s: it takes %d bytes more, and at most %d are left for it", name, more, room)
			}
		}
	}
}

// A time that somebody else has made up does not keep the letters from being listed.
func TestDeadLetterOfOthers(t *testing.T) {
	t.Parallel()
	c := &Conn{o: options}
	stored := time.Unix(1_700_000_000, 0)
	for died, want := range map[int64]int64{1_699_999_999: 1_699_999_999, 1 << 60: 1_700_000_000, -1 << 60: 1_700_000_000, 0: 1_700_000_000} {
		header := nats.Header{headerRefusal: {fmt.Sprintf(`{"died":%d}`, died)}}
		letter := c.readDead(&jetstream.RawStreamMsg{Time: stored, Header: header, Data: []byte("\x1b[2J")})
		if _, err := json.Marshal(letter); err != nil || letter.Died.Unix() != want {
			t.Errorf("who died at %d is said to have died at %v (%v)", died, letter.Died, err)
		}
	}
}
