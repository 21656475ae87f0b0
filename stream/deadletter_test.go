package stream

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// Whatever BigPanda has answered, an alert that a Publisher takes has room for it when
// it becomes a dead letter.
func TestRefusalFits(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"none": "", "usual": `{"error":"no primary property"}`, "long": strings.Repeat("x", 100_000),
		"of control characters": strings.Repeat("\x01\n", 50_000), "of another alphabet": strings.Repeat("ü\u2028", 50_000),
	} {
		value, err := refusal{400, answer, 1_700_000_000}.encode()
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
		if more := dead.Size() - alert.Size(); more > maxRefusal || strings.ContainsAny(value, "\r\n") {
			t.Errorf("%s: it takes %d bytes more, and at most %d are left for it", name, more, maxRefusal)
		}
	}
}
